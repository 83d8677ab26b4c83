"""Fork processes for those who ask over a socket, and tell them how each ended.

One thread, so that a fork copies nothing half done. Whoever asks must be of the same user, none of those that
were forked here or their descendants, and no more bound than this process, as `landlock.confine` makes it:
else a client's code could have a process that is free of its bounds. It is held from its connection until the
forked process has read its environment, so that no other one that has its number since is taken for it.

What fails for want of processes, files or memory fails for who asked, not for the jobs that run.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import stat
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tillstream.runners.nursery.kernel import adopt_orphans, die_with_parent, is_bound, parent_of
from tillstream.runners.nursery.peers import Peer, lineage

__all__ = ["Nursery", "Request"]

_PACKET_BYTES = 65_536
# Standard output and error.
_DESCRIPTORS = 2
# As long as Beam's Java waits between asking a process to end and killing it.
_GRACE_S = 0.5
_IDLE_LOOK_S = 30.0
_SIGNALLED = 128
# From the connection to the request lies the start of an interpreter.
_PATIENCE_S = 60.0
_PENDING_MAX = 512
_PAUSE_S = 0.5


class Request(NamedTuple):
    """Say what a forked process is to do.

    Attributes:
        arguments: of the command.
        waiter: process that stands for it.
        taskmanager: process that started that.
        handle: open file that stands for the waiter (`peers.Peer`).
    """

    arguments: list[str]
    waiter: int
    taskmanager: int
    handle: int

    def is_abandoned(self) -> bool:
        """Tell whether the TaskManager has ended."""
        return parent_of(self.waiter) != self.taskmanager


class _Pending(NamedTuple):
    peer: Peer
    end_s: float


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
        self._pending: dict[socket.socket, _Pending] = {}
        self._ends_s: dict[int, float] = {}
        # When it listens again.
        self._resume_s = float("inf")
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
                    self._accept()
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
            self._drop_silent()
            self._resume()
        return None

    def _is_superseded(self) -> bool:
        """Tell whether another one serves this TaskManager since, with newer code."""
        ours = _socket_time_ns(self._path)
        mates = self._path.parent.glob(f"{self._taskmanager}-*")
        return ours is None or any((_socket_time_ns(each) or 0) > ours for each in mates)

    def _lose_owner(self) -> None:
        # No one asks any more. What was forked notices by itself, and is left to say its last.
        for each in (self._owner, self._listener):
            with contextlib.suppress(KeyError):  # it may not listen just now
                self._selector.unregister(each)
        self._listener.close()
        os.close(self._owner)
        self._owner = -1

    def _accept(self) -> None:
        if self._owner < 0:
            return  # lost in this very round
        try:
            connection = self._listener.accept()[0]
        except OSError as error:
            _say(f"no connection can be had: {error}")
            # Who asks stays in line, and would be told of without end.
            self._selector.unregister(self._listener)
            self._resume_s = time.monotonic() + _PAUSE_S
            return
        peer = None
        with contextlib.suppress(OSError):
            peer = Peer.of(connection)
            if len(self._pending) < _PENDING_MAX and self._is_outside(peer):
                self._selector.register(connection, selectors.EVENT_READ)
                self._pending[connection] = _Pending(peer, time.monotonic() + _PATIENCE_S)
                return
        connection.close()
        if peer is not None:
            peer.close()

    def _resume(self) -> None:
        if self._owner >= 0 and time.monotonic() >= self._resume_s:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._resume_s = float("inf")

    def _hear(self, connection: socket.socket, child: int | None) -> Request | None:
        if child is None:
            return self._start(connection)
        try:
            # What is no signal is none of the waiter's.
            number = signal.Signals(int(connection.recv(_PACKET_BYTES)))
        except (OSError, ValueError):
            number = None
        if number is not None:
            _send(child, number)
            return None
        # The waiter has ended: so must what it stood for.
        self._drop(connection)
        _send(child, signal.SIGTERM)
        self._ends_s[child] = time.monotonic() + _GRACE_S
        return None

    def _start(self, connection: socket.socket) -> Request | None:
        peer = self._pending.pop(connection).peer
        try:
            packet, descriptors, _, _ = socket.recv_fds(connection, _PACKET_BYTES, _DESCRIPTORS)
        except OSError:
            packet, descriptors = b"", []
        parent = os.getpid()
        child = self._fork(peer) if len(descriptors) == _DESCRIPTORS else None
        if child == 0:
            handle = self._leave(parent, descriptors, peer)
            return Request(packet.decode().split("\0"), peer.pid, self._taskmanager, handle)
        if child is None:
            self._drop(connection)
        else:
            self._waiters[child] = connection
            self._selector.modify(connection, selectors.EVENT_READ, child)
        peer.close()
        for each in descriptors:
            os.close(each)
        return None

    def _fork(self, peer: Peer) -> int | None:
        """Return the new process, 0 in it, and None if there is none for who asks."""
        try:
            # Once more: it can have bound itself since.
            return os.fork() if self._is_outside(peer) else None
        except OSError as error:
            _say(f"no process for {peer.pid}: {error}")
            return None

    def _is_outside(self, peer: Peer) -> bool:
        if peer.user != os.getuid() or is_bound(peer.pid) != is_bound(os.getpid()):
            return False
        line = lineage(peer.pid)
        return os.getpid() not in line and line == lineage(peer.pid) and peer.is_alive()

    def _leave(self, parent: int, descriptors: list[int], peer: Peer) -> int:
        """Leave in the forked process nothing of what is the nursery's; return what stands for the peer."""
        os.setsid()
        die_with_parent(parent)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
        connections = [key.fileobj for key in self._selector.get_map().values()]
        for each in (self._waker, self._listener, *connections):
            # Closed below; not once more, by a number that is another's then.
            if isinstance(each, socket.socket):
                each.detach()
        self._selector.close()
        handle = _DESCRIPTORS + 1
        os.dup2(peer.handle, handle, inheritable=False)
        os.closerange(handle + 1, os.sysconf("SC_OPEN_MAX"))
        return handle

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
        pending = self._pending.pop(connection, None)
        if pending is not None:
            pending.peer.close()
        self._waiters = {child: each for child, each in self._waiters.items() if each is not connection}

    def _timeout_s(self) -> float | None:
        ends_s = [*self._ends_s.values(), *(each.end_s for each in self._pending.values()), self._resume_s]
        if min(ends_s) == float("inf"):
            return None if self._waiters else _IDLE_LOOK_S
        return max(0.0, min(min(ends_s) - time.monotonic(), _IDLE_LOOK_S))

    def _drop_silent(self) -> None:
        now_s = time.monotonic()
        for connection in [each for each, pending in self._pending.items() if now_s >= pending.end_s]:
            self._drop(connection)

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


def _socket_time_ns(path: Path) -> int | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_mtime_ns if stat.S_ISSOCK(found.st_mode) else None


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")


def _send(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(child, number)
