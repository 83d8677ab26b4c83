"""Have a process forked from the nursery of this TaskManager, and stand for it: what Flink starts.

Each TaskManager has a nursery of its own, which lives as long as it does; the first process that is asked for
starts it. It is known by the TaskManager's process, the interpreter, the code that it has imported and its
environment: what was changed since is never run from an older one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from tillstream.runners.nursery.kept import BOUNDS_VARIABLE, bare, keep
from tillstream.runners.nursery.kernel import is_bound
from tillstream.runners.nursery.peers import Peer

__all__ = ["NAME", "Nursery", "main", "stand_in"]

NAME = "tillstream-harness"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
_WAITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "waiter.py")  # noqa: PTH100, PTH118, PTH120
# The working folder is no place to import from.
_START = (
    "import sys; del sys.path[0]; from tillstream.runners.nursery.serving import main; main(*sys.argv[1:]) # "
)
# Room for the names of what is forked (`kernel.name_process`).
_ROOM = " " * 160
_OWNER_ONLY = 0o700
_OTHERS = 0o077
# Each thread of a library that works on its own is one more in every process.
_QUIET = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
_READY_FD = 3
# The imports of a nursery take seconds; on a machine that has much else to do, a minute.
_PATIENCE_S = 180
_LOOK_S = 0.05


class NurseryError(Exception):
    """Say why no process can be had."""


class Nursery:
    """Be the nursery of one TaskManager, seen from those who need a process.

    Args:
        folder: of sockets and locks; made if need be.
        taskmanager: process that it serves.
        environment: of who asks.
        start: Python program that runs it, with folder, name and TaskManager as arguments.
        package: folder of the code that it imports.
    """

    def __init__(
        self,
        folder: str,
        taskmanager: int,
        environment: Mapping[str, str],
        *,
        start: str = _START + _ROOM,
        package: str = _PACKAGE,
    ) -> None:
        self._folder = folder
        self._taskmanager = taskmanager
        self._environment = {**_QUIET, **bare(environment)}
        self._start_program = start
        parts = [sys.executable, start, *sorted("=".join(item) for item in self._environment.items())]
        digest = hashlib.blake2b("\0".join([*parts, *_code_of(package)]).encode(), digest_size=8).hexdigest()
        self.name = f"{taskmanager}-{digest}"

    def connect(self) -> socket.socket:
        """Return a connection to it; it is started if it does not run.

        Raises:
            NurseryError: if it does not start, or is none of ours.
        """
        folder = self._open_folder()
        try:
            # A socket's path may be long; this one never is.
            address = f"/proc/self/fd/{folder}/{self.name}"
            found = self._try(address)
            if found is not None:
                return found
            lock = os.open(f"{address}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._lock(lock)
                found = self._try(address)
                if found is None:
                    self._start(f"{address}.log")
                    found = self._try(address)
            finally:
                os.close(lock)
            if found is None:
                raise NurseryError(f"{self._folder}/{self.name}.log says why the nursery does not run")
            return found
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, _OWNER_ONLY)  # noqa: PTH102
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        found = os.fstat(folder)
        # In a folder of a group (`fsGroup` of Kubernetes), the group's bit is on it as well.
        if found.st_uid != os.getuid() or found.st_mode & _OTHERS:
            os.close(folder)
            raise NurseryError(
                f"{self._folder}: found mode {stat.S_IMODE(found.st_mode):o} of user {found.st_uid}, "
                f"expected {_OWNER_ONLY:o} of user {os.getuid()}: remove it, or set TMPDIR to another place"
            )
        return folder

    def _lock(self, lock: int) -> None:
        """Wait until no other one starts it; a client's code could hold the lock without end."""
        end_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    raise NurseryError(
                        f"{self._folder}/{self.name}.lock: another process holds it since {_PATIENCE_S} s, "
                        "expected a nursery to start within that time: end that process (`fuser` names it)"
                    ) from None
                time.sleep(_LOOK_S)
            else:
                return

    def _try(self, address: str) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Who listens may take no one any more (unix(7): this holds for `connect` too).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE_S, 0))
        try:
            connection.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return None
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
        peer = Peer.of(connection)
        try:
            if not self._is_nursery(peer):
                raise NurseryError(f"process {peer.pid} of user {peer.user} listens in place of the nursery")
        finally:
            peer.close()
        return connection

    def _is_nursery(self, peer: Peer) -> bool:
        # A client's code could listen in its place; if it is bound, it stays so.
        if peer.user != os.getuid() or is_bound(peer.pid) != is_bound(os.getpid()):
            return False
        with open(f"/proc/{peer.pid}/cmdline", "rb") as command:  # noqa: PTH123
            words = command.read().split(b"\0")
        return words[-4:] == [os.fsencode(word) for word in (*self._places(), "")] and peer.is_alive()

    def _places(self) -> tuple[str, str, str]:
        return self._folder, self.name, str(self._taskmanager)

    def _start(self, log: str) -> None:
        ready, told = os.pipe()
        command = [sys.executable, "-c", self._start_program, *self._places()]
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, told, _READY_FD),
        ]
        os.posix_spawn(sys.executable, command, self._environment, file_actions=actions, setsid=True)
        os.close(told)
        # Nothing comes if it has ended: then there is none to connect to.
        os.read(ready, 1)
        os.close(ready)


def _code_of(package: str) -> Iterator[str]:
    """Yield what changes when the code that a nursery imports does."""
    found = []
    for folder, folders, files in os.walk(package, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(folder, name)  # noqa: PTH118
                entry = os.stat(path)  # noqa: PTH116
                found.append(f"{path} {entry.st_size} {entry.st_mtime_ns}")
    yield from sorted(found)
    # Where packages are installed, others are too; that changes the folder.
    for folder in sys.path:
        if folder.endswith(("site-packages", "dist-packages")) and os.path.isdir(folder):  # noqa: PTH112
            yield f"{folder} {os.stat(folder).st_mtime_ns}"  # noqa: PTH116


def stand_in(connection: socket.socket, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Become the process that stands for a forked one; does not return.

    Args:
        connection: to the nursery.
        arguments: of the forked process.
        environment: of this one, which names what a client's job may see; the forked one has the same.
    """
    bounds = environment.get(BOUNDS_VARIABLE)
    if bounds is not None:
        import json

        environment = keep(json.loads(bounds)["variables"], environment)
    os.dup2(connection.fileno(), 0)
    command = [sys.executable, "-I", "-S", _WAITER, NAME, *arguments]
    os.execve(sys.executable, command, dict(environment))  # noqa: S606


def main() -> None:
    """Be what Flink's process environment starts for each job."""
    folder = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"tillstream-{os.getuid()}")  # noqa: PTH118, S108
    try:
        connection = Nursery(folder, os.getppid(), os.environ).connect()
    except (NurseryError, OSError) as error:
        sys.exit(f"{NAME}: {error}")
    stand_in(connection, sys.argv[1:], os.environ)
