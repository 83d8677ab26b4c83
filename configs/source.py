"""Describe where a client's change events come from."""

import datetime as dt
import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import NO_TRUTH, ConfigModel, Number, at_home, context_of
from tillstream.configs.events import Events
from tillstream.configs.kafka import KafkaConnection
from tillstream.pipelines.errors import ConfigError

__all__ = ["FilesSource", "KafkaSource", "Source", "StartAt"]


def _check_topic(topic: str) -> str:
    if topic.startswith("^"):
        try:
            re.compile(topic)
        except re.error as error:
            raise ValueError(f"expected a regular expression after ^: {error}") from error
    elif not re.fullmatch(forms.TOPIC, topic):
        raise ValueError("expected a topic's name, or ^ and a regular expression")
    return topic


def _absolute_pattern(pattern: str, info: ValidationInfo) -> str:
    if context_of(info).is_as_written:
        return pattern
    # The folder's own name is no pattern.
    return str(Path(glob.escape(str(context_of(info).folder.absolute())), at_home(pattern)))


_Pattern = Annotated[str, StringConstraints(min_length=1), AfterValidator(_absolute_pattern)]
_Natural = Annotated[int, Field(ge=0), NO_TRUTH]
_Topic = Annotated[str, AfterValidator(_check_topic)]


class StartAt(ConfigModel):
    """Say where reading starts: at a time, or at explicit offsets; exactly one of the two."""

    timestamp: AwareDatetime | None = Field(
        default=None, description="First record at or after this instant, by the records' own timestamps."
    )
    offsets: dict[str, dict[_Natural, _Natural]] | None = Field(
        default=None,
        description="Topic to partition to offset; a partition that is not named starts at its first record.",
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.timestamp is None) == (self.offsets is None):
            found = "neither" if self.offsets is None else "both"
            raise ValueError(f"found {found}, expected exactly one of 'timestamp' and 'offsets'")
        return self

    @property
    def timestamp_ms(self) -> int | None:
        """Return the start's time in milliseconds since 1970 UTC, or None for explicit offsets."""
        return None if self.timestamp is None else int(self.timestamp.timestamp() * 1000)


def _start_tag(value: Any) -> str:
    return "~at" if isinstance(value, (dict, StartAt)) else "~name"


def _known_start(value: Any) -> Any:
    if value not in ("earliest", "latest"):
        raise PydanticCustomError(
            "unknown_start",
            "expected earliest, latest, {timestamp: ...} or {offsets: ...}",
            {"expected": "'earliest' or 'latest'"},
        )
    return value


# Tagged, so that a mistake is reported once and not for each alternative.
_Start = Annotated[
    Annotated[Literal["earliest", "latest"], BeforeValidator(_known_start), Tag("~name")]
    | Annotated[StartAt, Tag("~at")],
    Discriminator(_start_tag),
]


class KafkaSource(KafkaConnection):
    """Read Debezium's topics from a Kafka cluster."""

    topics: Annotated[list[_Topic], Field(min_length=1)] | None = Field(
        default=None,
        description=(
            "Topics to read; one that starts with ^ is a regular expression. Default: the entities' topics. "
            "Events of a topic that no entity names become dead letters."
        ),
    )
    start: _Start = Field(
        default="earliest",
        description="Where a job without a checkpoint starts: earliest, latest, {timestamp: ...} or "
        "{offsets: ...}.",
    )
    poll_interval_ms: Number = Field(
        default=50, ge=5, le=60_000, description="Time between polls, milliseconds."
    )
    poll_records_max: Number = Field(
        default=20_000, ge=1, le=1_000_000, description="Most records of a poll."
    )
    rate_limit_per_s: Annotated[int, Field(ge=1), NO_TRUTH] | None = Field(
        default=None, description="Most records read a second by each TaskManager; none by default."
    )
    discovery_interval_s: Number = Field(
        default=10, ge=1, description="Time between looks for new topics and partitions, seconds."
    )
    group_id: str | None = Field(
        default=None,
        description=(
            "Consumer group in which offsets are published for lag tools; they are never read back. "
            "Default: tillstream-<client>."
        ),
    )

    def starting_at(self, now: dt.datetime) -> "KafkaSource":
        """Return the source with `latest` fixed to an instant, so that restarts agree on it."""
        if self.start != "latest":
            return self
        return self.model_copy(update={"start": StartAt(timestamp=now)})


class FilesSource(ConfigModel):
    """Read files of Debezium JSON lines, plain, .gz or .zst, or Avro container files, .avro, once."""

    paths: list[_Pattern] = Field(
        min_length=1,
        description="Files, * and ** allowed, relative to the config's folder; read in order of their names.",
    )

    def expand(self) -> list[Path]:
        """Return the files that the paths match, in order.

        Raises:
            ConfigError: if a path matches none.
        """
        found: list[Path] = []
        for pattern in self.paths:
            names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  (patterns are absolute)
            matches = [Path(name) for name in names if Path(name).is_file()]
            if not matches:
                raise ConfigError(f"source.files.paths: found no file that matches {pattern}")
            found += [match for match in matches if match not in found]
        return found


class Source(ConfigModel):
    """Name the source; exactly one kind."""

    kafka: KafkaSource | None = Field(default=None, description="Change events from Kafka, without end.")
    files: FilesSource | None = Field(default=None, description="Change events from files, a bounded set.")
    events: Events = Field(default=Events(), description="How the events are written.")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.kafka is None) == (self.files is None):
            found = "neither" if self.kafka is None else "both"
            raise ValueError(f"found {found}, expected exactly one of 'kafka' and 'files'")
        return self
