"""Send events to where they are joined, and looked-up rows and subscriptions to where they meet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, Operation
from tillstream.pipelines.sharding import shard_key, shard_of
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.contracts.unavailable import ANYTHING, Unavailable
from tillstream.transforms.flow_runner import letter_of
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.lookups.forms import Form
from tillstream.transforms.lookups.keys import LookupKeys
from tillstream.transforms.lookups.messages import (
    EventChange,
    JoinFrame,
    KeyValues,
    Need,
    ReferenceChange,
    ResolveFrame,
    Subscription,
)
from tillstream.transforms.lookups.rows import unavailable_in
from tillstream.transforms.routing import Message
from tillstream.transforms.shard_state import FOREVER_US, Shard

__all__ = ["EVENTS", "REFERENCES", "EventRouter", "ReferenceRouter", "horizon_us"]

EVENTS = "lookup_events"
REFERENCES = "lookup_references"

_SECOND_US = 1_000_000
# Names in a shard's state and counters; the first element of keys there.
_VERSION = "lookups"
_EVENT, _COUNT = "lookups.event", "lookups.count"
_Asked: TypeAlias = tuple[tuple[str, KeyValues], ...]
# When the event was last seen, in microseconds of its shard's event time, and the rows that it asks for.
_EVENT_FORM: Form[tuple[int, _Asked]] = Form("event", tuple[int, tuple[tuple[str, tuple[Any, ...]], ...]])
# How many events of the shard ask for a key, and since which version.
_COUNT_FORM: Form[tuple[int, int]] = Form("count", tuple[int, int])


def horizon_us(flow: Flow) -> int | None:
    """Return how long a flow's events are made anew: as long as the longest of its lookups; None for ever."""
    horizons = [each.horizon_s for each in flow.parameters.lookups.values()]
    known = [each for each in horizons if each is not None]
    return max(known) * _SECOND_US if len(known) == len(horizons) else None


class ReferenceRouter:
    """Send the new rows of an entity that others look up to where its subscribers are known.

    A row that breaks its contract becomes a dead letter, and the one before it stays.

    Args:
        config: the client's.
        entity: the looked-up one.
        check: reads a row as transforms will get it; raises RecordError where it cannot.
    """

    def __init__(self, config: ClientConfig, entity: str, check: Callable[[bytes], Any]) -> None:
        self._flink = config.flink
        self._check = check
        self._unavailable = unavailable_in(config, entity)
        self._flow = Flow(entity, entity, "copy")

    def route(
        self, batch: ChangeBatch, state: Shard[StateEntry]
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Return one message for the batch."""
        letters: list[DeadLetter] = []
        changes: list[ReferenceChange] = []
        version = state.counters.get(_VERSION, 0)
        for record in batch.records:
            try:
                row = self._unavailable.known(record)
                if row is not None:
                    self._check(row)
            except RecordError as error:
                letters.append(letter_of(batch, record, error, self._flow))
                continue
            version += 1
            changes.append(ReferenceChange(batch.entity, record.key, version, record.source_time_us, row))
        if not changes:
            return (), letters
        state.counters[_VERSION] = version
        key = shard_key(batch.shard, self._flink.shards, self._flink.max_parallelism)
        return [Message(REFERENCES, key, ResolveFrame(tuple(changes)).encode())], letters

    def remembered(
        self,
        entity: str,  # noqa: ARG002  (as of `Router`)
        state: Shard[StateEntry],  # noqa: ARG002
    ) -> Sequence[tuple[Any, ...]]:
        """Return nothing: the rows are kept in a later stage, which `truncate` tells."""
        return ()

    def truncate(self, batch: ChangeBatch, state: Shard[StateEntry]) -> Sequence[Message]:
        """Return the message that all older rows are gone."""
        (record,) = batch.records
        version = state.counters[_VERSION] = state.counters.get(_VERSION, 0) + 1
        change = ReferenceChange(batch.entity, (), version, record.source_time_us, None)
        key = shard_key(batch.shard, self._flink.shards, self._flink.max_parallelism)
        return [Message(REFERENCES, key, ResolveFrame((change,)).encode())]


class EventRouter:
    """Send a flow's events to where they are joined, and tell which rows their shard wants.

    State: for each event its key and the keys that it asks for, and for each of those how many events do.

    Args:
        config: the client's.
        flow: of the kind lookup.
    """

    def __init__(self, config: ClientConfig, flow: Flow) -> None:
        self._flink = config.flink
        self._flow = flow
        self._horizon_us = horizon_us(flow)
        self._lookups = [(name, each.entity) for name, each in flow.parameters.lookups.items()]
        self._keys = LookupKeys(flow.parameters.lookups, config.entities)
        self._unavailable = _unavailable_in(flow)

    def route(
        self, batch: ChangeBatch, state: Shard[StateEntry]
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Return the events in one message, and what their shard wants anew or no more in others."""
        letters: list[DeadLetter] = []
        moves = _Moves(state, batch.shard)
        changes: list[EventChange] = []
        times = [record.source_time_us for record in batch.records]
        now_us = max([*times, state.newest_us or 0])
        for record in batch.records:
            try:
                whole = self._unavailable.whole(record)
                keys = self._asked(whole)
            except RecordError as error:
                letters.append(letter_of(batch, record, error, self._flow))
                continue
            moves.version += 1
            self._move(moves, record.key, keys, now_us)
            needs = () if keys is None else self._needs(moves, keys)
            kept = whole if keys is None else msgspec.structs.replace(whole, before=None)
            attempt = 0 if batch.replay is None else batch.replay.attempt
            changes.append(EventChange(self._flow.target, moves.version, kept, needs, attempt=attempt))
        if self._horizon_us is not None:
            changes += self._expired(moves, now_us - self._horizon_us)
            state.update({}, now_us)
        state.counters[_VERSION] = moves.version
        return [*self._messages(batch, changes, moves.subscriptions)], letters

    def remembered(
        self,
        entity: str,  # noqa: ARG002  (it takes one)
        state: Shard[StateEntry],
    ) -> Iterable[tuple[Any, ...]]:
        """Return the keys of the flow's events."""
        own = (_EVENT, self._flow.target)
        return [place[2:] for place in state.index if isinstance(place, tuple) and place[:2] == own]

    def truncate(
        self,
        batch: ChangeBatch,  # noqa: ARG002  (as of `Router`)
        state: Shard[StateEntry],  # noqa: ARG002
    ) -> Sequence[Message]:
        """Return nothing: all events are known by their keys."""
        return ()

    def _asked(self, record: ChangeRecord) -> tuple[KeyValues | None, ...] | None:
        if record.after is None:
            return None
        return self._keys.read(record.after)

    def _move(
        self, moves: _Moves, key: KeyValues, keys: tuple[KeyValues | None, ...] | None, now_us: int
    ) -> None:
        """Note what an event asks for now; None where it is gone."""
        place = (_EVENT, self._flow.target, *key)
        known = moves.state.index.get(place)
        old: _Asked = () if known is None else _EVENT_FORM.decode(known[1])[1]
        new: _Asked = ()
        if keys is not None:
            new = tuple(
                [
                    (entity, each)
                    for (_, entity), each in zip(self._lookups, keys, strict=True)
                    if each is not None
                ]
            )
        if old != new:
            # First come, then go: what both ask for is never unsubscribed in between.
            for each in new:
                moves.add(*each)
            for each in old:
                moves.remove(*each)
        if keys is None:
            moves.state.delete(place)
        elif old != new or known is None or self._horizon_us is not None:
            moves.state.update({place: (FOREVER_US, _EVENT_FORM.encode((now_us, new)))})
        seen = self._seen(moves.state)
        if seen is not None:
            seen.pop(place, None)
            if keys is not None:
                seen[place] = now_us

    def _needs(self, moves: _Moves, keys: tuple[KeyValues | None, ...]) -> tuple[Need, ...]:
        return tuple(
            [
                Need(name, entity, key, 0 if key is None else moves.since(entity, key))
                for (name, entity), key in zip(self._lookups, keys, strict=True)
            ]
        )

    def _expired(self, moves: _Moves, floor_us: int) -> list[EventChange]:
        """Give up events that were last seen before then."""
        seen = self._seen(moves.state)
        assert seen is not None  # there is a horizon
        gone = []
        for place, time_us in seen.items():
            if time_us >= floor_us:
                break
            gone.append(place)
        changes = []
        for place in gone:
            key = place[2:]
            moves.version += 1
            self._move(moves, key, None, 0)
            record = ChangeRecord(0, Operation.DELETE, key, (), 0, None, None)
            changes.append(EventChange(self._flow.target, moves.version, record, (), forget=True))
        return changes

    def _seen(self, state: Shard[StateEntry]) -> dict[tuple[Any, ...], int] | None:
        """Return the flow's events in the order in which they were last seen; None without a horizon."""
        if self._horizon_us is None:
            return None
        name = f"{_EVENT}/{self._flow.target}"
        found: dict[tuple[Any, ...], int] | None = state.derived.get(name)
        if found is None:
            times = {
                place: _EVENT_FORM.decode(entry[1])[0]
                for place, entry in state.index.items()
                if isinstance(place, tuple) and place[:2] == (_EVENT, self._flow.target)
            }
            found = state.derived[name] = dict(sorted(times.items(), key=lambda item: item[1]))
        return found

    def _messages(
        self, batch: ChangeBatch, changes: Sequence[EventChange], subscriptions: Sequence[Subscription]
    ) -> list[Message]:
        shards, groups = self._flink.shards, self._flink.max_parallelism
        wanted: dict[int, list[Subscription]] = {}
        for each in subscriptions:
            wanted.setdefault(shard_of(each.entity, each.key, shards), []).append(each)
        messages = [
            Message(REFERENCES, shard_key(shard, shards, groups), ResolveFrame((), tuple(found)).encode())
            for shard, found in wanted.items()
        ]
        if changes:
            frame = JoinFrame(batch.shard, batch.topic, batch.partition, tuple(changes))
            messages.append(Message(EVENTS, shard_key(batch.shard, shards, groups), frame.encode()))
        return messages


class _Moves:
    """Count who asks for what in a shard, and gather what the count begins and ends."""

    def __init__(self, state: Shard[StateEntry], shard: int) -> None:
        self.state = state
        self.version = state.counters.get(_VERSION, 0)
        self.subscriptions: list[Subscription] = []
        self._shard = shard

    def since(self, entity: str, key: KeyValues) -> int:
        """Return the version since which the shard is subscribed to a key that it asks for."""
        place = (_COUNT, entity, *key)
        return _COUNT_FORM.decode(self.state.index[place][1])[1]

    def add(self, entity: str, key: KeyValues) -> None:
        place = (_COUNT, entity, *key)
        known = self.state.index.get(place)
        count, since = (0, self.version) if known is None else _COUNT_FORM.decode(known[1])
        self.state.update({place: (FOREVER_US, _COUNT_FORM.encode((count + 1, since)))})
        if known is None:
            self.subscriptions.append(Subscription(entity, key, self._shard, self.version, wanted=True))

    def remove(self, entity: str, key: KeyValues) -> None:
        place = (_COUNT, entity, *key)
        known = self.state.index.get(place)
        if known is None:
            return
        count, since = _COUNT_FORM.decode(known[1])
        if count > 1:
            self.state.update({place: (FOREVER_US, _COUNT_FORM.encode((count - 1, since)))})
            return
        self.state.delete(place)
        self.subscriptions.append(Subscription(entity, key, self._shard, self.version, wanted=False))


def _unavailable_in(flow: Flow) -> Unavailable:
    """Return what settles the columns that an event must have: those of the input contract, and its keys."""
    if flow.info is None or flow.info.input is None:
        return ANYTHING
    keys = dict.fromkeys([name for each in flow.parameters.lookups.values() for name in each.columns], "")
    return Unavailable({**keys, **{column.name: column.kind for column in columns_of_model(flow.info.input)}})
