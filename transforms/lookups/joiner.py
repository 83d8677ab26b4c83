"""Bring events together with the rows that they ask for, out of a shard's state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, Mutation, MutationBatch
from tillstream.transforms.flow_runner import FlowRunner, letter_of
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.lookups.forms import Form
from tillstream.transforms.lookups.messages import EventChange, JoinFrame, KeyValues, Need, ReferenceRow
from tillstream.transforms.packing import MutationPacker, Packed
from tillstream.transforms.shard_state import FOREVER_US, Shard

__all__ = ["Joined", "Joiner", "VersionPacker"]

# Calls between two outputs: bounds memory where a row has very many readers.
_CALLS_MAX = 5000
_INDEX_MASK = (1 << 31) - 1
# Names in a shard's state and counters.
_EVENT, _ROW = "lookups.event", "lookups.row"
_SEEN, _MADE = "lookups.seen", "lookups.made"
_READERS = "lookups.readers"

_Place: TypeAlias = tuple[Any, ...]
# Version of the subscription and of the row, the row's commit time in microseconds, the row.
_Row: TypeAlias = tuple[int, int, int, bytes | None]
_ROW_FORM: Form[_Row] = Form("row", _Row)


class _Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Be what the state holds of an event; fields may be appended."""

    version: int
    topic: str
    partition: int
    record: ChangeRecord
    needs: tuple[Need, ...]
    attempt: int = 0


_EVENT_FORM: Form[_Event] = Form("event", _Event)


class Joined(NamedTuple):
    """Hold what some calls have made.

    Attributes:
        batches: in order, not numbered yet.
        letters: of events that were refused.
    """

    batches: Sequence[MutationBatch]
    letters: Sequence[DeadLetter]


class VersionPacker(MutationPacker):
    """Number mutations on from call to call, so that versions made of one event can be told apart.

    Attributes:
        base: index of the next call's first mutation; the greater one is the newer one.
    """

    base = 0

    def check(self, mutation: Mutation) -> Packed:
        """Check one mutation, as `MutationPacker` does."""
        index = (self.base + mutation.index) & _INDEX_MASK
        return super().check(msgspec.structs.replace(mutation, index=index))

    def append(self, entity: str, columns: tuple[str, ...], record: Any) -> None:
        """Append a record that is checked already."""
        self.base += 1
        super().append(entity, columns, record)


class Joiner:
    """Call transforms with events and rows.

    An event waits until each of its lookups is answered. It is then given to the transform, and again
    whenever one of the rows changes, until it changes itself. Deletes are given at once, without rows.

    State: for each event its row, and for each key that an event asks for that row, once a shard.

    Args:
        client: whose events they are.
        runners: of the flows, by their targets.
        packer: takes what the runners make.
        readers: read the rows of looked-up entities, by entity.
        keys: names of each entity's key columns.
        ordered: whether messages of one sender come in the order in which it sent them. Then what no event
            asks for can be told from what an event on its way asks for, and is dropped; otherwise it is kept.
    """

    def __init__(
        self,
        client: str,
        runners: Mapping[str, FlowRunner],
        packer: VersionPacker,
        readers: Mapping[str, Callable[[bytes], dict[str, Any]]],
        keys: Mapping[str, tuple[str, ...]],
        *,
        ordered: bool,
    ) -> None:
        self._client = client
        self._runners = runners
        self._packer = packer
        self._row_readers = readers
        self._keys = keys
        self._ordered = ordered

    def take(self, frame: JoinFrame, state: Shard[StateEntry]) -> Iterator[Joined]:
        """Take a frame; yield what its calls make, some thousand at a time. The caller commits the state."""
        self._packer.base = state.counters.get(_MADE, 0)
        letters: list[DeadLetter] = []
        for change in frame.changes:
            letters += self._change(change, frame, state)
        if frame.changes:
            yield self._flush(frame.shard, frame.topic, frame.partition, letters)
        readers = self._readers(state)
        affected: dict[_Place, None] = {}
        for row in frame.rows:
            if self._keep(row, state):
                affected.update(readers.get((_ROW, row.entity, *row.key), {}))
        places = iter(affected)
        while chunk := [*islice(places, _CALLS_MAX)]:
            yield from self._again(chunk, frame.shard, state)
        state.counters[_MADE] = self._packer.base

    def _change(
        self, change: EventChange, frame: JoinFrame, state: Shard[StateEntry]
    ) -> Iterable[DeadLetter]:
        place = (_EVENT, change.target, *change.record.key)
        known = state.index.get(place)
        old = None if known is None else _EVENT_FORM.decode(known[1])
        if self._ordered:
            if change.version <= state.counters.get(_SEEN, 0):
                return ()  # a repeat
            state.counters[_SEEN] = change.version
        elif old is not None and old.version >= change.version:
            return ()
        event = _Event(
            change.version, frame.topic, frame.partition, change.record, change.needs, change.attempt
        )
        is_gone = change.record.after is None
        if is_gone and self._ordered:
            state.delete(place)
        else:
            state.update({place: (FOREVER_US, _EVENT_FORM.encode(event))})
        self._read(place, () if old is None else old.needs, change.needs, state)
        if change.forget or change.target not in self._runners:
            return ()
        letter = self._call(change.target, event, frame.shard, state)
        return () if letter is None else (letter,)

    def _read(
        self, place: _Place, old: Sequence[Need], new: Sequence[Need], state: Shard[StateEntry]
    ) -> None:
        """Note which rows an event reads, and drop those that none reads any longer."""
        readers = self._readers(state)
        wanted = _rows(new)
        for row in wanted:
            readers.setdefault(row, {})[place] = None
        for row in _rows(old):
            left = readers.get(row)
            if row in wanted or left is None:
                continue
            left.pop(place, None)
            if left:
                continue
            del readers[row]
            known = state.index.get(row)
            # A row of a later subscription is for an event that is on its way.
            if self._ordered and known is not None and _ROW_FORM.decode(known[1])[0] <= state.counters[_SEEN]:
                state.delete(row)

    def _readers(self, state: Shard[StateEntry]) -> dict[_Place, dict[_Place, None]]:
        """Return which events read each row."""
        found: dict[_Place, dict[_Place, None]] | None = state.derived.get(_READERS)
        if found is None:
            found = state.derived[_READERS] = {}
            for place, entry in state.index.items():
                if isinstance(place, tuple) and place[0] == _EVENT:
                    for row in _rows(_EVENT_FORM.decode(entry[1]).needs):
                        found.setdefault(row, {})[place] = None
        return found

    def _keep(self, row: ReferenceRow, state: Shard[StateEntry]) -> bool:
        """Keep a row if it is newer than the known one and somebody reads it, or will."""
        place = (_ROW, row.entity, *row.key)
        if self._ordered and place not in self._readers(state) and row.since <= state.counters.get(_SEEN, 0):
            return False
        known = state.index.get(place)
        if known is not None and _ROW_FORM.decode(known[1])[:2] >= (row.since, row.version):
            return False
        value = _ROW_FORM.encode((row.since, row.version, row.time_us, row.row))
        state.update({place: (FOREVER_US, value)})
        return True

    def _again(self, places: Sequence[_Place], shard: int, state: Shard[StateEntry]) -> Iterator[Joined]:
        """Call with events whose rows have changed; one batch for each partition that they came from."""
        groups: dict[tuple[str, int], list[tuple[str, _Event]]] = {}
        for place in places:
            entry = state.index.get(place)
            if entry is not None and place[1] in self._runners:
                event = _EVENT_FORM.decode(entry[1])
                groups.setdefault((event.topic, event.partition), []).append((place[1], event))
        for (topic, partition), events in groups.items():
            letters = [self._call(target, event, shard, state) for target, event in events]
            yield self._flush(shard, topic, partition, [each for each in letters if each is not None])

    def _call(self, target: str, event: _Event, shard: int, state: Shard[StateEntry]) -> DeadLetter | None:
        """Give an event to its transform, if all that it asks for is known."""
        runner, record = self._runners[target], event.record
        lookups = runner.flow.parameters.lookups
        arguments: dict[str, Any] = dict.fromkeys(lookups)
        source = runner.flow.source
        batch = ChangeBatch(self._client, source, shard, event.topic, event.partition, self._keys[source], ())
        time_us = record.source_time_us
        if record.after is not None:
            needs = {each.parameter: each for each in event.needs}
            for name, lookup in lookups.items():
                need = needs.get(name)
                if need is None or need.entity != lookup.entity:
                    return None  # another version of the transform asked
                if need.key is None:
                    continue
                found = self._row(lookup.entity, need.key, need.since, state)
                if found is None:
                    return None
                time_us = max(time_us, found[0])
                try:
                    row = found[1]
                    arguments[name] = None if row is None else self._row_readers[lookup.entity](row)
                except RecordError as error:
                    return _of_attempt(letter_of(batch, record, error, runner.flow), event)
        # What is made of them is as new as the newest of them.
        record = msgspec.structs.replace(record, source_time_us=time_us)
        return _of_attempt(runner.apply(batch, record, state, arguments), event)

    def _row(
        self, entity: str, key: KeyValues, since: int, state: Shard[StateEntry]
    ) -> tuple[int, bytes | None] | None:
        entry = state.index.get((_ROW, entity, *key))
        if entry is None:
            return None
        known_since, _, time_us, row = _ROW_FORM.decode(entry[1])
        return None if known_since < since else (time_us, row)

    def _flush(self, shard: int, topic: str, partition: int, letters: Sequence[DeadLetter]) -> Joined:
        batch = ChangeBatch(self._client, "", shard, topic, partition, (), ())
        made, refused = self._packer.flush(batch)
        return Joined([msgspec.structs.replace(each, derived=True) for each in made], [*letters, *refused])


def _of_attempt(letter: DeadLetter | None, event: _Event) -> DeadLetter | None:
    if letter is None or not event.attempt:
        return letter
    return msgspec.structs.replace(letter, attempt=event.attempt)


def _rows(needs: Sequence[Need]) -> list[_Place]:
    """Return where the rows lie that an event asks for."""
    return [(_ROW, each.entity, *each.key) for each in needs if each.key is not None]
