"""Write every change into files or objects, one folder an entity: what those sinks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from tillstream.configs import Entity
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.commit_log import CommitLog, Part, Store
from tillstream.io.sinks.letters import letter_line
from tillstream.io.sinks.part_files import part_name
from tillstream.io.sinks.parts import Parts
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["DEAD_LETTERS", "PartSink"]

DEAD_LETTERS = "_dead_letters"
_encode_lines = msgspec.json.Encoder().encode_lines


class PartSink(Sink):
    """Be the base of the sinks that write a part an entity and `write`, through a `CommitLog` or without.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config; has `format` and `compression`.
        entities: those whose rows it takes, by name.
        writer: who writes; None for at-least-once, and then parts are named by their content.
    """

    guarantee = "exactly-once"

    def __init__(
        self,
        name: str,
        client: str,
        model: Any,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        self._parts: Parts | None = None
        self._logs: dict[str, CommitLog] = {}

    @abstractmethod
    def _reach(self) -> None:
        """Connect, and check that the place can be written to."""

    @abstractmethod
    def _store(self, entity: str, suffix: str) -> Store:
        """Return where an entity's parts and log lie."""

    @abstractmethod
    def _keep(self, folder: str, name: str, content: bytes) -> None:
        """Write a part whole or not at all; harmless where one of that name is there."""

    @abstractmethod
    def _insist(self, work: Callable[[], None]) -> None:
        """Do some work, again after each outage, as long as the config says; raises as Sink.write does."""

    def open(self) -> None:
        """Connect, and read the logs; raises as Sink.open does."""
        parts = Parts(self.name, self.model, self.entities)
        self._insist(self._reach)
        if self.writer is not None:
            for entity in self.entities:
                log = CommitLog(self._store(entity, parts.suffix), entity, self.writer)
                self._insist(log.open)
                self._logs[entity] = log
        self._parts = parts

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write one part an entity; raises as Sink.write does."""
        by_entity: dict[str, list[MutationBatch]] = {}
        for batch in batches:
            by_entity.setdefault(batch.entity, []).append(batch)
        for entity, own in by_entity.items():
            if entity in self._logs:
                encode = partial(self._part, entity, refuse)
                self._insist(partial(self._logs[entity].write, own, encode))
            else:
                self._write_again(entity, [batch for batch in own if batch.records], refuse)

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Write one part of JSON lines; raises as Sink.write does."""
        if letters:
            content = _encode_lines([letter_line(letter) for letter in letters])
            name = part_name(letters[0].offset, content, ".jsonl")
            self._insist(partial(self._keep, DEAD_LETTERS, name, content))

    def close(self) -> None:
        """Let go of encoders and ledgers."""
        self._parts = None
        self._logs = {}

    def _part(self, entity: str, refuse: Refuse, batches: Sequence[MutationBatch]) -> Part | None:
        good, content = self._open_parts.encode(entity, batches, refuse)
        rows = sum(len(batch.records) for batch in good)
        return Part(self._open_parts.packed(content), rows) if rows else None

    def _write_again(self, entity: str, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write a part under a name that its content gives, as often as it is asked to."""
        if not batches:
            return
        good, content = self._open_parts.encode(entity, batches, refuse)
        if good:
            name = part_name(good[0].records[0].source_time_us, content, self._open_parts.suffix)
            self._insist(partial(self._keep, entity, name, self._open_parts.packed(content)))

    @property
    def _open_parts(self) -> Parts:
        if self._parts is None:
            raise SinkError(f"sink {self.name}: found it closed, expected open() before write()")
        return self._parts
