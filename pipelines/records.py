"""Define the records that travel between the stages, and their binary form.

A frame is one version byte followed by MessagePack. The version rises whenever a field changes its
meaning or its place; a field may be appended at the end without that, because older frames then
decode to the field's default. Rows inside a change batch stay encoded until a stage needs them, so
that each is decoded once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, TypeAlias

import msgspec
from typing_extensions import Self

__all__ = [
    "ChangeBatch",
    "ChangeEvent",
    "ChangeRecord",
    "DeadLetter",
    "DeadLetterBatch",
    "Framed",
    "Mutation",
    "MutationBatch",
    "MutationKind",
    "MutationRecord",
    "Operation",
    "Position",
    "Replay",
    "Row",
]

Row: TypeAlias = Mapping[str, Any]
# Where a change stands in its source's own order; compared element by element, per connector.
Position: TypeAlias = tuple[int | str, ...]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_encode = msgspec.msgpack.Encoder().encode
_decode_json = msgspec.json.Decoder().decode


class Operation(str, Enum):
    """Name what happened in the source, by Debezium's `op` codes."""

    SNAPSHOT = "r"
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"
    MESSAGE = "m"


class MutationKind(str, Enum):
    """Name what a sink does with a mutation."""

    UPSERT = "u"
    DELETE = "d"


class Framed(msgspec.Struct, frozen=True, array_like=True):
    """Give a record its versioned binary form."""

    FRAME_VERSION: ClassVar[int] = 1
    _decoder: ClassVar[msgspec.msgpack.Decoder[Any] | None] = None

    def encode(self) -> bytes:
        """Return the frame: one version byte, then MessagePack."""
        return bytes((self.FRAME_VERSION,)) + _encode(self)

    @classmethod
    def decode(cls, frame: bytes) -> Self:
        """Read a frame.

        Raises:
            ValueError: if the frame is damaged, or of a version that this release does not read.
        """
        if not frame or frame[0] != cls.FRAME_VERSION:
            found = frame[0] if frame else "none"
            raise ValueError(
                f"{cls.__name__}: found frame version {found}, expected {cls.FRAME_VERSION}: "
                "read it with the release that wrote it"
            )
        if cls._decoder is None:
            cls._decoder = msgspec.msgpack.Decoder(cls)
        try:
            record: Self = cls._decoder.decode(memoryview(frame)[1:])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"{cls.__name__}: damaged frame: {error}") from error
        return record


class Mutation(Framed, frozen=True, array_like=True):
    """Say what one change does to one row of an output entity.

    Attributes:
        entity: the output entity's name in the client's config.
        kind: upsert or delete.
        key: the row's key, column to value.
        row: the whole row after the change; None for a delete.
        position: place of the change in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        topic: where the change was read from.
        partition: of that topic.
        offset: in that partition.
        index: number of this mutation among those of its change; with the three above, its identity.
    """

    entity: str
    kind: MutationKind
    key: dict[str, Any]
    row: dict[str, Any] | None
    position: Position
    source_time_us: int
    topic: str
    partition: int
    offset: int
    index: int = 0


class ChangeEvent(Framed, frozen=True, array_like=True):
    """Show one change to a client's DoFn.

    Attributes:
        client: whose change it is.
        entity: the entity's name in the client's config.
        operation: what happened.
        key: the entity's key, column to value.
        before: row before the change; None when the source does not send it.
        after: row after the change; None for a delete.
        position: place in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        topic: where it was read from.
        partition: of that topic.
        offset: in that partition.
        target: the entity whose rows are to be made of it; empty where that is the entity itself.
    """

    client: str
    entity: str
    operation: Operation
    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    position: Position
    source_time_us: int
    topic: str
    partition: int
    offset: int
    target: str = ""

    @property
    def source_time(self) -> dt.datetime:
        """Return the commit time in the source as an instant."""
        return _EPOCH + dt.timedelta(microseconds=self.source_time_us)

    def upsert(self, row: Row, *, entity: str | None = None, index: int = 0) -> Mutation:
        """Return the mutation that writes `row`, with this change's provenance.

        Args:
            row: all columns; the key's are taken from it where the entity's contract is checked.
            entity: whose row it is; by default the one whose config names the transform.
            index: number of this mutation among those of the change; set by the pipeline.
        """
        return self._mutation(MutationKind.UPSERT, entity, self.key, dict(row), index)

    def delete(self, key: Row | None = None, *, entity: str | None = None, index: int = 0) -> Mutation:
        """Return the mutation that deletes the row of `key` (default: this change's own)."""
        return self._mutation(MutationKind.DELETE, entity, self.key if key is None else key, None, index)

    def _mutation(
        self, kind: MutationKind, entity: str | None, key: Row, row: dict[str, Any] | None, index: int
    ) -> Mutation:
        return Mutation(
            entity or self.target or self.entity,
            kind,
            dict(key),
            row,
            self.position,
            self.source_time_us,
            self.topic,
            self.partition,
            self.offset,
            index,
        )


class ChangeRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hold one change inside a batch, its rows still encoded.

    Attributes:
        offset: place in the topic-partition (a line number for files).
        operation: what happened.
        key: values of the entity's key, in the config's order.
        position: place in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        before: row before the change, as JSON bytes, or None.
        after: row after the change, as JSON bytes, or None.
    """

    offset: int
    operation: Operation
    key: tuple[Any, ...]
    position: Position
    source_time_us: int
    before: bytes | None
    after: bytes | None


class Replay(msgspec.Struct, frozen=True, array_like=True):
    """Say, of the one change in a batch, that a person gives it back to the job, or gives it up.

    Attributes:
        letter: identity of the dead letter that it became.
        action: replay or discard.
        entity: of the letter; what is written of the change is written there. Empty for all of its flows.
        step: that made the letter.
        index: of the mutation that the letter is of.
        sink: of the letter; empty where it did not get that far.
        transform: name and version to apply in place of the job's own; empty for that.
        attempt: when the person asked for it, microseconds since 1970 UTC.
        seen: attempt that the letter had come out of when they did; 0 for the first reading.
        topic: through which it came back.
        partition: of that topic.
        offset: in that partition.
    """

    letter: str
    action: str
    entity: str
    step: str
    index: int
    sink: str
    transform: str
    attempt: int
    seen: int
    topic: str
    partition: int
    offset: int


class ChangeBatch(Framed, frozen=True, array_like=True):
    """Carry the changes of one shard that one poll of one topic-partition found.

    Attributes:
        client: whose changes they are.
        entity: the entity's name in the client's config.
        shard: the shard that all of them belong to.
        topic: where they were read from.
        partition: of that topic.
        key_columns: names of the key's columns, in the order of each record's key.
        records: the changes, in the order of their offsets.
        replay: why the one change of the batch comes again; None for a first reading.
    """

    client: str
    entity: str
    shard: int
    topic: str
    partition: int
    key_columns: tuple[str, ...]
    records: tuple[ChangeRecord, ...]
    replay: Replay | None = None

    def event(self, record: ChangeRecord, target: str = "") -> ChangeEvent:
        """Return one of the changes with its rows decoded; raises ValueError where a row is not JSON."""
        before = None if record.before is None else _decode_json(record.before)
        after = None if record.after is None else _decode_json(record.after)
        return self.typed_event(record, before, after, target)

    def typed_event(
        self,
        record: ChangeRecord,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        target: str = "",
    ) -> ChangeEvent:
        """Return one of the changes with rows that are decoded already."""
        return ChangeEvent(
            self.client,
            self.entity,
            record.operation,
            dict(zip(self.key_columns, record.key, strict=True)),
            before,
            after,
            record.position,
            record.source_time_us,
            self.topic,
            self.partition,
            record.offset,
            target,
        )


class MutationRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hold one mutation inside a batch.

    Attributes:
        kind: upsert or delete.
        key: values of the key's columns, in the batch's order.
        values: values of all columns, in the batch's order; None for a delete.
        position: place of the change in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        offset: of the change in the batch's topic-partition.
        index: number of this mutation among those of its change.
    """

    kind: MutationKind
    key: tuple[Any, ...]
    values: tuple[Any, ...] | None
    position: Position
    source_time_us: int
    offset: int
    index: int = 0


class MutationBatch(Framed, frozen=True, array_like=True):
    """Carry the mutations of one output entity and one shard to a sink.

    Values have their wire form: decimals, UUIDs, dates and times without zone are text; instants are
    aware datetimes; bytes are bytes.

    Attributes:
        client: whose rows they are.
        entity: the output entity's name in the client's config.
        shard: the shard that all of them belong to.
        topic: where their changes were read from.
        partition: of that topic.
        columns: names of each record's values, in order.
        key_columns: names of each record's key values, in order.
        records: the mutations, in the order in which they must be applied.
        sequence: number of this batch among those of its entity and shard, from 1 on without a gap, out of
            checkpointed state; 0 where batches are not numbered, and then a repeated one is not recognised.
        generation: of the launch that made the batch, milliseconds since 1970 UTC; 0 without a number.
        first: number of the first batch of its entity and shard that this launch made.
        via: where the changes of a replay came back, and the number of the batch among those of the replay;
            an empty topic where they came out of the job's state. None for a first reading.
        only_sinks: those that get the rows; empty for all of the entity's.
        settled: dead letters that are solved when the rows are delivered.
        derived: whether its records come in another order than that of their offsets, because later changes
            of other rows had them made, or made again; how far a topic was delivered is not to be told by it.
        evolved: names and types, as a config spells them, of those columns that the entity's contract lacks, or
            that are wider in these records than in it.
    """

    client: str
    entity: str
    shard: int
    topic: str
    partition: int
    columns: tuple[str, ...]
    key_columns: tuple[str, ...]
    records: tuple[MutationRecord, ...]
    sequence: int = 0
    generation: int = 0
    first: int = 0
    via: tuple[str, int, int, int] | None = None
    only_sinks: tuple[str, ...] = ()
    settled: tuple[DeadLetter, ...] = ()
    derived: bool = False
    evolved: tuple[tuple[str, str], ...] = ()


class DeadLetter(Framed, frozen=True, array_like=True):
    """Keep a record that could not be delivered, and why.

    Attributes:
        client: whose record it is.
        entity: the entity's name, or None where it could not be told.
        step: the step that refused it: read, transform or write.
        reason: the rule it broke, a short stable name.
        detail: the rule in a sentence: what was found, what was expected.
        topic: where it was read from.
        partition: of that topic.
        offset: in that partition.
        index: number of the mutation among those of its change; 0 before the transform.
        key: the record's key as it was read, or None.
        payload: the record's value as it was read, or as near to it as the step still had, or None.
        transform: name and version of the transform, or None.
        traceback: of the transform's exception, or None.
        sink: name of the sink that refused it, or None where it did not get that far. Each of an entity's
            sinks may refuse the same mutation, for reasons of its own.
        position: place of the change in the source's own order; empty where it is not known.
        source_time_us: commit time in the source, microseconds since 1970 UTC; 0 where it is not known.
        source_entity: whose change it was, where `entity` is another one that is made of it; None where it
            could not be told or is the same.
        attempt: when a person gave the record back to the job and it was refused again, microseconds since
            1970 UTC; 0 for its first reading.
        status: open, or what became of it: replayed, superseded or discarded. A letter that is not open
            says so of the one with the same identity, and carries no payload of its own.
    """

    client: str
    entity: str | None
    step: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    index: int = 0
    key: bytes | None = None
    payload: bytes | None = None
    transform: str | None = None
    traceback: str | None = None
    sink: str | None = None
    position: Position = ()
    source_time_us: int = 0
    source_entity: str | None = None
    attempt: int = 0
    status: str = "open"


class DeadLetterBatch(Framed, frozen=True, array_like=True):
    """Carry the dead letters of one bundle.

    Attributes:
        letters: in the order in which they were found.
    """

    letters: tuple[DeadLetter, ...]
