"""Put data and ledger in place with one atomic step, where a store can create a name once and no more.

Each entity has a log of numbered entries. An entry lists data files that are there already, and the ledger
entries of the streams that they move, so that both come with one create. Who wants to write entry n + 1
must know the entries up to n; when another writer creates it first, it reads that one, looks again at what
is left to do, and tries the next number. This is the optimistic concurrency of Delta Lake's transaction log
(Delta Transaction Log Protocol, https://github.com/delta-io/delta/blob/master/PROTOCOL.md; Armbrust et al.,
"Delta Lake: High-Performance ACID Table Storage over Cloud Object Stores", VLDB 2020), on its one condition:
of all that create a name at once, one succeeds.

Entries are kept: they are the list of what was delivered. Every `CHECKPOINT_EVERY`th is followed by a
checkpoint of the whole ledger, so that who starts reads that and at most a few entries after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from tillstream.io.sinks.base import Writer
from tillstream.io.sinks.ledger import Admission, Entry, Stream, admit, decode_entry, encode_entry
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import MutationBatch

__all__ = [
    "CHECKPOINT_EVERY",
    "Checkpoint",
    "Commit",
    "CommitLog",
    "DataFile",
    "Encode",
    "Part",
    "Store",
    "decode_commit",
    "entry_name",
    "number_of",
]

CHECKPOINT_EVERY = 20
_VERSION = 1
_DIGITS = 20
_Decoded = TypeVar("_Decoded", "Commit", "Checkpoint")


class DataFile(msgspec.Struct, frozen=True):
    """Describe one file of mutations.

    Attributes:
        name: its place in the entity's folder.
        rows: how many mutations it holds.
        bytes: its size.
    """

    name: str
    rows: int
    bytes: int


class Commit(msgspec.Struct, frozen=True):
    """Be one entry of the log.

    Attributes:
        files: what it adds.
        ledger: the new entry of each stream that it moves, by the stream's shard. An entry that neither adds
            nor moves says that files which no entry lists are about to be removed.
        version: of this form.
    """

    files: tuple[DataFile, ...] = ()
    ledger: dict[int, msgspec.Raw] = {}
    version: int = _VERSION


class Checkpoint(msgspec.Struct, frozen=True):
    """Hold the ledger as the entry of the same number leaves it.

    Attributes:
        ledger: the entry of each stream, by the stream's shard.
        version: of this form.
    """

    ledger: dict[int, msgspec.Raw]
    version: int = _VERSION


class Part(NamedTuple):
    """Hold the content of one data file.

    Attributes:
        content: whole.
        rows: how many mutations it holds.
    """

    content: bytes
    rows: int


class _Staged(NamedTuple):
    batches: list[MutationBatch]
    part: Part | None
    token: str
    sweeps: int


# Returns None where all rows are refused; they are handed back before it returns.
Encode: TypeAlias = Callable[[Sequence[MutationBatch]], Part | None]


class Store(Protocol):
    """Keep one entity's files and its log; every method may be called again after it failed."""

    def prepare(self) -> None:
        """Make the places that the others need: these must not, see `CommitLog.open`."""
        ...

    def create_only(self, name: str, content: bytes) -> bool:
        """Put an entry in place, unless one of that name is there; return whether it was not."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return an entry; None where there is none of that name."""
        ...

    def last(self) -> int:
        """Return the number of the newest entry; 0 where there is none."""
        ...

    def stage(self, content: bytes) -> str:
        """Write a data file, on disk on return, where nobody takes it for delivered; return its own token."""
        ...

    def discard(self, token: str) -> None:
        """Let go of a data file that no entry lists."""
        ...

    def name_of(self, token: str, number: int) -> str:
        """Return the place of a data file that entry `number` lists."""
        ...

    def publish(self, name: str) -> None:
        """Show readers a data file that an entry lists; harmless when it is done already."""
        ...

    def settle(self) -> None:
        """Wait until no crash can hide again what `publish` showed."""
        ...

    def leftovers(self) -> list[str]:
        """Return the tokens of data files that have waited for long to be listed."""
        ...


class CommitLog:
    """Write one entity's batches once each.

    Entry n + 1 exists only if all files that the entries up to n list are shown: each writer shows what it
    finds listed before it goes on. So who starts needs to look at no more than what it reads.

    Args:
        store: of the entity.
        entity: its name.
        writer: who writes.
    """

    def __init__(self, store: Store, entity: str, writer: Writer) -> None:
        self._store = store
        self._entity = entity
        self._writer = writer
        self._number = 0
        self._ledger: dict[Stream, Entry] = {}
        self._sweeps = 0

    def open(self) -> None:
        """Read the newest checkpoint and what follows it, finish what a crashed writer began, and tidy.

        Only here may the store make a place for the log: one that vanishes later may come back, as network
        folders do, and what went elsewhere meanwhile would be lost.

        Raises:
            SinkError: if the log is damaged, or of a version that this release does not read.
        """
        self._store.prepare()
        left = self._store.leftovers()
        last = self._store.last()
        self._number, self._ledger = last - last % CHECKPOINT_EVERY, {}
        while self._number > 0:
            content = self._store.read(_checkpoint_name(self._number))
            if content is not None:
                self._take(_decode(content, Checkpoint, _checkpoint_name(self._number)).ledger)
                break
            self._number -= CHECKPOINT_EVERY
        self._follow()
        if self._number < last:
            raise SinkError(
                f"entity {self._entity!r}: found no {entry_name(self._number + 1)} in the log, expected all "
                f"from the newest checkpoint to {entry_name(last)}: put it back, or write to a new place"
            )
        if left:
            self._sweep(left)

    def write(self, batches: Sequence[MutationBatch], encode: Encode) -> None:
        """Apply those of the entity's batches that are not applied yet.

        Args:
            batches: each stream's in order; streams may mix.
            encode: makes the content of a data file of batches; called again where another writer changes
                what is left to apply.

        Raises:
            SequenceGapError, StaleWriterError, SinkError: as `ledger.admit` does.
        """
        staged = _Staged([], None, "", self._sweeps)
        while True:
            admission = self._admit(batches)
            # After a sweep the file may have been taken for a leftover.
            if admission.batches != staged.batches or self._sweeps != staged.sweeps:
                self._discard(staged)
                staged = self._stage(admission.batches, encode)
            if not admission.entries or self._append(admission, staged):
                return

    def _stage(self, batches: list[MutationBatch], encode: Encode) -> _Staged:
        sweeps = self._sweeps
        part = encode(batches) if batches else None
        token = "" if part is None else self._store.stage(part.content)
        return _Staged(batches, part, token, sweeps)

    def _discard(self, staged: _Staged) -> None:
        if staged.part is not None:
            self._store.discard(staged.token)

    def _admit(self, batches: Sequence[MutationBatch]) -> Admission:
        try:
            return self._admitted(batches)
        except SinkError:
            # Another writer of this launch may have moved the ledger since we looked.
            if not self._follow():
                raise
            return self._admitted(batches)

    def _admitted(self, batches: Sequence[MutationBatch]) -> Admission:
        writer = self._writer
        return admit(
            self._ledger,
            batches,
            generation=writer.generation,
            shards=writer.shards,
            drops_repeated=True,
            undoes=writer.undoes,
        )

    def _append(self, admission: Admission, staged: _Staged) -> bool:
        """Try to write the next entry; return False where another writer was first, having read on."""
        files: tuple[DataFile, ...] = ()
        if staged.part is not None:
            name = self._store.name_of(staged.token, self._number + 1)
            files = (DataFile(name, staged.part.rows, len(staged.part.content)),)
        ledger = {stream.shard: msgspec.Raw(encode_entry(new)) for stream, new in admission.entries.items()}
        return self._create(Commit(files, ledger))

    def _create(self, commit: Commit) -> bool:
        name, content = entry_name(self._number + 1), msgspec.json.encode(commit)
        # What is there already may be ours, from an attempt whose answer was lost.
        if self._store.create_only(name, content) or self._store.read(name) == content:
            self._finish(commit)
            if self._number % CHECKPOINT_EVERY == 0:
                self._write_checkpoint()
            return True
        self._follow()
        return False

    def _follow(self) -> bool:
        """Read the entries after those that are known; return whether there were any."""
        first = self._number
        while True:
            name = entry_name(self._number + 1)
            content = self._store.read(name)
            if content is None:
                return self._number > first
            commit = _decode(content, Commit, name)
            self._finish(commit)

    def _finish(self, commit: Commit) -> None:
        for file in commit.files:
            self._store.publish(file.name)
        self._take(commit.ledger)
        self._sweeps += not (commit.files or commit.ledger)
        self._number += 1

    def _take(self, ledger: dict[int, msgspec.Raw]) -> None:
        for shard, entry in ledger.items():
            self._ledger[Stream(self._entity, shard)] = decode_entry(bytes(entry))

    def _write_checkpoint(self) -> None:
        # Who starts shows what entries after this list, and takes what those before list for shown.
        self._store.settle()
        ledger = {stream.shard: msgspec.Raw(encode_entry(entry)) for stream, entry in self._ledger.items()}
        self._store.create_only(_checkpoint_name(self._number), msgspec.json.encode(Checkpoint(ledger)))

    def _sweep(self, tokens: Sequence[str]) -> None:
        """Remove data files that no entry lists.

        A writer that was asleep may be about to list one. The empty entry makes it fail, read on, and write
        its file anew, so what is removed after it was waiting before it is listed by nobody, ever.
        """
        while not self._create(Commit()):
            pass
        for token in tokens:
            self._store.discard(token)


def entry_name(number: int) -> str:
    """Return the name of a log entry: names sort as numbers do."""
    return f"{number:0{_DIGITS}d}.json"


def number_of(name: str) -> int:
    """Return the number of a log entry or checkpoint by its name; 0 for other names."""
    digits, _, rest = name.partition(".")
    is_ours = len(digits) == _DIGITS and digits.isdecimal() and rest in ("json", "checkpoint.json")
    return int(digits) if is_ours else 0


def decode_commit(content: bytes, name: str) -> Commit:
    """Read a log entry.

    Raises:
        SinkError: if it is damaged, or of a version that this release does not read.
    """
    return _decode(content, Commit, name)


def _checkpoint_name(number: int) -> str:
    return f"{number:0{_DIGITS}d}.checkpoint.json"


def _decode(content: bytes, kind: type[_Decoded], name: str) -> _Decoded:
    try:
        decoded = msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise SinkError(f"log entry {name}: found {error}, expected a {kind.__name__.lower()}") from error
    if decoded.version != _VERSION:
        raise SinkError(
            f"log entry {name}: found version {decoded.version}, expected {_VERSION}: "
            "write with the release that wrote it, or a newer one"
        )
    return decoded
