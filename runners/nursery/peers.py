"""Hold on to the process at the other end of a connection, so that its number is not taken for another's."""

from __future__ import annotations

import os
import select
import socket
from typing import NamedTuple

from tillstream.runners.nursery.kernel import parent_of, peer_of

__all__ = ["Peer", "is_alive", "lineage"]

# unix(7) since Linux 6.5; Python has no name for it.
_SO_PEERPIDFD = 77


class Peer(NamedTuple):
    """Be a process that has connected, or listens.

    What `/proc` says of its number is said of itself, if it is alive afterwards.

    Attributes:
        pid: its number.
        user: whose it is.
        handle: open for as long as it is held (pidfd_open(2)).
    """

    pid: int
    user: int
    handle: int

    @classmethod
    def of(cls, connection: socket.socket) -> Peer:
        """Return who is at the other end; before Linux 6.5, who has its number by now.

        Raises:
            OSError: if it has ended, or no more files can be opened.
        """
        pid, user = peer_of(connection)
        try:
            handle = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
        except OSError:
            handle = os.pidfd_open(pid)
        return cls(pid, user, handle)

    def is_alive(self) -> bool:
        """Tell whether it runs still."""
        return is_alive(self.handle)

    def close(self) -> None:
        """Hold it no longer."""
        os.close(self.handle)


def is_alive(handle: int) -> bool:
    """Tell whether the process runs that an open file stands for."""
    ended = select.poll()
    ended.register(handle, select.POLLIN)
    return not ended.poll(0)


def lineage(pid: int) -> list[int]:
    """Return a process, its parent, and so on up to the first.

    Numbers can change hands while it is read: what is found twice of a process that is alive is true.
    """
    found = [pid]
    while found[-1] > 1:
        found.append(parent_of(found[-1]))
    return found
