"""Say what every sink does, and find a sink by its type.

A sink lives in one worker process, inside a Beam DoFn: `open` in its setup, `write` at the end of each
bundle, `close` in its teardown. It is made of plain config, so that it can travel to the worker; secrets
are looked up in `open`, connections are made there.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from tillstream.configs import ClientConfig, Entity
from tillstream.configs.launching import current_launch
from tillstream.pipelines.errors import ConfigError, MissingToolError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = [
    "Refuse",
    "Sink",
    "Writer",
    "keeps_positions",
    "open_sink",
    "register",
    "sink_class",
    "sink_types",
]


Refuse: TypeAlias = Callable[[Sequence[DeadLetter]], None]


class Writer(NamedTuple):
    """Name the job that writes, for sinks that tell its batches apart.

    Attributes:
        generation: of the launch, milliseconds since 1970 UTC; rises with each launch by a person.
        shards: how many shards the job has.
        parallelism: how many subtasks write at once.
        max_parallelism: how many key groups the subtasks share.
        undoes: the first of the generations whose work this one takes back; 0 for none.
    """

    generation: int
    shards: int
    parallelism: int
    max_parallelism: int = 128
    undoes: int = 0


class Sink(ABC):
    """Be the base of all sinks.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name; none for a store of dead letters only.
        writer: who writes; None where batches are not numbered (at-least-once).

    Attributes:
        guarantee: the most that it gives, with a writer and with batches that are numbered.
        keeps_values: whether it keeps a row's own values where a change does not bring them
            (`MutationBatch.unknown`); the others get whole rows only.
    """

    guarantee: ClassVar[Literal["exactly-once", "at-least-once"]] = "at-least-once"
    keeps_values: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        client: str,
        model: Any,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        self.name = name
        self.client = client
        self.model = model
        self.entities = dict(entities)
        self.writer = writer

    @abstractmethod
    def open(self) -> None:
        """Connect, and prepare the far side for the entities.

        Raises:
            SinkUnavailableError: if the far side does not answer, after bounded retries.
            SinkError: if it refuses, with what to do.
        """

    @abstractmethod
    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write batches as one unit; a shard's batches are in order, shards may mix.

        With a `writer` the batches are numbered, and each is applied once: see `tillstream.io.sinks.ledger`.

        Args:
            batches: what to write.
            refuse: called with the rows that the far side refuses, before the others are committed: once
                they are, a repeated batch is skipped, and its refused rows would be lost. What it keeps
                it keeps once, however often it is called with it.

        Raises:
            SinkUnavailableError: if the far side does not answer, after bounded retries. Writing the same
                batches again is then harmless.
            SinkError: if it refuses all of them, with what to do.
            SequenceGapError, StaleWriterError: as `tillstream.io.sinks.ledger.admit` does.
        """

    @abstractmethod
    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters in the client's store; raises as `write` does."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what `open` took; may be called more than once."""


_TARGETS: dict[str, tuple[str, str]] = {}
_KEEP_POSITIONS: set[str] = set()


def register(kind: str, target: str, extra: str = "", *, positions: bool = False) -> None:
    """Make a sink known.

    Args:
        kind: its `type` in configs.
        target: `module:Class`, imported when the first such sink is opened.
        extra: the optional part of the distribution that it needs.
        positions: whether it keeps the positions of its rows, and so tells by itself which of them a
            truncate deletes.

    Raises:
        ValueError: if the kind is taken, or the target has another form.
    """
    if kind in _TARGETS:
        raise ValueError(f"found sink type {kind!r} twice, expected each once: it is {_TARGETS[kind][0]}")
    if target.count(":") != 1:
        raise ValueError(f"found target {target!r}, expected module:Class")
    _TARGETS[kind] = (target, extra)
    if positions:
        _KEEP_POSITIONS.add(kind)


def keeps_positions(kind: str) -> bool:
    """Tell whether sinks of a type keep the positions of their rows; the others keep logs of changes."""
    return kind in _KEEP_POSITIONS


def sink_class(kind: str) -> type[Sink]:
    """Return the class of a sink type.

    Raises:
        ConfigError: if the type is unknown; lists the known ones.
        MissingToolError: if its optional dependency is not installed.
    """
    if kind not in _TARGETS:
        raise ConfigError(f"found sink type {kind!r}, expected one of {', '.join(sorted(_TARGETS))}")
    target, extra = _TARGETS[kind]
    module, name = target.split(":")
    try:
        found: type[Sink] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise MissingToolError(
            f"sink type {kind!r} needs the package {error.name}: pip install 'tillstream[{extra}]'"
        ) from error
    return found


def sink_types() -> list[str]:
    """Return the types of sinks that are known, sorted."""
    return sorted(_TARGETS)


def open_sink(config: ClientConfig, name: str, writer: Writer | None = None) -> Sink:
    """Return one of a client's sinks, open, for the entities that name it; raises as `Sink.open` does.

    A launch that is a shadow gets a sink that only keeps what it is given, whatever the name.
    """
    launch = current_launch()
    if launch is not None and launch.canary is not None:
        from tillstream.io.sinks.shadow import shadow_sink

        return shadow_sink(config, name, launch.canary)
    model = config.sinks[name]
    entities = {key: entity for key, entity in config.entities.items() if name in entity.sinks}
    sink = sink_class(model.type)(name, config.client, model, entities, writer)
    sink.open()
    return sink


register("postgres", "tillstream.io.sinks.postgres:PostgresSink", "postgres", positions=True)
register("files", "tillstream.io.sinks.files:FilesSink", "files")
register("gcs", "tillstream.io.sinks.gcs:GcsSink", "gcs")
register("kafka", "tillstream.io.sinks.kafka:KafkaSink", "kafka")
register("http", "tillstream.io.sinks.http:HttpSink", "http")
