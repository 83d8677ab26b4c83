"""End what takes too long: a thread that watches the records that other threads work on.

Past the limit an exception is raised in the thread that hangs, which ends whatever runs in Python. Where
that does not help, because the thread is in C, the process is ended (docs/isolation.md). Should the watchdog
itself not get to run, because C code keeps the interpreter's lock, the fault handler's timer ends the
process; it is set anew at every look, and needs no lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from typing import BinaryIO, Protocol

__all__ = ["GRACE_S", "RecordTimeoutError", "Watchdog", "Watched", "exit_with", "interrupt_nobody"]

# How long a thread has to leave once it is interrupted.
GRACE_S = 2.0
_LOOK_S_MAX = 1.0
_LOOK_S_MIN = 0.02
_LOOKS = 10
_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class RecordTimeoutError(BaseException):
    """Interrupt a DoFn that works on one record for too long; not an Exception, which it might well catch."""


class Watched(Protocol):
    """Be watched.

    Attributes:
        token: the record that is worked on, None between two.
        thread: that works on it.
        limit_s: how long it may.
        lock: held while the watchdog interrupts.
        interrupted: set with the lock by the watchdog, cleared with it by the worker.
        name: of the transform.
    """

    token: object
    thread: int
    limit_s: float
    lock: threading.Lock
    interrupted: bool
    name: str

    def place(self) -> str:
        """Return the record's topic, partition and offset for a person."""

    def blame(self, trace: str) -> None:
        """Note that this record is the reason why the process is about to end."""


class Watchdog:
    """Watch all guards of a process.

    Args:
        stuck: what to do about a thread that cannot be interrupted, given what to tell people; called again
            at every look until it ends.
        trace: where the fault handler writes as it ends the process; None leaves its timer alone.
    """

    def __init__(self, stuck: Callable[[Watched, str], None], trace: BinaryIO | None = None) -> None:
        self.stuck = stuck
        # What else is looked at, each time.
        self.also: Callable[[], None] = lambda: None
        self._trace = trace
        self._guards: weakref.WeakKeyDictionary[Watched, tuple[object, float]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._look_s = _LOOK_S_MAX
        self._limit_s = 0.0
        self._more = threading.Event()
        self._started = False

    def watch(self, guard: Watched) -> None:
        """Watch a guard for as long as someone else holds it."""
        with self._lock:
            self._guards[guard] = (None, 0.0)
            self._look_s = min(self._look_s, max(_LOOK_S_MIN, guard.limit_s / _LOOKS))
            self._limit_s = max(self._limit_s, guard.limit_s)
            # The first record may be the one that lets no other thread run.
            self._set_timer()
            if not self._started:
                self._started = True
                threading.Thread(target=self._run, name="tillstream-watchdog", daemon=True).start()
        self._more.set()

    def _run(self) -> None:
        before_s = time.monotonic()
        while True:
            self._more.wait(self._look_s)
            self._more.clear()
            now_s = time.monotonic()
            # A machine that stood still, or a process that got no processor, is no fault of the record.
            passed_s = min(now_s - before_s, 2 * self._look_s)
            before_s = now_s
            self._set_timer()
            self._look_at_all(passed_s)
            self.also()

    def _set_timer(self) -> None:
        if self._trace is not None:
            whole_s = self._limit_s + GRACE_S + 2 * self._look_s
            # Without memory for its thread there is no timer until a later look: the process is about to end.
            with contextlib.suppress(RuntimeError):
                faulthandler.dump_traceback_later(whole_s, file=self._trace, exit=True)

    def _look_at_all(self, passed_s: float) -> None:
        with self._lock:
            guards = list(self._guards.items())
        for guard, (token, age_s) in guards:
            self._guards[guard] = self._look(guard, token, age_s, passed_s)

    def _look(self, guard: Watched, token: object, age_s: float, passed_s: float) -> tuple[object, float]:
        now = guard.token
        if now is None or now is not token:
            return now, 0.0
        age_s += passed_s
        if age_s >= guard.limit_s + GRACE_S:
            self._report(guard, token)
        if age_s >= guard.limit_s:
            _interrupt(guard, token)
        return token, age_s

    def _report(self, guard: Watched, token: object) -> None:
        frame = sys._current_frames().get(guard.thread)  # noqa: SLF001  (the documented way)
        trace = "" if frame is None else "".join(traceback.format_stack(frame))
        if guard.token is token:
            guard.blame(trace)
            self.stuck(
                guard,
                f"transform {guard.name} works on {guard.place()} for more than {guard.limit_s:g} s and "
                f"cannot be interrupted; it is at:\n{trace}",
            )


def _interrupt(guard: Watched, token: object) -> None:
    with guard.lock:
        # First told, then looked: a worker that leaves its record in between finds that it was told.
        guard.interrupted = True
        if guard.token is token:
            _raise_in(guard.thread, RecordTimeoutError)
        else:
            guard.interrupted = False


def interrupt_nobody(guard: Watched) -> bool:
    """Take back what the watchdog has raised in this thread and did not arrive yet.

    Returns:
        whether it had interrupted the guard's record.
    """
    guard.token = None
    was = False
    # To take it back by raising nothing would leave CPython 3.11 looking for it at every step, and, where it
    # is traced, at the same one for ever. So one is raised here, in place of what is on its way, and awaited.
    try:
        with guard.lock:
            was = guard.interrupted
            _raise_in(threading.get_ident(), RecordTimeoutError)
        while True:
            pass
    except RecordTimeoutError:
        pass
    with guard.lock:
        was, guard.interrupted = was or guard.interrupted, False
    return was


def exit_with(guard: Watched, message: str) -> None:  # noqa: ARG001  (as Watchdog calls it)
    """End this process at once, in C's way, because threads that hang cannot be joined."""
    os.write(2, f"error: {message}".encode())
    os._exit(1)
