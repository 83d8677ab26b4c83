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

__all__ = ["COPIES_VERSION", "CopyBook", "with_key_columns"]

COPIES_VERSION = 1
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
        added: how many of those that the snapshot has read were not known by then.
    """

    count: int = 0
    gone: int = 0
    snapshot: Position = ()
    read: int = 0
    recent: list[tuple[Position, int]] = []
    version: int = COPIES_VERSION
    added: int = 0

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

    def note(self, position: Position, by: int) -> bool:
        """Count a change of the stream; return False where a snapshot has read what it left."""
        if self.snapshot and is_before(position, self.snapshot) and self._has_read(by):
            self.added -= by
            return False
        self.count += by
        self.recent = [*self.recent, (position, by)][-_RECENT_MAX:]
        return True

    def _has_read(self, by: int) -> bool:
        """Tell whether what the snapshot has read contains a change that comes behind it already."""
        if by > 0:
            return self.added > 0
        return self.count - self.ahead_of(self.snapshot) - self.added <= self.read


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
        is there and one `dedup.horizon_s` longer: what comes behind its end, from other partitions, is
        counted till then. A delete of a row that never came is forgotten then too. Snapshots and truncates
        are exact as long as at most 16 later changes of equal rows come before them from other partitions.
        A snapshot with fewer copies than are known takes none away.

    Args:
        config: the client's.

    Attributes:
        entities: those whose rows it numbers.
    """

    def __init__(self, config: ClientConfig) -> None:
        self.entities = frozenset(
            name for name, entity in config.entities.items() if entity.keyless == "full_row"
        )
        self._horizon_us = config.dedup.horizon_us

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
        self._keep(batch, state, known)
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
            known_between = copies.ahead_of(position) - copies.ahead_of(copies.snapshot)
            copies.added = max(copies.read - known_between, 0) if copies.read_since(position) else 0
            copies.recent = [each for each in copies.recent if not is_before(each[0], position)]
        self._keep(batch, state, known)
        return sorted(keys)

    def _keep(self, batch: ChangeBatch, state: Shard[StateEntry], known: dict[Key, _Copies]) -> None:
        """Write what a batch changed, and forget the rows that have been gone for a horizon."""
        newest_us = max([state.newest_us or 0, *[each.source_time_us for each in batch.records]])
        fading = _fading(state)
        kept: dict[Key, StateEntry] = {}
        for place, copies in known.items():
            fading.pop(place, None)
            if copies.count > 0:
                kept[place] = (FOREVER_US, _encode(copies))
            elif copies.recent or copies.count:
                fading[place] = FOREVER_US + newest_us
                kept[place] = (fading[place], _encode(copies))
            else:
                state.delete(place)
        state.update(kept, newest_us)
        while fading:
            place = next(iter(fading))
            if fading[place] >= FOREVER_US + newest_us - self._horizon_us:
                break
            del fading[place]
            state.delete(place)


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
        return max(number, 0) if copies.note(position, -1) else 0
    if record.operation is Operation.SNAPSHOT:
        if copies.snapshot != position or not position:
            copies.snapshot, copies.read, copies.added = position, 0, 0
        copies.read += 1
        if copies.read <= copies.count - copies.ahead_of(position):
            return copies.read if passed and position >= passed else 0
        copies.count += 1
        copies.added += 1
    elif not copies.note(position, 1):
        return 0
    return max(copies.count, 0)


def _read(state: Shard[StateEntry], place: Key) -> _Copies:
    entry = state.index.get(place)
    if entry is None:
        return _Copies()
    found = _decode(entry[1])
    if found.version != COPIES_VERSION:
        raise ValueError(
            f"copies: found version {found.version}, expected {COPIES_VERSION}: "
            "restore it with the release that wrote it"
        )
    return found


def _fading(state: Shard[StateEntry]) -> dict[Key, int]:
    """Return the rows that are gone, the first to forget first; their times lie behind `FOREVER_US`."""
    found: dict[Key, int] | None = state.derived.get(_PLACE)
    if found is None:
        gone = [
            (entry[0], place)
            for place, entry in state.index.items()
            if place[0] == _PLACE and entry[0] > FOREVER_US
        ]
        found = state.derived[_PLACE] = {place: time_us for time_us, place in sorted(gone)}
    return found
