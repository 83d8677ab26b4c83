"""Fork processes for those who ask over a socket, and tell them how each ended.

One thread, so that a fork copies nothing half done. Whoever asks must be of the same user, none of those that
were forked here or their descendants, and no more bound than this process, as `landlock.confine` makes it:
else a client's code could have a process that is free of its bounds.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from pathlib import Path
from typing import NamedTuple

from tillstream.runners.nursery.kernel import adopt_orphans, die_with_parent, is_bound, parent_of, peer_of

__all__ = ["Nursery", "Request"]

_PACKET_BYTES = 65_536
# Standard output and error.
_DESCRIPTORS = 2
# As long as Beam's Java waits between asking a process to end and killing it.
_GRACE_S = 0.5
_IDLE_LOOK_S = 30.0
_SIGNALLED = 128


class Request(NamedTuple):
    """Say what a forked process is to do.

    Attributes:
        arguments: of the command.
        waiter: process that stands for it.
        taskmanager: process that started that.
    """

    arguments: list[str]
    waiter: int
    taskmanager: int

    def is_abandoned(self) -> bool:
        """Tell whether the TaskManager has ended."""
        return parent_of(self.waiter) != self.taskmanager


class Nursery:
    """Serve one TaskManager.

    Args:
        listener: socket to be asked by.
        path: of that socket.
        taskmanager: process that it lives as long as.
    """

    def __init__(self, listener: socket.socket, path: Path, taskmanager: int) -> None:
        self._listener = listener
        self._path = path
        self._taskmanager = taskmanager
        self._waiters: dict[int, socket.socket] = {}
        self._ends_s: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self._wakened, self._waker = socket.socketpair()
        self._owner = os.pidfd_open(taskmanager)
        for each in (self._wakened, self._waker):
            each.setblocking(False)  # noqa: FBT003

    def serve(self) -> Request | None:
        """Return a request in the process that was forked for it, and None in this one at its end."""
        adopt_orphans()
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for each in (self._listener, self._wakened, self._owner):
            self._selector.register(each, selectors.EVENT_READ)
        while self._waiters or (self._owner >= 0 and not self._is_superseded()):
            for key, _ in self._selector.select(self._timeout_s()):
                if key.fileobj is self._listener:
                    self._selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                elif key.fileobj is self._wakened:
                    self._wakened.recv(_PACKET_BYTES)
                elif isinstance(key.fileobj, socket.socket):
                    request = self._hear(key.fileobj, key.data)
                    if request is not None:
                        return request
                else:
                    self._lose_owner()
            self._reap()
            self._kill_late()
        return None

    def _is_superseded(self) -> bool:
        """Tell whether another one serves this TaskManager since, with newer code."""
        if not self._path.exists():
            return True
        ours = self._path.stat().st_mtime_ns
        mates = self._path.parent.glob(f"{self._taskmanager}-*")
        return any(each.is_socket() and each.stat().st_mtime_ns > ours for each in mates)

    def _lose_owner(self) -> None:
        # No one asks any more. What was forked notices by itself, and is left to say its last.
        for each in (self._owner, self._listener):
            self._selector.unregister(each)
        self._listener.close()
        os.close(self._owner)
        self._owner = -1

    def _hear(self, connection: socket.socket, child: int | None) -> Request | None:
        if child is None:
            return self._start(connection)
        try:
            packet = connection.recv(_PACKET_BYTES)
        except OSError:
            packet = b""
        if packet:
            _send(child, int(packet))
            return None
        # The waiter has ended: so must what it stood for.
        self._drop(connection)
        _send(child, signal.SIGTERM)
        self._ends_s[child] = time.monotonic() + _GRACE_S
        return None

    def _start(self, connection: socket.socket) -> Request | None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(connection, _PACKET_BYTES, _DESCRIPTORS)
            waiter, user = peer_of(connection)
            is_wanted = len(descriptors) == _DESCRIPTORS and self._is_outside(waiter, user)
        except OSError:
            packet, descriptors, is_wanted = b"", [], False
        if is_wanted:
            parent, child = os.getpid(), os.fork()
            if child == 0:
                self._leave(parent, descriptors)
                return Request(packet.decode().split("\0"), waiter, self._taskmanager)
            self._waiters[child] = connection
            self._selector.modify(connection, selectors.EVENT_READ, child)
        else:
            self._drop(connection)
        for each in descriptors:
            os.close(each)
        return None

    def _is_outside(self, pid: int, user: int) -> bool:
        if user != os.getuid() or is_bound(pid) != is_bound(os.getpid()):
            return False
        while pid > 1:
            if pid == os.getpid():
                return False
            pid = parent_of(pid)
        return True

    def _leave(self, parent: int, descriptors: list[int]) -> None:
        """Leave in the forked process nothing of what is the nursery's."""
        os.setsid()
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
        connections = [key.fileobj for key in self._selector.get_map().values()]
        for each in (self._waker, *connections):
            # Closed below; not once more, by a number that is another's then.
            if isinstance(each, socket.socket):
                each.detach()
        self._selector.close()
        os.closerange(_DESCRIPTORS + 1, os.sysconf("SC_OPEN_MAX"))

    def _reap(self) -> None:
        while (child := _ended()) is not None:
            if child in self._waiters or child in self._ends_s:
                # What it started in its turn ends with it; not yet reaped, its number is still its own.
                _send(-child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            self._ends_s.pop(child, None)
            connection = self._waiters.get(child)
            if connection is not None:
                with contextlib.suppress(OSError):
                    # As shells and Java tell of signals.
                    connection.send(b"%d" % (code if code >= 0 else _SIGNALLED - code))
                self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
        self._waiters = {child: each for child, each in self._waiters.items() if each is not connection}

    def _timeout_s(self) -> float | None:
        if not self._ends_s:
            return None if self._waiters else _IDLE_LOOK_S
        return max(0.0, min(min(self._ends_s.values()) - time.monotonic(), _IDLE_LOOK_S))

    def _kill_late(self) -> None:
        for child, end_s in self._ends_s.items():
            if time.monotonic() >= end_s:
                _send(child, signal.SIGKILL)
                # Forgotten when it is reaped.
                self._ends_s[child] = float("inf")


def _ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(child, number)
