"""Drop changes that were seen before, or that a newer one of their row has overtaken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zlib import crc32

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics

from tillstream.pipelines.positions import reconcile
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation, Position
from tillstream.transforms.resyncs import passed_from
from tillstream.transforms.shard_state import Key, Shard, ShardMemory, shared_memory, specs
from tillstream.transforms.truncates import is_before, note_truncate, truncated_at, without_truncated

if TYPE_CHECKING:
    from tillstream.transforms.flows import Flow

__all__ = ["REASONS", "By", "DeduplicateChanges", "Deduplicated", "Deduplicator", "Entry"]

By: TypeAlias = Literal["position", "event_id"]
# When it was seen (the shard's newest event time, us), the newest position, a digest of the row; 0: deleted.
Entry: TypeAlias = tuple[int, Position, int]

REASONS = ("duplicate", "stale", "late")
_replace = msgspec.structs.replace


@dataclass
class Deduplicated:
    """Tell what became of a batch.

    Attributes:
        records: what is kept, in the batch's order.
        dropped: how many are not, by reason: duplicate, stale or late.
        truncated: keys of the rows that were known, and that a truncate which is kept has deleted.
    """

    records: list[ChangeRecord] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    truncated: list[tuple[Any, ...]] = field(default_factory=list)

    def drop(self, reason: str) -> None:
        """Count a record that is not kept."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class Deduplicator:
    """Keep of each batch what is new, against a shard's state.

    The clock is the shard's newest event time. By position, of each (entity, key):

    - a change with a greater position than the last kept one is kept, however late it is;
    - equal position and equal row: `duplicate`. Equal position and another row, as for a delete and a create
      that one statement made of one row: kept;
    - smaller position: `stale`, or `late` when its event time is older than the horizon;
    - a snapshot read with a greater position whose row is the known one: `duplicate`, so a snapshot taken
      again repeats nothing, yet repairs rows whose events were lost. While a resync of the entity goes
      on it is kept, because the sink's row may have been changed by hand;
    - a row that is unknown, or was last seen longer ago than the horizon: kept, however late, because in an
      ordered log this is its first delivery. It is `late`, and dropped, only where its offset shows that
      this shard has read past it in its partition before, within the horizon.

    A truncate is a change of every row that has a lower position than it: known ones are forgotten, and of
    the entity's later changes those with a lower position are `stale`, for one horizon, whether their row is
    known or not. So it makes no difference in what order the partitions of a topic bring it and the rows.
    Where some targets keep the rows that a truncate deletes, they are remembered, and none is stale for it:
    who keeps none leaves them out (`without_truncated`).

    By event identity a change is `duplicate` when the same place in the source (or, where the connector has
    no order known here, the same topic, partition and offset) was kept within the horizon, `late` as in the
    last rule, and kept otherwise; nothing is stale but what a truncate overtakes. Which rows there are is
    not known then.

    Deletes leave their position behind as long as any other change. Changes without a position pass by
    position, since nothing can be said of their order.

    Args:
        by: position or event_id.
        horizon_us: as of the state's memory; how long a key or an identity is remembered.
        keeping: of entities whose rows stay for some targets though a truncate has overtaken them, those
            targets.
    """

    def __init__(self, by: By, horizon_us: int, keeping: Mapping[str, frozenset[str]] | None = None) -> None:
        if by not in ("position", "event_id"):
            raise ValueError(f"deduplication by {by!r}: expected position or event_id")
        if horizon_us <= 0:
            raise ValueError(f"deduplication horizon: found {horizon_us} us, expected more than 0")
        self.horizon_us = horizon_us
        self._by = by
        self._keeping = keeping or {}
        self._keep = self._by_position if by == "position" else self._by_event_id

    def keep(self, batch: ChangeBatch, shard: Shard[Entry]) -> Deduplicated:
        """Return what is kept of a batch, and note it in the shard's state; the caller commits that."""
        result = Deduplicated()
        if not batch.records:
            return result
        # Entities have names, so this is no row's key.
        partition_key = ("", batch.topic, batch.partition)
        read_past = -1
        known = shard.index.get(partition_key)
        if known is not None and known[0] >= (shard.newest_us or 0) - self.horizon_us:
            read_past = int(known[1][0])
        delta: dict[Key, Entry] = {}
        read_until = batch.records[-1].offset
        newest_us = max(batch.records[-1].source_time_us, shard.newest_us or 0)
        if batch.records[0].operation is Operation.TRUNCATE:
            forgets = batch.entity not in self._keeping
            note_truncate(batch, shard, result, knows_rows=self._by == "position", forgets=forgets)
        else:
            if batch.entity not in self._keeping:
                read, batch = batch, without_truncated(batch, shard)
                for _ in range(len(read.records) - len(batch.records)):
                    result.drop("stale")
            if batch.records:
                newest_us = self._keep(batch, shard, read_past, delta, result)
        if read_until > read_past or delta:
            delta[partition_key] = (newest_us, (max(read_until, read_past),), 0)
        shard.update(delta, newest_us)
        return result

    def has_read(self, batch: ChangeBatch, shard: Shard[Entry]) -> bool:
        """Tell whether the shard has read as far as the one change of a batch in its partition.

        What lies behind the horizon counts as read: of it nothing is known any more.
        """
        (record,) = batch.records
        known = shard.index.get(("", batch.topic, batch.partition))
        if known is not None:
            return int(known[1][0]) >= record.offset
        floor_us = shard.floor_us
        return floor_us is not None and record.source_time_us < floor_us

    def readmit(self, batch: ChangeBatch, shard: Shard[Entry]) -> ChangeRecord | None:
        """Return the one change of a batch that is given back; None where a newer one of its row is known.

        It was seen before, and noted, so the rule of repeats does not hold for it. What it finds unknown it
        notes, so that the first reading counts as a repeat where it comes later.
        """
        (record,) = batch.records
        position = record.position
        newest_us = max(record.source_time_us, shard.newest_us or record.source_time_us)
        if batch.entity not in self._keeping and not without_truncated(batch, shard).records:
            return None
        if self._by == "event_id":
            event: Key = (batch.entity, record.operation.value, *record.key, *position)
            if not position:
                event = ("", batch.topic, batch.partition, record.offset)
            shard.update({event: (newest_us, (), 0)}, record.source_time_us)
            return record
        if not position:
            return record
        key = (batch.entity, *record.key)
        digest = 0 if record.after is None else crc32(record.after) or 1
        known = shard.get(key)
        if known is not None and position == known[1]:
            return record if digest == known[2] else None
        if known is not None and position < known[1]:
            better = reconcile(position, known[1])
            if better is None:
                return None
            position = better
        shard.update({key: (newest_us, position, digest)}, record.source_time_us)
        return record if position is record.position else _replace(record, position=position)

    def standing(self, batch: ChangeBatch, shard: Shard[Entry], flows: Sequence[Flow]) -> Sequence[Flow]:
        """Return the flows that take the one change of a batch that is given back, truncated or not."""
        keeping = self._keeping.get(batch.entity)
        if keeping is None or without_truncated(batch, shard).records:
            return flows
        return [flow for flow in flows if flow.target in keeping]

    def _by_position(
        self,
        batch: ChangeBatch,
        shard: Shard[Entry],
        read_past: int,
        delta: dict[Key, Entry],
        result: Deduplicated,
    ) -> int:
        index, entity, horizon_us = shard.index, batch.entity, self.horizon_us
        find, append = index.get, result.records.append
        newest_us = batch.records[0].source_time_us if shard.newest_us is None else shard.newest_us
        passed = passed_from(shard, entity)
        truncated = truncated_at(shard, entity) if entity in self._keeping else None
        for record in batch.records:
            time_us, position = record.source_time_us, record.position
            if time_us > newest_us:  # noqa: PLR1730  (a call a record costs)
                newest_us = time_us
            if not position:
                append(record)
                continue
            key = (entity, *record.key)
            row = record.after
            # Zero says deleted.
            digest = 0 if row is None else crc32(row) or 1
            known = find(key)
            is_late = time_us < newest_us - horizon_us
            if known is None or known[0] < newest_us - horizon_us:
                reason = "late" if is_late and record.offset <= read_past else None
            elif position > known[1]:
                repeated = digest == known[2] and record.operation is Operation.SNAPSHOT
                if repeated and truncated is not None and is_before(known[1], truncated):
                    repeated = False  # for those who do not keep it
                # Whoever reads a table again wants its rows delivered again.
                reason = "duplicate" if repeated and not (passed and position >= passed) else None
            else:
                reason, position = _compare(position, digest, known, record.operation)
                if reason == "stale" and is_late:
                    reason = "late"
            if reason is not None:
                result.drop(reason)
                continue
            index[key] = delta[key] = (newest_us, position, digest)
            append(record if position is record.position else _replace(record, position=position))
        return newest_us

    def _by_event_id(
        self,
        batch: ChangeBatch,
        shard: Shard[Entry],
        read_past: int,
        delta: dict[Key, Entry],
        result: Deduplicated,
    ) -> int:
        index, entity, horizon_us = shard.index, batch.entity, self.horizon_us
        find, append = index.get, result.records.append
        newest_us = batch.records[0].source_time_us if shard.newest_us is None else shard.newest_us
        for record in batch.records:
            time_us = record.source_time_us
            if time_us > newest_us:  # noqa: PLR1730  (a call a record costs)
                newest_us = time_us
            key: Key
            if record.position:
                key = (entity, record.operation.value, *record.key, *record.position)
            else:
                key = ("", batch.topic, batch.partition, record.offset)
            known = find(key)
            if known is not None and known[0] >= newest_us - horizon_us:
                result.drop("duplicate")
                continue
            if time_us < newest_us - horizon_us and record.offset <= read_past:
                result.drop("late")
                continue
            index[key] = delta[key] = (newest_us, (), 0)
            append(record)
        return newest_us


def _compare(
    position: Position, digest: int, known: Entry, operation: Operation
) -> tuple[str | None, Position]:
    """Say why a change that is not plainly newer is dropped, or None and the position to keep it with."""
    if position == known[1]:
        return ("duplicate" if digest == known[2] else None), position
    better = reconcile(position, known[1])
    if better is None:
        return "stale", position
    repeated = digest == known[2] and operation is Operation.SNAPSHOT
    return ("duplicate" if repeated else None), better


class _Deduplicate(beam.DoFn):
    """Apply a Deduplicator to batches keyed by shard."""

    HEAD, LOG = specs("dedup")

    def __init__(self, deduplicator: Deduplicator) -> None:
        self._deduplicator = deduplicator
        self._kept = Metrics.counter("tillstream", "events_kept")
        self._dropped = {reason: Metrics.counter("tillstream", f"events_{reason}") for reason in REASONS}

    def setup(self) -> None:
        """Join the process's memory."""
        self._memory: ShardMemory[Entry] = shared_memory("deduplicate", self._deduplicator.horizon_us, Entry)

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Pass on what is kept of one batch."""
        shard_key, frame = element
        batch = ChangeBatch.decode(frame)
        shard = self._memory.open(shard_key, head, log)
        result = self._deduplicator.keep(batch, shard)
        shard.commit()
        for reason, count in result.dropped.items():
            self._dropped[reason].inc(count)
        if not result.records:
            return
        self._kept.inc(len(result.records))
        if len(result.records) < len(batch.records) or any(
            kept is not record for kept, record in zip(result.records, batch.records, strict=True)
        ):
            frame = _replace(batch, records=tuple(result.records)).encode()
        yield shard_key, frame


class DeduplicateChanges(beam.PTransform):
    """Drop repeated and overtaken changes from (shard key, ChangeBatch frame) pairs.

    The rules are those of `Deduplicator`. What is dropped is counted in Beam's metrics, namespace
    `tillstream`: `events_duplicate`, `events_stale`, `events_late`; the rest in `events_kept`.

    Delivery guarantees:
        Exactly-once for every change whose copies come within the horizon, in event time of its shard: the
        state lies in the same checkpoint as the read offsets, so a replay is judged by the state that its
        first reading found. Nothing new is dropped as long as a partition's records come in order, give or
        take the horizon. State: 50 to 150 bytes for each key (by position) or event (by event_id) seen
        within the horizon. What would break it: two sources with orders of their own that write the same
        key; a log that starts over under the same epoch. An event dated far in the future moves the horizon
        and so forgets what came before: repeats then pass, nothing is lost.

        A bounded run on Flink hands a shard its batches in any order, because Flink's batch mode sorts by
        key alone: by position it ends in the same rows, but versions that arrive behind newer ones are
        dropped as stale; by event_id all of them pass.

    Args:
        by: `position` keeps of each row what is newer than all before; `event_id` drops only repeats.
        horizon_us: how far behind the newest event time repeats are recognised, in microseconds.
    """

    def __init__(self, by: By, horizon_us: int) -> None:
        super().__init__()
        self._deduplicator = Deduplicator(by, horizon_us)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Add the one step, which keeps the input's keys."""
        return batches | "Deduplicate" >> beam.ParDo(_Deduplicate(self._deduplicator)).with_output_types(
            beam.typehints.Tuple[bytes, bytes]
        )
