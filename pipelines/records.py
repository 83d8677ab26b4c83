"""Define the records that travel between the stages, those of dead letters among them.

Rows inside a change batch stay encoded until a stage needs them, so that each is decoded once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from tillstream.pipelines.framing import Framed
from tillstream.pipelines.letters import DeadLetter, DeadLetterBatch, Position, Replay

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
    "RowSchema",
]

Row: TypeAlias = Mapping[str, Any]
# Names of columns and their types, as a config spells them.
RowSchema: TypeAlias = tuple[tuple[str, str], ...]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
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
    TRUNCATE = "t"


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
        attempt: when a person gave its change back to the job, microseconds since 1970 UTC; else 0.
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
    attempt: int = 0


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
        transaction: of the source, and the number of the change in it, from 1 on; None where the source does
            not tell, and for snapshot reads.
        index: number of the change among those that one message is, from 1 on; 0 where it is one alone. An
            update of a table without a key is two: the row before goes, the row after comes.
    """

    offset: int
    operation: Operation
    key: tuple[Any, ...]
    position: Position
    source_time_us: int
    before: bytes | None
    after: bytes | None
    transaction: tuple[str, int] | None = None
    index: int = 0


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
        schema: columns and types of all its rows, where their messages declare them.
    """

    client: str
    entity: str
    shard: int
    topic: str
    partition: int
    key_columns: tuple[str, ...]
    records: tuple[ChangeRecord, ...]
    replay: Replay | None = None
    schema: RowSchema = ()

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
        kind: upsert, delete, or truncate, which is of all rows whose position is lower, and has no key.
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
        evolved: names and types, as a config spells them, of those columns that the entity's contract
            lacks, or that are wider in these records than in it.
        unknown: columns whose values the source did not send, because the change did not touch them: the
            sink keeps those that it has. The records hold null there.
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
    evolved: RowSchema = ()
    unknown: tuple[str, ...] = ()

    @property
    def truncates(self) -> bool:
        """Tell whether the batch holds a truncate, which is alone in its batch."""
        return bool(self.records) and self.records[0].kind is MutationKind.TRUNCATE
