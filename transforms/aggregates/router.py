"""Tell, of each change, what its row contributed before and contributes now."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.guard import ClientRaised, RecordGuard
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, Operation
from tillstream.pipelines.sharding import shard_key
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution
from tillstream.transforms.aggregates.messages import (
    Change,
    Counted,
    Difference,
    Differences,
    at_most,
    counted,
    decode_counted,
    encode_counted,
)
from tillstream.transforms.aggregates.windowing import Windows
from tillstream.transforms.flow_runner import EventReader, letter_of
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.lifecycle import naming
from tillstream.transforms.routing import Message
from tillstream.transforms.shard_state import Shard

__all__ = ["TAG", "AggregateRouter", "name_of", "windows_of"]

TAG = "aggregate"
_SECOND_US = 1_000_000


def name_of(flow: Flow) -> str:
    """Return the name that an aggregate's state goes by; a new version goes on with it."""
    assert flow.info is not None  # copies have no state
    return f"{flow.info.unversioned}/{flow.target}"


def windows_of(aggregate: type[Aggregate], *, bounded: bool) -> Windows:
    """Return an aggregate's windows; in a bounded run, which reads in any order, nothing is late."""
    return Windows(aggregate.window, None if bounded else aggregate.allowed_lateness_s * _SECOND_US)


class AggregateRouter:
    """Remember each row's last contributions, and send the differences to the shards of their groups.

    A row is remembered until its windows are closed by the clock of its shard: the newest event time that the
    shard has seen, of changes that are no snapshot reads, and no newer than their commits.

    Args:
        config: the client's.
        flow: of the aggregate.
        bounded: whether the run ends.
    """

    def __init__(self, config: ClientConfig, flow: Flow, *, bounded: bool) -> None:
        assert flow.transform is not None  # copies aggregate nothing
        self._flow = flow
        self._name = name_of(flow)
        self._shards, self._max_parallelism = config.flink.shards, config.flink.max_parallelism
        self._seed = zlib.crc32(self._name.encode())
        self._reader = EventReader(flow)
        assert flow.info is not None
        with naming(flow, "its constructor"):
            self._aggregate: Aggregate = flow.transform()
        self._guard = RecordGuard(config.limits, flow.info.name)
        self._combine = tuple(self._aggregate.combine.values())
        self._windows = windows_of(flow.transform, bounded=bounded)
        self._is_windowed = self._aggregate.window is not None

    def route(
        self, batch: ChangeBatch, state: Shard[StateEntry]
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Return one message for each shard of groups, and a dead letter for each change that is refused."""
        letters: list[DeadLetter] = []
        changes: dict[int, list[Change]] = {}
        guard = self._guard
        guard.begin(batch)
        try:
            for record in batch.records:
                trace = None
                try:
                    found = self._contributions(batch, record)
                except RecordError as error:
                    refused = error
                except BaseException as error:  # noqa: BLE001  # a client's code may raise anything; it must not stop the job
                    refused, trace = guard.judge(error, record.offset)
                else:
                    for shard, change in self._compared(batch, record, found, state):
                        changes.setdefault(shard, []).append(change)
                    continue
                letters.append(letter_of(batch, record, refused, self._flow, trace))
        finally:
            guard.end()
        self._sweep(state)
        return [self._message(batch, shard, each) for shard, each in changes.items()], letters

    def remembered(
        self,
        entity: str,  # noqa: ARG002  (it takes one)
        state: Shard[StateEntry],
    ) -> Iterable[tuple[Any, ...]]:
        """Return the keys of the rows that contribute something."""
        return [place[1:] for place in state.index if isinstance(place, tuple) and place[0] == self._name]

    def truncate(
        self,
        batch: ChangeBatch,  # noqa: ARG002  (as of `Router`)
        state: Shard[StateEntry],  # noqa: ARG002
    ) -> Sequence[Message]:
        """Return nothing: what rows contributed is taken back row by row."""
        return ()

    def _contributions(self, batch: ChangeBatch, record: ChangeRecord) -> tuple[Counted, ...]:
        """Return what a row contributes; raises what refuses the change, before anything is kept of it."""
        if record.after is None:
            return ()
        guard = self._guard
        if guard.condemned is not None and record.offset in guard.condemned:
            raise guard.condemned[record.offset].error()
        event = self._reader.event(batch, record)
        assert event.after is not None  # as record.after
        guard.enter(record)
        try:
            try:
                made = self._aggregate.contributions(event.after, event)
            except RecordError as error:
                raise ClientRaised from error
            found = at_most(made, guard.mutations_max, "contributions")
            return tuple([self._counted(each) for each in found])
        finally:
            guard.leave()

    def _counted(self, contribution: Contribution) -> Counted:
        found = counted(contribution, is_windowed=self._is_windowed)
        for combine in self._combine:
            combine.add(combine.zero(), contribution.values, 1)
        return found

    def _compared(
        self, batch: ChangeBatch, record: ChangeRecord, found: tuple[Counted, ...], state: Shard[StateEntry]
    ) -> Iterator[tuple[int, Change]]:
        """Yield what changes for each shard of groups, and remember what the row contributes now."""
        place = (self._name, *record.key)
        clock = f"clock:{self._flow.target}"
        clock_us = state.counters.get(clock)
        entry = state.get(place)
        if entry is not None and self._windows.are_closed(entry[0], clock_us):
            entry = None  # as if it were swept already
        encoded = encode_counted(found)
        if entry is not None and entry[1] == encoded:
            return
        before = () if entry is None else decode_counted(entry[1])
        if found:
            state.update({place: (max(each.time_us for each in found), encoded)})
        else:
            state.delete(place)
        moves_clock = self._is_windowed and record.operation is not Operation.SNAPSHOT
        if moves_clock and found:
            newest_us = min(max(each.time_us for each in found), record.source_time_us)
            state.counters[clock] = newest_us if clock_us is None else max(clock_us, newest_us)
        shards: dict[int, list[Difference]] = {}
        for times, each in _differences(before, found):
            shard = zlib.crc32(each.group, self._seed) % self._shards
            shards.setdefault(shard, []).append(Difference(times, each))
        key = msgspec.json.encode(dict(zip(batch.key_columns, record.key, strict=True)))
        payload = None
        if self._is_windowed and any(self._windows.may_be_late(each.time_us, clock_us) for each in found):
            payload = letter_of(batch, record, RecordError("late", ""), self._flow).payload
        for shard, differences in shards.items():
            place = (record.offset, record.source_time_us, key, clock_us)
            yield shard, Change(*place, moves_clock, tuple(differences), payload)

    def _sweep(self, state: Shard[StateEntry]) -> None:
        """Forget, now and then, rows whose windows are all closed."""
        clock_us = state.counters.get(f"clock:{self._flow.target}")
        sweep = f"sweep:{self._flow.target}"
        if clock_us is None or clock_us < state.counters.get(sweep, clock_us + 1):
            if clock_us is not None:
                state.counters.setdefault(sweep, self._windows.sweep_after_us(clock_us))
            return
        state.counters[sweep] = self._windows.sweep_after_us(clock_us)
        for place, entry in list(state.index.items()):
            if place[0] == self._name and self._windows.are_closed(entry[0], clock_us):
                state.delete(place)

    def _message(self, batch: ChangeBatch, shard: int, changes: list[Change]) -> Message:
        attempt = 0 if batch.replay is None else batch.replay.attempt
        place = (batch.topic, batch.partition)
        differences = Differences(self._flow.target, shard, *place, tuple(changes), attempt)
        return Message(TAG, shard_key(shard, self._shards, self._max_parallelism), differences.encode())


def _differences(before: tuple[Counted, ...], found: tuple[Counted, ...]) -> Iterator[tuple[int, Counted]]:
    """Yield what is taken back, then what is added; what stays is neither."""
    added = list(found)
    for each in before:
        if each in added:
            added.remove(each)
        else:
            yield -1, each
    for each in added:
        yield 1, each
