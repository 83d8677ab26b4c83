"""Keep a shard's state in memory, and only its changes in Beam's state.

Beam's Python state costs about half a millisecond a cell, so a cell for each primary key allows some
thousand records a second. Here one shard's keys share two cells: a value cell with a random nonce, and a bag
with a log of what each batch changed. An instance of a DoFn remembers {shard: (nonce, index)}. Where the
cell's nonce is the remembered one, nothing else has written since and the memory is current; where it is not
(restart, roll-back, another instance, a bundle that was thrown away), the index is rebuilt from the bag.

The nonce is random, never a counter: after a roll-back two histories may reach the same count with different
contents, and then memory of the one would pass for the other.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec

__all__ = ["FOREVER_US", "SHARD_VERSION", "Key", "Shard", "ShardMemory", "shared_memory", "specs"]

Key: TypeAlias = "bytes | tuple[Any, ...]"
EntryType = TypeVar("EntryType", bound="tuple[Any, ...]")

# Event time of entries that no horizon drops. Hand them over by `update`, with a time of its own: `put` would
# take this for the newest event time.
FOREVER_US = 1 << 62

SHARD_VERSION = 1
_VERSION_BYTE = bytes((SHARD_VERSION,))
_NONCE_BYTES = 16
# A frame costs a rebuild about as much as this many entries.
_FRAME_WEIGHT = 16
# Below this a log is not worth compacting.
_SLACK = 4096
_CHUNK_ENTRIES = 10_000

_encode = msgspec.msgpack.Encoder().encode
_SHARED: weakref.WeakValueDictionary[tuple[str, int | None], ShardMemory[Any]] = weakref.WeakValueDictionary()
_SHARED_LOCK = threading.Lock()


class _Cell(Protocol):
    def read(self) -> bytes | None: ...
    def write(self, value: bytes, /) -> None: ...


class _Bag(Protocol):
    def read(self) -> Iterable[bytes]: ...
    def add(self, value: bytes, /) -> None: ...
    def clear(self) -> None: ...


class _Head(msgspec.Struct, array_like=True):
    """Be what the value cell holds; fields may be appended.

    Attributes:
        nonce: of the batch that wrote last.
        frames: how many the bag holds.
        entries: how many those frames hold, deletes counted.
        live: how many the last compaction left.
        newest_us: newest event time seen, or None.
        counters: small named numbers, such as sequence numbers.
    """

    nonce: bytes = b""
    frames: int = 0
    entries: int = 0
    live: int = 0
    newest_us: int | None = None
    counters: dict[str, int] = {}


_head_decoder = msgspec.msgpack.Decoder(_Head)


def specs(name: str) -> tuple[ReadModifyWriteStateSpec, BagStateSpec]:
    """Return the two state specs of a shard's state: the value cell and the log.

    The names are part of every savepoint: renaming one loses the state.

    Args:
        name: of the state, unique in its DoFn.
    """
    return (
        ReadModifyWriteStateSpec(f"{name}_head", BytesCoder()),
        BagStateSpec(f"{name}_log", BytesCoder()),
    )


def _decoded(decoder: msgspec.msgpack.Decoder[Any], frame: bytes) -> Any:
    if not frame or frame[0] != SHARD_VERSION:
        found = frame[0] if frame else "none"
        raise ValueError(
            f"shard state: found version {found}, expected {SHARD_VERSION}: "
            "restore it with the release that wrote it"
        )
    try:
        return decoder.decode(memoryview(frame)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"shard state: found damaged state, expected a frame: {error}") from error


class Shard(Generic[EntryType]):
    """Hold one shard's index while a batch uses it.

    An entry is a tuple whose first element is its event time in microseconds, which the horizon looks at.
    `index` may be read and written directly where a call a record costs too much; what was written that way
    is then handed over by `update`, once a batch. Nothing is kept before `commit`.

    Attributes:
        index: live entries, and entries past the horizon that no compaction has dropped yet.
        counters: named numbers; changed in place.
        newest_us: newest event time seen, or None.
        floor_us: entries older than this are past the horizon and count as absent; None without a horizon.
        derived: what users of the shard make of the index to find entries faster, by names of their own. It
            is remembered with the index and lost with it; who needs it makes it anew. A compaction may drop
            entries that it still knows.
    """

    def __init__(  # the memory is the only one that makes them
        self, memory: ShardMemory[EntryType], key: bytes, cell: _Cell, bag: _Bag
    ) -> None:
        self._memory = memory
        self._key = key
        self._cell = cell
        self._bag = bag
        frame = cell.read()
        self._head = _Head() if frame is None else _decoded(_head_decoder, frame)
        self.index, self.derived = memory.take(key, self._head.nonce, bag)
        self.counters = dict(self._head.counters)
        self.newest_us = self._head.newest_us
        self._puts: dict[Key, EntryType] = {}
        self._deletes: set[Key] = set()
        self._compaction_asked = False

    @property
    def floor_us(self) -> int | None:
        """Return the oldest event time within the horizon, or None where there is no such bound."""
        horizon_us = self._memory.horizon_us
        return None if horizon_us is None or self.newest_us is None else self.newest_us - horizon_us

    def get(self, key: Key) -> EntryType | None:
        """Return a key's entry, or None where it has none within the horizon."""
        entry = self.index.get(key)
        floor_us = self.floor_us
        return None if entry is None or (floor_us is not None and entry[0] < floor_us) else entry

    def put(self, key: Key, entry: EntryType) -> None:
        """Set a key's entry; its first element is its event time in microseconds."""
        self.update({key: entry}, entry[0])

    def update(self, entries: Mapping[Key, EntryType], newest_us: int | None = None) -> None:
        """Set many entries, and take note of the newest event time that the batch saw."""
        self.index.update(entries)
        self._puts.update(entries)
        if self._deletes:
            self._deletes.difference_update(entries)
        if newest_us is not None and (self.newest_us is None or newest_us > self.newest_us):
            self.newest_us = newest_us

    def delete(self, key: Key) -> None:
        """Forget a key; one that is unknown stays so."""
        self._puts.pop(key, None)
        if self.index.pop(key, None) is not None:
            self._deletes.add(key)

    def commit(self) -> None:
        """Write what the batch changed: one frame to the log, and the cell with a fresh nonce.

        A batch that changed nothing writes nothing. To be called once, as the last thing done with the shard.
        """
        head = self._head
        logged = len(self._puts) + len(self._deletes)
        changed = logged or self.newest_us != head.newest_us or self.counters != head.counters
        if changed or self._compaction_asked:
            head.newest_us = self.newest_us
            head.counters = self.counters
            head.nonce = os.urandom(_NONCE_BYTES)
            weight = head.entries + logged + _FRAME_WEIGHT * head.frames
            if self._compaction_asked or weight > 2 * head.live + _SLACK:
                self._compact()
            elif logged:
                self._append(self._puts, list(self._deletes))
            self._cell.write(_VERSION_BYTE + _encode(head))
        self._memory.keep(self._key, head.nonce, self.index, self.derived)

    def compact(self) -> None:
        """Have `commit` rewrite the log as a snapshot, without what lies past the horizon."""
        self._compaction_asked = True

    def _compact(self) -> None:
        floor_us = self.floor_us
        if floor_us is not None:
            self.index = {key: entry for key, entry in self.index.items() if entry[0] >= floor_us}
        self._bag.clear()
        self._head.frames = self._head.entries = 0
        self._head.live = len(self.index)
        items = list(self.index.items())
        for start in range(0, len(items), _CHUNK_ENTRIES):
            self._append(dict(items[start : start + _CHUNK_ENTRIES]), [])

    def _append(self, puts: Mapping[Key, EntryType], deletes: list[Key]) -> None:
        # The frame's number restores their order, which a bag does not promise to keep.
        self._bag.add(_VERSION_BYTE + _encode((self._head.frames, puts, deletes)))
        self._head.frames += 1
        self._head.entries += len(puts) + len(deletes)


class ShardMemory(Generic[EntryType]):
    """Remember the shards' indexes between the batches of a DoFn.

    Delivery guarantees:
        Exactly as durable as Beam's state, because it is rebuilt from that whenever the two may differ.
        While a batch has a shard open, nothing of it is remembered: should the batch fail, the next one
        rebuilds. State is bounded by the keys seen within the horizon, at most twice over plus 4096 log
        entries a shard; memory by the same keys, without the log. With deduplication's entries that is
        50 to 150 bytes of state and 450 bytes of memory a live key (`python -m benchmarks.dedup`).
        It would break if two instances held one shard at the same time, which Beam rules out for state.

    One memory may serve all instances in a process, from several threads: Beam gives a key to one bundle
    at a time, and opening a shard takes it out of the memory.

    Args:
        horizon_us: how long entries are kept, in event time behind the newest one seen; None for ever.
        entry_type: type of the entries, as msgspec decodes it; nested sequences come back as tuples only
            where the type says so.
    """

    def __init__(self, horizon_us: int | None, entry_type: Any = tuple[Any, ...]) -> None:
        self.horizon_us = horizon_us
        self._known: dict[bytes, tuple[bytes, dict[Key, EntryType], dict[str, Any]]] = {}
        key_type = bytes | tuple[Any, ...]
        frame_type = tuple[int, dict[key_type, entry_type], list[key_type]]
        self._decoder = msgspec.msgpack.Decoder(frame_type)

    def open(self, key: bytes, cell: _Cell, bag: _Bag) -> Shard[EntryType]:
        """Return a shard's state, current.

        Args:
            key: the shard's key, as Beam groups by it.
            cell: Beam's value cell of that key, from the first of `specs`.
            bag: Beam's bag of that key, from the second.

        Raises:
            ValueError: if the state is damaged, or of a version that this release does not read.
        """
        return Shard(self, key, cell, bag)

    def take(self, key: bytes, nonce: bytes, bag: _Bag) -> tuple[dict[Key, EntryType], dict[str, Any]]:
        """Hand out a shard's index, and what is derived from it, and forget both until `keep`.

        The index is the one remembered, or rebuilt from its log; with the latter nothing is derived yet.
        """
        remembered = self._known.pop(key, None)
        if remembered is not None and remembered[0] == nonce:
            return remembered[1:]
        index: dict[Key, EntryType] = {}
        frames = [_decoded(self._decoder, frame) for frame in bag.read()]
        for _, puts, deletes in sorted(frames, key=lambda frame: frame[0]):
            index.update(puts)
            for each in deletes:
                index.pop(each, None)
        return index, {}

    def keep(self, key: bytes, nonce: bytes, index: dict[Key, EntryType], derived: dict[str, Any]) -> None:
        """Remember a shard's index and what is derived from it, under the nonce of the batch that made it."""
        self._known[key] = (nonce, index, derived)


def shared_memory(name: str, horizon_us: int | None, entry_type: Any = tuple[Any, ...]) -> ShardMemory[Any]:
    """Return the process's memory of that name, so that a shard may move between instances without a rebuild.

    It lasts as long as someone holds it. Names of different steps must differ, or they would take turns
    in rebuilding; nothing else would go wrong.

    Args:
        name: of the step, the same in every instance.
        horizon_us: as of `ShardMemory`.
        entry_type: as of `ShardMemory`.
    """
    with _SHARED_LOCK:
        memory = _SHARED.get((name, horizon_us))
        if memory is None:
            memory = _SHARED[name, horizon_us] = ShardMemory(horizon_us, entry_type)
        return memory
