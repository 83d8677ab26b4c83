"""Ask a nursery of a test's own for processes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

SERVER = (
    """
import sys
del sys.path[0]
from tillstream.runners.nursery.serving import serve
def run(request):
    import json, os, random, signal, subprocess
    from pathlib import Path
    from tillstream.runners.nursery.kernel import name_process
    command, *rest = request.arguments
    if command == "report":
        print(json.dumps({
            "pid": os.getpid(), "arguments": rest, "folder": os.getcwd(), "environment": dict(os.environ),
            "initial": Path("/proc/self/environ").read_text().split(chr(0)), "session": os.getsid(0),
            "open": [name for name in os.listdir("/proc/self/fd")], "random": random.random(),
            "nursery": os.getppid(), "abandoned": request.is_abandoned()}), flush=True)
    elif command == "exit":
        sys.exit(int(rest[0]))
    elif command == "kill":
        os.kill(os.getpid(), int(rest[0]))
    elif command == "wait":
        if rest == ["stubborn"]:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(5))
        child = subprocess.Popen(["sleep", "60"])
        name_process(["tillstream-harness", "process"])
        print(json.dumps({"pid": os.getpid(), "child": child.pid, "nursery": os.getppid()}), flush=True)
        signal.pause()
        signal.pause()
    elif command == "ask":
        # As a client's code could, that is bound by nothing.
        sys.exit(subprocess.run([sys.executable, *rest]).returncode)
serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), lambda: None, run)
"""
    + "#" * 80
)
CLIENT = """
import os, sys
from tillstream.runners.nursery.client import Nursery, stand_in
from pathlib import Path
folder, owner, server, code, *arguments = sys.argv[1:]
start = Path(server).read_text()
nursery = Nursery(folder, int(owner), os.environ, start=start, package=code)
nursery.name = os.environ.get("NURSERY") or nursery.name
stand_in(nursery.connect(), arguments, os.environ)
"""


class Asking:
    """Ask a nursery of this test's own for processes."""

    def __init__(self, folder: Path) -> None:
        self.sockets = folder / "sockets"
        self._server = folder / "server.py"
        self._server.write_text(SERVER)
        self.code = folder / "code"
        self.code.mkdir()
        self.client = folder / "client.py"
        self.client.write_text(CLIENT)
        # Stands for the TaskManager: what was forked ends with it.
        self.owner = subprocess.Popen(["sleep", "600"])

    def begin_with(self, program: str) -> None:
        """Have nurseries run this before all else."""
        self._server.write_text(program + SERVER)

    def socket(self) -> Path:
        """Return the path of the one nursery's socket."""
        (found,) = [each for each in self.sockets.iterdir() if each.is_socket()]
        return found

    def command(self, *arguments: str) -> list[str]:
        """Return the client's arguments behind the interpreter."""
        places = (str(self.client), str(self.sockets), str(self.owner.pid), str(self._server), str(self.code))
        return [*places, *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process, without waiting for it."""
        return subprocess.Popen(
            [sys.executable, *self.command(*arguments)],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @contextlib.contextmanager
    def waiting(self) -> Iterator[dict[str, Any]]:
        """Have a process that waits, and yield what it says first; asked to end it must do so."""
        process = self.start("wait")
        yield first_line(process)
        process.terminate()
        assert process.wait(20) == 5

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Return exit code, output and errors of a process."""
        process = self.start(*arguments, **environment)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output.decode(), errors.decode()

    def report(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Return what a forked process says of itself."""
        code, output, errors = self.run("report", *arguments, **environment)
        assert code == 0, errors
        found: dict[str, Any] = json.loads(output)
        return found


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    """Return a nursery's client, and end all of it afterwards."""
    found = Asking(tmp_path)
    yield found
    found.owner.kill()
    found.owner.wait()


def first_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what a process says first."""
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


@contextlib.contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    """Be connected to a nursery."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as found:
            # Its own path may be too long.
            found.connect(f"/proc/self/fd/{folder}/{path.name}")
            yield found
    finally:
        os.close(folder)


def is_dropped(connection: socket.socket) -> bool:
    """Wait until the other side ends a connection; tell whether it said nothing before."""
    connection.settimeout(20)
    return connection.recv(1) == b""


def ends(*pids: int) -> None:
    """Wait until processes have ended."""
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
    assert not left
