"""Count equal rows of tables without a key, so that each has a number of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation, Position
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.shard_state import FOREVER_US, Key, Shard
from tillstream.transforms.truncates import is_before

__all__ = ["CopyBook", "with_key_columns"]

_VERSION = 1
_PLACE = "keyless.copies"
# Bounds what is known of a row's latest changes, for snapshots and truncates that come behind them.
_RECENT_MAX = 16
_replace = msgspec.structs.replace


class _Copies(msgspec.Struct, array_like=True):
    """Hold what a shard knows of the rows that are equal; fields may be appended.

    Attributes:
        count: how many there are; below zero where deletes came before what they delete.
        gone: how many numbers a truncate has used up: those that are there begin behind it.
        snapshot: position of the snapshot that read some of them last.
        read: how many it has read.
        recent: newest changes of the stream: position, and 1 for one more or -1 for one less.
        version: of this form.
    """

    count: int = 0
    gone: int = 0
    snapshot: Position = ()
    read: int = 0
    recent: list[tuple[Position, int]] = []
    version: int = _VERSION

    def ahead_of(self, position: Position) -> int:
        """Return how many more there are by changes that are newer than a snapshot or truncate."""
        return sum(by for each, by in self.recent if each and not is_before(each, position))

    def read_since(self, position: Position) -> bool:
        """Tell whether a snapshot has read some that is no older than a position."""
        return bool(self.snapshot) and not is_before(self.snapshot, position)

    def left_by(self, position: Position) -> int:
        """Return how many there are without those that are older than a position."""
        if self.read_since(position):
            return self.read + self.ahead_of(self.snapshot)
        return self.ahead_of(position)

    def note(self, position: Position, by: int) -> None:
        """Count a change of the stream."""
        self.count += by
        self.recent = [*self.recent, (position, by)][-_RECENT_MAX:]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Copies).decode


class CopyBook:
    """Number the copies of each row of the entities whose rows are told by all their values.

    A row that comes gets the number behind the last one; a row that goes takes the last one with it, since
    equal rows are one as good as another. A delete that comes before its row, because both were read from
    partitions that go on at their own pace, leaves a debt that the row pays when it comes.

    A snapshot's reads are counted: only what it has beyond the rows that were known at its position is new.
    A truncate leaves what came after its position.

    Delivery guarantees:
        Exactly-once: the counts lie in the checkpoint that holds the read offsets, behind deduplication.
        State and memory: some 150 bytes of state and 500 of memory for each distinct row, for as long as it
        is there. Snapshots and truncates are exact as long as at most 16 later changes of equal rows come
        before them from other partitions. A snapshot with fewer copies than are known takes none away.

    Args:
        config: the client's.

    Attributes:
        entities: those whose rows it numbers.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.entities = frozenset(
            name for name, entity in config.entities.items() if entity.keyless == "full_row"
        )

    def apply(
        self, batch: ChangeBatch, state: Shard[StateEntry], passed: Position = ()
    ) -> tuple[ChangeBatch, list[tuple[Any, ...]]]:
        """Return the changes that rows make, and the keys of those that a truncate deletes.

        Args:
            batch: of one of the entities, without repeats.
            state: the shard's state; changed.
            passed: from which position on snapshot reads pass though their rows are known; else ().
        """
        if batch.records[0].operation is Operation.TRUNCATE:
            return batch, self.truncate(batch, state)
        return self.number(batch, state, passed), []

    def number(self, batch: ChangeBatch, state: Shard[StateEntry], passed: Position = ()) -> ChangeBatch:
        """Return the changes that rows make, each with its row's number in place of its event.

        Args:
            batch: of one of the entities, without repeats; no truncate.
            state: the shard's state; changed.
            passed: as of `apply`.
        """
        known: dict[Key, _Copies] = {}
        made = []
        for record in batch.records:
            place = (_PLACE, batch.entity, record.key[0])
            copies = known.get(place)
            if copies is None:
                copies = known[place] = _read(state, place)
            number = _count(copies, record, passed)
            if number:
                made.append(_replace(record, key=(record.key[0], copies.gone + number)))
        _keep(state, known)
        return _replace(batch, records=tuple(made))

    def truncate(self, batch: ChangeBatch, state: Shard[StateEntry]) -> list[tuple[Any, ...]]:
        """Forget the rows that a truncate deletes; return their keys, in an order that is always the same."""
        position = batch.records[0].position
        known: dict[Key, _Copies] = {}
        keys: list[tuple[Any, ...]] = []
        for place in [each for each in state.index if each[:2] == (_PLACE, batch.entity)]:
            copies = known[place] = _read(state, place)
            # Of what has no position nobody knows whether it came before.
            left = copies.left_by(position) if position else 0
            swept = max(max(copies.count, 0) - max(left, 0), 0)
            # A sweep behind a snapshot leaves those that were read, which begin with the first.
            first = 1 if not copies.read_since(position) else left + 1
            keys += [(place[2], copies.gone + number) for number in range(first, first + swept)]
            copies.gone += swept if first == 1 else 0
            copies.count = left
            copies.recent = [each for each in copies.recent if not is_before(each[0], position)]
        _keep(state, known)
        return sorted(keys)


def with_key_columns(batch: ChangeBatch) -> ChangeBatch:
    """Return changes whose rows begin with the columns of their key, as contracts and sinks want them."""
    start = b'{"%b":' % b'":%b,"'.join(name.encode() for name in batch.key_columns)
    return _replace(batch, records=tuple([_with_key(start, each) for each in batch.records]))


def _with_key(start: bytes, record: ChangeRecord) -> ChangeRecord:
    row = record.after
    if row is None or not row.startswith(b"{"):
        return record
    head = b"".join(_parts(start, record.key))
    rest = row[1:].lstrip()
    return _replace(record, after=head + (rest if rest.startswith(b"}") else b"," + rest))


def _parts(start: bytes, key: Iterable[Any]) -> Iterable[bytes]:
    for name, value in zip(start.split(b"%b"), key, strict=True):
        yield name
        yield msgspec.json.encode(value)


def _count(copies: _Copies, record: ChangeRecord, passed: Position) -> int:
    """Count a change; return the number of the copy that comes or goes, 0 where none does."""
    position = record.position
    if record.operation is Operation.DELETE:
        number = copies.count
        copies.note(position, -1)
        return max(number, 0)
    if record.operation is Operation.SNAPSHOT:
        if copies.snapshot != position or not position:
            copies.snapshot, copies.read = position, 0
        copies.read += 1
        if copies.read <= copies.count - copies.ahead_of(position):
            return copies.read if passed and position >= passed else 0
        copies.count += 1
    else:
        copies.note(position, 1)
    return max(copies.count, 0)


def _read(state: Shard[StateEntry], place: Key) -> _Copies:
    entry = state.index.get(place)
    if entry is None:
        return _Copies()
    found = _decode(entry[1])
    if found.version != _VERSION:
        raise ValueError(
            f"copies: found version {found.version}, expected {_VERSION}: "
            "restore it with the release that wrote it"
        )
    return found


def _keep(state: Shard[StateEntry], known: dict[Key, _Copies]) -> None:
    state.update({place: (FOREVER_US, _encode(each)) for place, each in known.items() if each.count})
    for place, each in known.items():
        if not each.count:
            state.delete(place)
