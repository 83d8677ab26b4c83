"""Give transforms state of their event's key, on the fast path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.transforms.api import KeyedState
from tillstream.transforms.shard_state import Key, Shard

__all__ = ["StateCell", "StateCells", "StateEntry", "horizon_us"]

# Event time of the last write in microseconds, and the value in MessagePack.
StateEntry: TypeAlias = tuple[int, bytes]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_SECOND_US = 1_000_000


def horizon_us(states: Mapping[str, KeyedState]) -> int | None:
    """Return how long state must be kept for all of these, microseconds; None for ever."""
    horizons = [state.horizon_s for state in states.values()]
    known = [each for each in horizons if each is not None]
    return max(known) * _SECOND_US if known and len(known) == len(horizons) else None


class StateCell:
    """Hold one value of the key at hand, as a parameter of `process`.

    Values are what MessagePack takes: None, bool, int, float, str, bytes, datetime with zone, and lists and
    dicts of these. What `get` returns is a copy: change it, then `set` it.
    """

    def __init__(self, value: Any) -> None:
        self._value = value
        self._changed = False

    def get(self, default: Any = None) -> Any:
        """Return the value, or the default where none is set."""
        return default if self._value is None else self._value

    def set(self, value: Any) -> None:
        """Set the value; kept when `process` has ended without raising."""
        self._value = value
        self._changed = True

    def clear(self) -> None:
        """Forget the value."""
        self.set(None)


class StateCells:
    """Open a transform's cells for one event, and keep what it wrote.

    Delivery guarantees:
        Exactly-once: the cells lie in the checkpoint that holds the read offsets, and a change that an event
        made is kept only when its `process` ended without raising. State and memory are bounded by the keys
        that have a value, within the horizon where one is given; each costs its key, its value and about 60
        bytes, as measured for `ShardMemory`.

    Args:
        transform: name of the transform without its version.
        states: what its `process` asks for.
    """

    def __init__(self, transform: str, states: Mapping[str, KeyedState]) -> None:
        self._states = {
            parameter: (f"{transform}/{state.name}", state) for parameter, state in states.items()
        }

    def open(self, shard: Shard[StateEntry], entity: str, key: tuple[Any, ...]) -> dict[str, StateCell]:
        """Return the cells of one key, by parameter."""
        cells = {}
        for parameter, (name, state) in self._states.items():
            entry = shard.get((name, entity, *key))
            if entry is not None and state.horizon_s is not None:
                floor_us = (shard.newest_us or 0) - state.horizon_s * _SECOND_US
                entry = entry if entry[0] >= floor_us else None
            cells[parameter] = StateCell(None if entry is None else _decode(entry[1]))
        return cells

    def keys(self, shard: Shard[StateEntry], entity: str) -> Iterator[tuple[Any, ...]]:
        """Yield the keys of an entity that have a value."""
        names = {name for name, _ in self._states.values()}
        for place in shard.index:
            if isinstance(place, tuple) and place[0] in names and place[1] == entity:
                yield place[2:]

    def keep(
        self,
        shard: Shard[StateEntry],
        entity: str,
        key: tuple[Any, ...],
        cells: Mapping[str, StateCell],
        time_us: int,
    ) -> None:
        """Write what an event changed.

        Args:
            shard: of the key.
            entity: of the event.
            key: its values.
            cells: from `open`.
            time_us: event time, microseconds since 1970 UTC.

        Raises:
            RecordError: `transform_failed` if a value is none that state can hold; nothing is written then.
        """
        writes: dict[Key, StateEntry] = {}
        deletes: list[Key] = []
        newest_us = max(time_us, shard.newest_us or time_us)
        for parameter, cell in cells.items():
            if not cell._changed:  # noqa: SLF001  (the two classes are one)
                continue
            place = (self._states[parameter][0], entity, *key)
            if cell._value is None:  # noqa: SLF001
                deletes.append(place)
            else:
                writes[place] = (newest_us, _encoded(parameter, cell._value))  # noqa: SLF001
        if writes:
            shard.update(writes, time_us)
        for each in deletes:
            shard.delete(each)


def _encoded(parameter: str, value: Any) -> bytes:
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RecordError(
            "transform_failed", f"state {parameter!r} was set to a value that it cannot hold: {error}"
        ) from error
