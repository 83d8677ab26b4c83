"""Note which record each DoFn of a process is at, where it outlives the process.

A flight file is memory that the kernel writes back: what was noted last is there however the process ended.
Its owner holds a lock on it, which the kernel lets go with the process, so a successor knows whose files are
wreckage. The file is little-endian 64-bit words:

    header, 1024 bytes   magic, version, pid, ended (1: in good order)
    slots, 1024 each     offset (-1: between records), thread, length, then MessagePack of
                         [transform, topic, partition]
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

__all__ = ["VERSION", "Flight", "FlightRecorder", "Wreck", "read_wrecks"]

VERSION = 1
_MAGIC = int.from_bytes(b"TSFLIGHT", "little")
_SUFFIX = ".flight"
_TRACE = ".trace"
_BLOCK = 1024
_WORD = 8
_SLOTS_MAX = 256
_SIZE = _BLOCK * (_SLOTS_MAX + 1)
_IDLE = -1
# Words of the header, and of a slot.
_MAGIC_AT, _VERSION_AT, _PID_AT, _ENDED_AT = range(4)
_OFFSET_AT, _THREAD_AT, _LENGTH_AT = range(3)
_NAME_AT = 3 * _WORD
_TRACE_BYTES_MAX = 262_144

# Paths of this process's flight files.
_own: set[Path] = set()
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, int]).decode


class Flight:
    """Be the place where one DoFn's record is noted.

    Attributes:
        words: offset and thread; `words[0] = offset` notes a record, -1 that there is none.
    """

    def __init__(self, block: memoryview, transform: str) -> None:
        self.words = block.cast("q")
        self._block = block
        self._transform = transform
        self.words[_OFFSET_AT] = _IDLE

    def identify(self, topic: str, partition: int, thread: int) -> None:
        """Say whose offsets come next, and which thread works on them."""
        self.words[_OFFSET_AT] = _IDLE
        self.words[_THREAD_AT] = thread
        name = _encode((self._transform, topic, partition))[: _BLOCK - _NAME_AT]
        self._block[_NAME_AT : _NAME_AT + len(name)] = name
        self.words[_LENGTH_AT] = len(name)


@dataclass(frozen=True)
class Wreck:
    """Tell at what a process died.

    Attributes:
        records: (transform, topic, partition, offset, thread) that were being worked on.
        trace: what Python's fault handler wrote; empty where it wrote nothing.
    """

    records: tuple[tuple[str, str, int, int, int], ...]
    trace: str


class FlightRecorder:
    """Write the flight file of this process.

    Args:
        folder: of one client's launch, on a disk of this machine; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
        # Unnamed until it is locked: a reader would take it for wreckage.
        part = self._path.with_suffix(".part")
        self._file = part.open("w+b")
        # Not flock, which a forked child would hold on to.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        self._file.truncate(_SIZE)
        self._map = mmap.mmap(self._file.fileno(), _SIZE)
        self._view = memoryview(self._map)
        header = self._view[:_BLOCK].cast("q")
        header[_MAGIC_AT], header[_VERSION_AT], header[_PID_AT] = _MAGIC, VERSION, os.getpid()
        self._header = header
        self._free = list(range(_SLOTS_MAX, 0, -1))
        self.trace = self._path.with_suffix(_TRACE).open("w+b")
        _own.add(self._path)
        part.rename(self._path)

    def flight(self, transform: str) -> Flight:
        """Return a place for one DoFn's records; where all are taken, one that is lost with the process."""
        if not self._free:
            return Flight(memoryview(bytearray(_BLOCK)), transform)
        number = self._free.pop()
        found = Flight(self._view[number * _BLOCK : (number + 1) * _BLOCK], transform)
        weakref.finalize(found, self._free.append, number)
        return found

    def end(self) -> None:
        """Note that what happens from now on is no record's fault, and leave no wreckage."""
        self._header[_ENDED_AT] = 1
        self._path.unlink(missing_ok=True)
        self._path.with_suffix(_TRACE).unlink(missing_ok=True)


def read_wrecks(folder: Path) -> Iterator[Wreck]:
    """Yield what processes that died left in a folder; each is removed when the next one is asked for."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        # Closing it again would let go of this process's own lock.
        if path in _own:
            continue
        try:
            file = path.open("r+b")
        except FileNotFoundError:
            continue
        with file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            trace = path.with_suffix(_TRACE)
            # Another may have read and removed it between the opening and the lock.
            if path.exists():
                yield Wreck(tuple(_records(file.read(_SIZE))), _text(trace))
                path.unlink(missing_ok=True)
                trace.unlink(missing_ok=True)


def _records(content: bytes) -> Iterator[tuple[str, str, int, int, int]]:
    if len(content) != _SIZE:
        return
    words = memoryview(content).cast("q")
    if (words[_MAGIC_AT], words[_VERSION_AT], words[_ENDED_AT]) != (_MAGIC, VERSION, 0):
        return
    for start in range(_BLOCK, _SIZE, _BLOCK):
        first = start // _WORD
        offset, length = words[first + _OFFSET_AT], words[first + _LENGTH_AT]
        if length <= 0 or offset == _IDLE:
            continue
        try:
            name = _decode(content[start + _NAME_AT : start + _NAME_AT + length])
        except msgspec.MsgspecError:
            continue
        yield (*name, offset, words[first + _THREAD_AT])


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return str(file.read(_TRACE_BYTES_MAX), "utf-8", "replace")
    except FileNotFoundError:
        return ""
