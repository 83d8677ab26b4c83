"""Keep later changes of a key back while an earlier one of it waits for a person (`on_error: hold_key`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.shard_state import Key, Shard, ShardMemory, shared_memory

__all__ = ["HoldBook", "Holds", "Sieve"]

# Counters of the shard's first state: of all held keys, with its name those of each entity, and of replays
# that are too early. The numbers of batches lie beside them, under names of entities, which hold no colon.
_HELD = "held:"
_PARKED = "parked:"
_VERSION_BYTE = bytes((1,))
_MARK, _EVENT, _REPLAY = "k", "e", "r"


class _Mark(msgspec.Struct, array_like=True):
    """Say that a key is held; fields may be appended.

    Attributes:
        letter: identity of the dead letter that it waits for.
        first: number of the oldest change kept back.
        end: number that the next one gets.
    """

    letter: str
    first: int = 0
    end: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Mark).decode


def _decoded(entry: StateEntry) -> _Mark:
    frame = entry[1]
    if frame[:1] != _VERSION_BYTE:
        raise ValueError(
            f"held key: found version {frame[:1]!r}, expected {_VERSION_BYTE!r}: "
            "restore it with the release that wrote it"
        )
    return _decode(frame[1:])


class Holds:
    """Know the held keys of one shard while a batch uses it.

    Args:
        limits: how many changes of a key each entity keeps back; only entities that hold keys.
        counters: of the shard's first state, where it says whether there is anything to open.
        open_state: opens the state of held keys.
    """

    def __init__(
        self,
        limits: Mapping[str, int],
        counters: dict[str, int],
        open_state: Callable[[], Shard[StateEntry]],
    ) -> None:
        self.limits = limits
        self._counters = counters
        self._open = open_state
        self._opened: Shard[StateEntry] | None = None

    def any_of(self, entity: str) -> bool:
        """Tell whether the shard holds any key of an entity; opens nothing."""
        return self._counters.get(_HELD + entity, 0) > 0

    def is_held(self, entity: str, key: tuple[Any, ...]) -> bool:
        """Tell whether a key is held, in a shard that holds some of its entity."""
        return (_MARK, entity, *key) in self._state.index

    def letter_of(self, entity: str, key: tuple[Any, ...]) -> str | None:
        """Return the identity of the letter that a key waits for; None where it is not held."""
        if not self.any_of(entity):
            return None
        found = self._state.get((_MARK, entity, *key))
        return None if found is None else _decoded(found).letter

    def hold(self, entity: str, key: tuple[Any, ...], letter: str, time_us: int) -> None:
        """Hold a key until its letter is solved; one that is held already goes on waiting for the same."""
        place = (_MARK, entity, *key)
        if self._state.get(place) is not None:
            return
        self._count(entity, 1)
        self._state.put(place, (time_us, _VERSION_BYTE + _encode(_Mark(letter))))

    def keep_back(self, entity: str, batch: ChangeBatch) -> bool:
        """Keep the one change of a batch behind those of its key that wait; False where there is no room."""
        (record,) = batch.records
        place = (_MARK, entity, *record.key)
        found = self._state.get(place)
        assert found is not None  # the caller has asked
        mark = _decoded(found)
        if mark.end - mark.first >= self.limits.get(entity, 0):
            return False
        event = (_EVENT, entity, mark.end, *record.key)
        mark.end += 1
        time_us = record.source_time_us
        self._state.update(
            {
                place: (time_us, _VERSION_BYTE + _encode(mark)),
                event: (time_us, batch.encode()),
            }
        )
        return True

    def take(self, entity: str, key: tuple[Any, ...]) -> list[ChangeBatch]:
        """Let a key go; return what was kept back, in order, each change as a batch."""
        place = (_MARK, entity, *key)
        found = self._state.get(place)
        if found is None:
            return []
        mark = _decoded(found)
        self._state.delete(place)
        self._count(entity, -1)
        batches = []
        for number in range(mark.first, mark.end):
            event = (_EVENT, entity, number, *key)
            kept = self._state.get(event)
            assert kept is not None  # written with the mark
            batches.append(ChangeBatch.decode(kept[1]))
            self._state.delete(event)
        return batches

    def park(self, batch: ChangeBatch) -> None:
        """Keep a replay until its change has been read for the first time."""
        (record,), replay = batch.records, batch.replay
        assert replay is not None  # what this is for
        place = (_REPLAY, batch.topic, batch.partition, record.offset, replay.letter, replay.attempt)
        if place not in self._state.index:
            self._counters[_PARKED] = self._counters.get(_PARKED, 0) + 1
            self._state.put(place, (record.source_time_us, batch.encode()))

    def due(self, topic: str, partition: int, offset: int) -> list[ChangeBatch]:
        """Take out the replays of changes up to an offset, in the order in which they were asked for."""
        if not self._counters.get(_PARKED):
            return []
        places = sorted(
            (place[5], place[3], place)
            for place in self._state.index
            if place[0] == _REPLAY and place[1:3] == (topic, partition) and place[3] <= offset
        )
        frames = [self._state.index[place][1] for _, _, place in places]
        for _, _, place in places:
            self._state.delete(place)
        self._counters[_PARKED] -= len(places)
        return [ChangeBatch.decode(frame) for frame in frames]

    def keys(self, entity: str) -> list[tuple[Any, ...]]:
        """Return an entity's held keys."""
        if not self.any_of(entity):
            return []
        return [_key(place) for place in self._state.index if place[0] == _MARK and place[1] == entity]

    def commit(self) -> None:
        """Write what the batch changed."""
        if self._opened is not None:
            self._opened.commit()

    def _count(self, entity: str, change: int) -> None:
        for name in (_HELD, _HELD + entity):
            self._counters[name] = self._counters.get(name, 0) + change

    @property
    def _state(self) -> Shard[StateEntry]:
        if self._opened is None:
            self._opened = self._open()
        return self._opened


class Sieve:
    """Part the changes of held keys from the others while one flow takes a batch.

    Args:
        holds: the shard's.
        entity: the flow's target.
        batch: that the flow takes.
        is_solved: tells of a letter whether a person solved it before; then its change holds no key.

    Attributes:
        active: whether any key of the entity is held.
        full: changes that a held key had no room for.
    """

    def __init__(
        self, holds: Holds, entity: str, batch: ChangeBatch, is_solved: Callable[[DeadLetter], bool]
    ) -> None:
        self._holds = holds
        self._entity = entity
        self._batch = batch
        self._is_solved = is_solved
        self._kept_back = Metrics.counter("tillstream", "events_held")
        self.active = holds.any_of(entity)
        self.full: list[ChangeRecord] = []

    def keeps_back(self, record: ChangeRecord) -> bool:
        """Keep a change back where its key is held; False where the flow is to take it."""
        if not self.active or not self._holds.is_held(self._entity, record.key):
            return False
        if self._holds.keep_back(self._entity, msgspec.structs.replace(self._batch, records=(record,))):
            self._kept_back.inc()
        else:
            self.full.append(record)
        return True

    def refused(self, record: ChangeRecord, letter: DeadLetter) -> bool:
        """Hold the key of a change that the flow refuses; False where its letter is solved already."""
        if self._is_solved(letter):
            return False
        self._holds.hold(self._entity, record.key, letter_id(letter), record.source_time_us)
        self.active = True
        return True


def _key(place: Key) -> tuple[Any, ...]:
    return tuple(place[2:])


class HoldBook:
    """Open the held keys of each shard, where there may be any.

    Delivery guarantees:
        Exactly-once: what is kept back lies in the checkpoint that holds the read offsets, without a
        horizon, so that it survives restarts and savepoints. State and memory are bounded by
        `hold_events_max` changes a held key; keys that fail are not bounded. A batch of a shard without a
        held key opens nothing.

    Args:
        config: the client's.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._limits = {
            name: entity.hold_events_max
            for name, entity in config.entities.items()
            if entity.on_error == "hold_key"
        }
        self._memory: ShardMemory[StateEntry] = shared_memory(f"{config.client}/held", None, StateEntry)

    def open(
        self, shard_key: bytes, counters: dict[str, int], cell: Any, bag: Any, *, replays: bool = False
    ) -> Holds | None:
        """Return a shard's held keys; None where no entity holds any, and none did before.

        Args:
            shard_key: as Beam groups by it.
            counters: of the shard's first state.
            cell: Beam's value cell of the state of held keys.
            bag: its bag.
            replays: whether a replay is at hand, which may have to be parked.
        """
        if not replays and not self._limits and not counters.get(_HELD) and not counters.get(_PARKED):
            return None
        return Holds(self._limits, counters, lambda: self._memory.open(shard_key, cell, bag))
