"""Remember which records broke the processes that worked on them.

A file, `strikes.json`, in the folder of one client's launch, shared by its processes on one machine. A new
launch starts without: its transforms may be other ones.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.recorder import Wreck, read_wrecks

__all__ = ["CONDEMNED", "STEP_MARK", "Kind", "Strike", "StrikeStore"]

Kind: TypeAlias = Literal["timed_out", "crashed", "out_of_memory"]
# What a strike weighs whose record is surely to blame, and from where on a record is not tried again.
CONDEMNED = 2
# Ends what stands in place of a topic where no record was worked on; no topic may be named so.
STEP_MARK = "()"
_VERSION = 1
_STRIKES_MAX = 1000
_AGE_S_MAX = 24 * 3600
_TRACE_CHARACTERS_MAX = 8000
_DETAILS: Mapping[Kind, str] = {
    "timed_out": "process did not end within limits.record_timeout_ms and could not be interrupted",
    "crashed": "the Python process died while process worked on it",
    "out_of_memory": "process met flink.memory_mb_max again after a restart",
}


class Strike(msgspec.Struct, frozen=True):
    """Hold what one record did.

    Attributes:
        transform: by name and version.
        topic: of the record.
        partition: of that topic.
        offset: in that partition.
        kind: reason of the dead letter that it leads to.
        weight: CONDEMNED, or less where something else may be to blame.
        at_s: when, seconds since 1970.
        trace: where the code was, as far as is known.
    """

    transform: str
    topic: str
    partition: int
    offset: int
    kind: Kind
    weight: int = 1
    at_s: float = 0.0
    trace: str | None = None

    @property
    def place(self) -> tuple[str, str, int]:
        """Return what its offset counts in."""
        return self.transform, self.topic, self.partition

    def error(self) -> RecordError:
        """Return what its dead letter says."""
        return RecordError(self.kind, _DETAILS[self.kind])


class _File(msgspec.Struct):
    version: int
    strikes: list[Strike]


_decode = msgspec.json.Decoder(_File).decode


class StrikeStore:
    """Add strikes, and tell which records are condemned by them.

    Args:
        folder: of one client's launch.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._path = folder / "strikes.json"
        self._read_ns = -1
        self._condemned: dict[tuple[str, str, int], dict[int, Strike]] = {}

    def gather(self) -> None:
        """Add strikes for what processes that died were at, and remove what they left."""
        with self._locked():
            for wreck in read_wrecks(self._folder):
                self._write(_strikes(wreck))
        self.refresh()

    def add(self, strikes: Iterable[Strike]) -> None:
        """Add strikes; a record's weigh together."""
        with self._locked():
            self._write(strikes)
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have added."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._read_ns:
            return
        condemned: dict[tuple[str, str, int], dict[int, Strike]] = {}
        for strike in self._read():
            if strike.weight >= CONDEMNED:
                condemned.setdefault(strike.place, {})[strike.offset] = strike
        self._read_ns, self._condemned = changed_ns, condemned

    def condemned(self, transform: str, topic: str, partition: int) -> Mapping[int, Strike] | None:
        """Return the strikes of records that are not to be tried again, by offset; None without any."""
        return self._condemned.get((transform, topic, partition))

    def _read(self) -> list[Strike]:
        try:
            found = _decode(self._path.read_bytes())
        except FileNotFoundError:
            return []
        except msgspec.MsgspecError:
            # Of another release, or damaged: at worst a record breaks one more process.
            return []
        return found.strikes if found.version == _VERSION else []

    def _write(self, strikes: Iterable[Strike]) -> None:
        now_s = time.time()
        known = {(*each.place, each.offset): each for each in self._read() if each.at_s > now_s - _AGE_S_MAX}
        for strike in strikes:
            key = (*strike.place, strike.offset)
            before = known.pop(key, None)
            weight = strike.weight + (0 if before is None else before.weight)
            trace = (strike.trace or (before and before.trace) or "")[-_TRACE_CHARACTERS_MAX:] or None
            known[key] = msgspec.structs.replace(strike, weight=weight, at_s=now_s, trace=trace)
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(_File(_VERSION, list(known.values())[-_STRIKES_MAX:])))
        part.rename(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._folder / "strikes.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _strikes(wreck: Wreck) -> Sequence[Strike]:
    """Return the strikes of what a process left; sure only where a fault of the record's own thread is."""
    timed_out = wreck.trace.startswith("Timeout (")
    faulted = re.search(r"^Current thread 0x([0-9a-f]+)", wreck.trace, re.MULTILINE)
    thread = None if faulted is None else int(faulted[1], 16)
    found = []
    for transform, topic, partition, offset, worker in wreck.records:
        if thread is not None and thread != worker:
            continue
        kind: Kind = "timed_out" if timed_out else "crashed"
        # A step is tried once more: it stops the job, a record does not.
        weight = CONDEMNED if thread is not None and not topic.endswith(STEP_MARK) else 1
        trace = _block(wreck.trace, worker)
        found.append(Strike(transform, topic, partition, offset, kind, weight, trace=trace))
    return found


def _block(trace: str, thread: int) -> str | None:
    """Return what the fault handler says of one thread, with why it was asked."""
    for block in trace.split("\n\n"):
        match = re.match(r"(?:.*\n)?(?:Current t|T)hread 0x([0-9a-f]+)", block)
        if match is not None and int(match[1], 16) == thread:
            first = trace.split("\n", 1)[0]
            return block if block.startswith(first) else f"{first}\n{block}"
    return None
