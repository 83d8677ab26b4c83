"""Work one message of differences into the groups of a shard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.guard import ClientRaised, RecordGuard
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetter,
    Mutation,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
)
from tillstream.transforms.aggregates import exact_values
from tillstream.transforms.aggregates.aggregate import Aggregate
from tillstream.transforms.aggregates.groups import Group, GroupEntry, digest_of, signature_of
from tillstream.transforms.aggregates.messages import Change, Differences, at_most
from tillstream.transforms.aggregates.router import name_of, windows_of
from tillstream.transforms.aggregates.windowing import Span, instant
from tillstream.transforms.flows import Flow
from tillstream.transforms.lifecycle import naming
from tillstream.transforms.packing import MutationPacker, Packed
from tillstream.transforms.shard_state import Shard

__all__ = ["AggregateKind", "AggregateWork"]


class AggregateKind:
    """Hold what all groups of one aggregate share.

    Args:
        config: the client's.
        flow: of the aggregate.
        packer: takes the rows.
        generation: as of `TransformChanges`.
        bounded: whether the run ends.
    """

    def __init__(
        self,
        config: ClientConfig,
        flow: Flow,
        packer: MutationPacker,
        generation: int | None,
        *,
        bounded: bool,
    ) -> None:
        assert flow.transform is not None  # copies aggregate nothing
        self.client = config.client
        self.shards = config.flink.shards
        self.flow = flow
        self.packer = packer
        self.generation = generation
        self.name = name_of(flow)
        assert flow.info is not None
        with naming(flow, "its constructor"):
            self.aggregate: Aggregate = flow.transform()
        self.guard = RecordGuard(config.limits, flow.info.name)
        self.combine = dict(sorted(self.aggregate.combine.items()))
        self.signature = signature_of(self.combine)
        self.windows = windows_of(flow.transform, bounded=bounded)


class _Touched:
    """Hold a group that a message changes, and the change that did so last."""

    __slots__ = ("change", "group", "span", "values")

    def __init__(self, group: Group, values: tuple[Any, ...], span: Span, change: Change) -> None:
        self.group = group
        self.values = values
        self.span = span
        self.change = change


class AggregateWork:
    """Apply a message's changes, then write the rows of the groups that they touch.

    Args:
        kind: of the aggregate.
        message: to work in.
        shard: state of the groups' shard.
        position: of the rows; rises from message to message.

    Attributes:
        letters: what is refused so far.
        late: how many contributions came late.
    """

    def __init__(
        self, kind: AggregateKind, message: Differences, shard: Shard[GroupEntry], position: tuple[int, int]
    ) -> None:
        self._kind = kind
        self._message = message
        self._shard = shard
        self._position = position
        self._clock, self._sweep = f"clock:{kind.flow.target}", f"sweep:{kind.flow.target}"
        client, source = kind.client, kind.flow.source
        self._caused_by = ChangeBatch(client, source, message.shard, message.topic, message.partition, (), ())
        self._touched: dict[tuple[Any, ...], _Touched] = {}
        # Sinks tell rows apart by the place of their change and this number; shards share the place.
        self._index = message.shard
        self.letters: list[DeadLetter] = []
        self.late = 0

    def flush(self) -> list[MutationBatch]:
        """Return what was written, in order."""
        batches, refused = self._kind.packer.flush(self._caused_by)
        self.letters += refused
        return [msgspec.structs.replace(each, derived=True) for each in batches]

    def apply(self, change: Change) -> None:
        """Add up one change's differences, then move the clock."""
        counters, clock, windows = self._shard.counters, self._clock, self._kind.windows
        if change.clock_us is not None:
            counters[clock] = max(change.clock_us, counters.get(clock, change.clock_us))
        clock_us = counters.get(clock)
        late: Span | None = None
        for times, counted in change.differences:
            closed = None
            values = exact_values.decode(counted.values)
            for span in windows.of(counted.time_us):
                if windows.is_closed(span, clock_us):
                    closed = span
                else:
                    self._add(change, counted.group, values, times, span)
            if closed is not None and times > 0:
                self.late += 1
                late = closed
        if late is not None:
            self._refuse_late(change, late)
        added = [counted.time_us for times, counted in change.differences if times > 0]
        if change.moves_clock and added:
            newest_us = min(max(added), change.source_time_us)
            counters[clock] = newest_us if clock_us is None else max(clock_us, newest_us)

    def write(self) -> None:
        """Make the rows of all groups that were touched, and keep the groups."""
        kind = self._kind
        kind.guard.begin(self._caused_by)
        try:
            self._write_all()
        finally:
            kind.guard.end()

    def _write_all(self) -> None:
        kind = self._kind
        for place, touched in self._touched.items():
            group = touched.group
            try:
                packed = self._packed(touched)
            except RecordError as error:
                self._refuse(touched, error, None)
            except BaseException as error:  # noqa: BLE001  # a client's code may raise anything; it must not stop the job
                self._refuse(touched, *kind.guard.judge(error, touched.change.offset))
            else:
                self._append(touched, packed)
            if group.count or group.written:
                self._shard.update({place: (touched.span.end_us, group.encode())})
            else:
                self._shard.delete(place)

    def sweep(self) -> None:
        """Forget, now and then, groups whose windows are closed; their rows stay as they are."""
        counters, windows = self._shard.counters, self._kind.windows
        clock_us = counters.get(self._clock)
        if clock_us is None:
            return
        if clock_us < counters.setdefault(self._sweep, windows.sweep_after_us(clock_us)):
            return
        counters[self._sweep] = windows.sweep_after_us(clock_us)
        for place in list(self._shard.index):
            if place[0] == self._kind.name and windows.is_closed(Span(*place[2:]), clock_us):
                self._shard.delete(place)

    def _add(self, change: Change, group: bytes, values: Mapping[str, Any], times: int, span: Span) -> None:
        kind = self._kind
        place = (kind.name, group, *span)
        touched = self._touched.get(place)
        if touched is None:
            found = Group(kind.name, kind.combine, kind.signature, self._shard.get(place))
            told_by = tuple(exact_values.decode(group))
            touched = self._touched[place] = _Touched(found, told_by, span, change)
        if times < 0 and touched.group.count == 1 and not touched.group.written:
            # It comes and goes within one message; in another launch its rows may have been written between.
            touched.group.written = self._keys(touched)
        touched.group.add(values, times)
        touched.change = change

    def _keys(self, touched: _Touched) -> dict[tuple[Any, ...], bytes]:
        try:
            return {record.key: b"" for _, _, record in self._packed(touched)}
        except Exception:  # noqa: BLE001  # rows that cannot be made were not written either
            return {}

    def _packed(self, touched: _Touched) -> list[Packed]:
        """Return the rows of a group, checked; raises what refuses them."""
        group, change = touched.group, touched.change
        if group.count <= 0:
            return []
        guard, message = self._kind.guard, self._message
        place = (change.source_time_us, message.topic, message.partition, change.offset)
        if guard.condemned is not None and change.offset in guard.condemned:
            raise guard.condemned[change.offset].error()
        guard.enter(ChangeRecord(change.offset, Operation.UPDATE, (), (), change.source_time_us, None, None))
        try:
            try:
                made = self._kind.aggregate.rows(touched.values, touched.span.window(), group.results())
            except RecordError as error:
                raise ClientRaised from error
            rows = [dict(row) for row in at_most(made, guard.mutations_max, "rows")]
        finally:
            guard.leave()
        target, upsert = self._kind.flow.target, MutationKind.UPSERT
        return [
            self._kind.packer.check(Mutation(target, upsert, {}, row, self._position, *place)) for row in rows
        ]

    def _append(self, touched: _Touched, packed: list[Packed]) -> None:
        group, change, kind = touched.group, touched.change, self._kind
        # What another launch wrote last is not known, so what equals this launch's own is left out alone.
        is_known = kind.generation is not None and group.generation == kind.generation
        written = {record.key: digest_of(record.values) for _, _, record in packed}
        for key in group.written.keys() - written.keys():
            place = (self._position, change.source_time_us, change.offset, self._next_index())
            kind.packer.append(kind.flow.target, (), MutationRecord(MutationKind.DELETE, key, None, *place))
        for target, columns, record in packed:
            if not is_known or group.written.get(record.key) != written[record.key]:
                numbered = msgspec.structs.replace(record, index=self._next_index())
                kind.packer.append(target, columns, numbered)
        group.written, group.generation = written, kind.generation

    def _next_index(self) -> int:
        index = self._index
        self._index += self._kind.shards
        return index

    def _refuse_late(self, change: Change, span: Span) -> None:
        clock_us = self._shard.counters[self._clock]
        lateness_s = self._kind.aggregate.allowed_lateness_s
        said = (
            f"found event time in the window that ended at {instant(span.end_us).isoformat()}, when the "
            f"newest event time seen was {instant(clock_us).isoformat()}; expected it within {lateness_s} s"
        )
        self._add_letter(change, RecordError("late", said), None)

    def _refuse(self, touched: _Touched, error: RecordError, trace: str | None) -> None:
        window = touched.span.window()
        said = "" if window is None else f" - of the window from {window.start.isoformat()}"
        self._add_letter(touched.change, RecordError(error.reason, f"{error.detail}{said}"), trace)

    def _add_letter(self, change: Change, error: RecordError, trace: str | None) -> None:
        kind, message = self._kind, self._message
        self.letters.append(
            DeadLetter(
                client=kind.client,
                entity=kind.flow.target,
                step="transform",
                reason=error.reason,
                detail=error.detail,
                topic=message.topic,
                partition=message.partition,
                offset=change.offset,
                index=self._next_index(),
                key=change.key,
                payload=change.payload,
                transform=kind.flow.name,
                traceback=trace,
                source_time_us=change.source_time_us,
                source_entity=kind.flow.source,
                attempt=message.attempt,
            )
        )
