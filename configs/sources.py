"""Describe where a client's change events come from."""

import glob
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Discriminator, Field, StringConstraints, Tag
from pydantic_core import PydanticCustomError

from tillstream.configs.base import ConfigModel, RelativePath
from tillstream.configs.secrets import SecretRef
from tillstream.pipelines.errors import ConfigError

__all__ = ["FilesSource", "KafkaSource", "Source", "StartPosition"]


def _check_topic(topic: str) -> str:
    if topic.startswith("^"):
        try:
            re.compile(topic)
        except re.error as error:
            raise PydanticCustomError(
                "topic", "expected a regular expression after '^' ({reason})", {"reason": str(error)}
            ) from None
    elif not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise PydanticCustomError(
            "topic",
            "expected a topic's name (letters, digits, '.', '_', '-'), or '^' and a regular expression",
        )
    return topic


class StartPosition(ConfigModel):
    """Start at a time, or at explicit offsets: exactly one of the two."""

    timestamp: AwareDatetime | None = Field(
        default=None,
        description="Start at the first record of this time or later, RFC 3339 with zone.",
        examples=["2024-05-01T00:00:00Z"],
    )
    offsets: dict[str, dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]]] | None = Field(
        default=None,
        description="Start at these offsets: topic to partition to offset. A partition that is not named "
        "starts at its first record.",
        examples=[{"acme.public.orders": {0: 1200}}],
    )

    @property
    def timestamp_ms(self) -> int:
        """Return the time in milliseconds since 1970 UTC, as Kafka counts; `timestamp` must be set."""
        if self.timestamp is None:
            raise ValueError("this start has offsets, not a timestamp")
        return int(self.timestamp.timestamp() * 1000)


def _start_tag(value: Any) -> str:
    return "~position" if isinstance(value, (dict, StartPosition)) else "~name"


_Start = Annotated[
    Annotated[Literal["earliest", "latest"], Tag("~name")] | Annotated[StartPosition, Tag("~position")],
    Discriminator(_start_tag),
]


class KafkaSource(ConfigModel):
    """Read change events from Kafka topics."""

    bootstrap_servers: Annotated[str, StringConstraints(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")] = Field(
        description="Brokers to ask first, host:port, separated by commas.", examples=["127.0.0.1:9092"]
    )
    topics: Annotated[list[Annotated[str, AfterValidator(_check_topic)]], Field(min_length=1)] | None = Field(
        default=None,
        description="Topics to read; an item that starts with ^ is a regular expression, as in librdkafka. "
        "Events of topics that no entity names become dead letters. Default: the entities' topics.",
    )
    start: _Start = Field(
        default="earliest",
        description="Where reading starts when no checkpoint says otherwise: `earliest`, `latest`, "
        "`{timestamp: ...}` or `{offsets: {topic: {partition: offset}}}`.",
    )
    group_id: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None,
        description="Consumer group whose offsets are published for lag tools; never read back. "
        "Default: tillstream-<client>.",
    )
    poll_interval_ms: int = Field(
        default=50, ge=1, le=60_000, description="Time between two polls of a partition, milliseconds."
    )
    poll_records_max: int = Field(
        default=20_000, ge=1, le=1_000_000, description="Most records that one poll takes."
    )
    rate_limit_per_s: int | None = Field(
        default=None, ge=1, description="Most records read a second by the whole job. Default: no limit."
    )
    discovery_interval_s: int = Field(
        default=10, ge=1, description="Time between two searches for new topics and partitions, seconds."
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to speak to the brokers; the SASL ones need the sasl_* fields."
    )
    ssl_ca_file: RelativePath | None = Field(
        default=None,
        description="Certificates of the authorities to trust, PEM; relative to this file. "
        "Default: the system's.",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How to log in."
    )
    sasl_username: str | None = Field(default=None, description="Who logs in.")
    sasl_password: SecretRef | None = Field(
        default=None, description="Reference to the password: ${NAME} or file:PATH."
    )


class FilesSource(ConfigModel):
    """Read change events from files of Debezium JSON lines: plain, `.gz` or `.zst`.

    Events find their entity by the topic that Debezium would have written them to.
    """

    paths: list[RelativePath] = Field(
        min_length=1,
        description="Files to read, in this order; * and ** stand for any names. Relative to this file.",
        examples=[["data/*.jsonl", "data/*.jsonl.gz"]],
    )

    def expand(self) -> list[Path]:
        """Return the files that the patterns match, each once, those of one pattern in order of their names.

        Raises:
            ConfigError: if a pattern matches no file.
        """
        found: dict[Path, None] = {}
        for pattern in self.paths:
            matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207  (patterns are absolute)
            files = [path for path in matches if path.is_file()]
            if not files:
                raise ConfigError(f"source.files.paths: found no file {pattern}, expected at least one")
            found.update(dict.fromkeys(files))
        return list(found)


class Source(ConfigModel):
    """Name where change events come from: exactly one of the two."""

    kafka: KafkaSource | None = Field(default=None, description="Kafka topics, read without end.")
    files: FilesSource | None = Field(default=None, description="Files, read once.")
