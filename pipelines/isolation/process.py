"""Hold what the guards of one process share: watchdog, flight recorder, strikes."""

from __future__ import annotations

import faulthandler
import logging
import os
import resource
import threading
from pathlib import Path

from tillstream.pipelines.isolation.recorder import Flight, FlightRecorder
from tillstream.pipelines.isolation.strikes import StrikeStore
from tillstream.pipelines.isolation.watchdog import Watchdog, Watched

__all__ = ["FLIGHTS_VARIABLE", "UNCONFINED_VARIABLE", "Shared", "data_bytes", "end_flight", "shared"]

# Folder of flight files, one for each client and launch; the harness sets it.
FLIGHTS_VARIABLE = "TILLSTREAM_FLIGHTS"
# Why a client's code may see more than it should; unset where it may not.
UNCONFINED_VARIABLE = "TILLSTREAM_UNCONFINED"
_BLOCK = 1024
_EXIT_CODE = 70
_FAREWELL_S = 1.0
# Of the limit of memory, and for how many looks in a row.
_FULL = 0.97
_FULL_LOOKS_MAX = 3
_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_found: Shared | None = None


class Shared:
    """Hold them; without a folder, nothing outlives the process.

    Args:
        folder: of flight files, None where nobody starts the process again.
    """

    def __init__(self, folder: Path | None) -> None:
        self.recorder: FlightRecorder | None = None
        self.strikes: StrikeStore | None = None
        if folder is None:
            self.watchdog = Watchdog(_log)
            return
        unconfined = os.environ.get(UNCONFINED_VARIABLE)
        if unconfined:
            _logger.warning("%s", unconfined)
        self.strikes = StrikeStore(folder)
        self.recorder = FlightRecorder(folder)
        faulthandler.enable(self.recorder.trace)
        self.watchdog = Watchdog(self._exit, self.recorder.trace)
        self._memory = resource.getrlimit(resource.RLIMIT_DATA)[0]
        self._full = 0
        if self._memory != resource.RLIM_INFINITY:
            self.watchdog.also = self._look_at_memory

    def flight(self, transform: str) -> Flight:
        """Return a place for one DoFn's records."""
        if self.strikes is not None:
            self.strikes.gather()
        if self.recorder is None:
            return Flight(memoryview(bytearray(_BLOCK)), transform)
        return self.recorder.flight(transform)

    def end(self) -> None:
        """Note that the process ends for no record's fault."""
        if self.recorder is not None:
            self.recorder.end()

    def end_soon(self) -> None:
        """End the process when what it raises has been told: only another one has its memory back."""
        try:
            timer = threading.Timer(_FAREWELL_S, self._leave)
            timer.daemon = True
            timer.start()
        except (MemoryError, RuntimeError):
            self._leave()

    def _look_at_memory(self) -> None:
        # Where memory is out, threads of Beam's fail too, without a word, and the job would wait for ever.
        # What is being worked on has a part in it: it stays noted.
        self._full = self._full + 1 if data_bytes() > _FULL * self._memory else 0
        if self._full > _FULL_LOOKS_MAX:
            os.write(2, b"the process has used up flink.memory_mb_max and starts anew\n")
            os._exit(_EXIT_CODE)

    def _leave(self) -> None:
        self.end()
        os._exit(_EXIT_CODE)

    def _exit(self, guard: Watched, message: str) -> None:
        # Of no use to the successor, which finds the strike instead.
        os.write(2, f"{guard.name}: {message}\n".encode())
        self._leave()


def shared() -> Shared:
    """Return what this process shares, made at the first call."""
    global _found  # noqa: PLW0603  (one for each process)
    with _lock:
        if _found is None:
            folder = os.environ.get(FLIGHTS_VARIABLE)
            _found = Shared(None if folder is None else Path(folder))
        return _found


def data_bytes() -> int:
    """Return how much of its limit of memory this process uses (proc(5), VmData)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def end_flight() -> None:
    """Note that this process ends for no record's fault."""
    if _found is not None:
        _found.end()


def _log(guard: Watched, message: str) -> None:  # noqa: ARG001
    _logger.critical("%s", message)
