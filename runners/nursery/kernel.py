"""Ask the kernel about processes (proc(5), prctl(2), unix(7))."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct

__all__ = ["adopt_orphans", "die_with_parent", "is_bound", "name_process", "parent_of", "peer_of"]

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_CREDENTIALS = struct.Struct("3i")
# Fields of /proc/<pid>/stat, counted behind the name, which may hold anything.
_PARENT, _ARGUMENTS_START, _ARGUMENTS_END = 1, 45, 46


def parent_of(pid: int) -> int:
    """Return the parent of a process; 0 if there is none, or no such process."""
    fields = _stat(pid)
    return int(fields[_PARENT]) if fields else 0


def is_bound(pid: int) -> bool:
    """Tell whether a process can never gain privileges, as after `landlock.confine` (prctl(2), NO_NEW_PRIVS).

    Raises:
        OSError: if there is no such process.
    """
    with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123  (pathlib takes time to import)
        return any(line.split() == [b"NoNewPrivs:", b"1"] for line in status)


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return process and user of who connected, or listens, as the kernel has noted it (SO_PEERCRED)."""
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(content)
    return pid, user


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end, so that none can hide where it is from."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int) -> None:
    """End this process with SIGKILL when its parent ends.

    Args:
        parent: which it must be; it may have ended before this call.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def name_process(words: list[str]) -> None:
    """Show other words as this process's command, as far as there is room for them."""
    fields = _stat(os.getpid())
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
    size = end - start
    text = "\0".join(words).encode()[: size - 1]
    ctypes.memmove(start, text.ljust(size, b"\0"), size)


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            content: bytes = stat.read()
    except OSError:
        return []
    return content.rpartition(b")")[2].split()
