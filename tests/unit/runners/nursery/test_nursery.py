"""Processes are forked from one that has imported everything, and are as isolated as if they were started."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tillstream.runners.nursery.client import Nursery, NurseryError
from tillstream.runners.nursery.forked import forked
from tillstream.runners.nursery.kept import BOUNDS_VARIABLE
from tillstream.runners.nursery.peers import Peer
from tillstream.runners.nursery.server import Nursery as Server

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


def ends(*pids: int) -> None:
    """Wait until processes have ended."""
    _, left = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
    assert not left


def test_it_is_forked_with_arguments_environment_and_folder_of_whoever_asks(asking: Asking) -> None:
    """It shares nothing open, and has a session, an environment and random numbers of its own."""
    first, second = asking.report("a", "", "b c", OURS="1"), asking.report(OURS="2")
    assert first["nursery"] == second["nursery"]
    assert (first["arguments"], first["folder"]) == (["a", "", "b c"], str(Path.cwd()))
    assert (first["environment"]["OURS"], second["environment"]["OURS"]) == ("1", "2")
    assert not any(entry.startswith("OURS=") for entry in first["initial"] + second["initial"])
    assert first["session"] == first["pid"]
    # The last one reads the folder.
    assert sorted(first["open"]) == ["0", "1", "2", "3"]
    assert first["random"] != second["random"]
    assert first["abandoned"] is True


def test_it_sees_the_variables_of_its_own_client(asking: Asking) -> None:
    """Others' are gone before anything is forked; nor does the nursery have them."""
    bounds = json.dumps({"variables": ["ACME_*"]})
    found = asking.report(**{BOUNDS_VARIABLE: bounds, "ACME_PASSWORD": "ours", "GLOBEX_PASSWORD": "theirs"})
    environment = found["environment"]
    assert environment["ACME_PASSWORD"] == "ours"
    assert "PATH" in environment
    assert "GLOBEX_PASSWORD" not in environment
    initial = " ".join(found["initial"])
    assert "PASSWORD" not in initial
    assert BOUNDS_VARIABLE not in initial


@pytest.mark.parametrize(("deed", "code"), [(("exit", "0"), 0), (("exit", "7"), 7), (("kill", "9"), 137)])
def test_whoever_asks_ends_with_its_exit_code(asking: Asking, deed: tuple[str, str], code: int) -> None:
    """A signal is told as shells tell it."""
    assert asking.run(*deed)[0] == code


def test_a_signal_is_handed_on(asking: Asking) -> None:
    """The forked process decides how to end, and what it has started ends with it."""
    process = asking.start("wait")
    found = first_line(process)
    assert forked(psutil.Process(), "process") == [psutil.Process(found["pid"])]
    assert forked(psutil.Process(), "other") == []
    process.terminate()
    assert process.wait(20) == 5
    ends(found["pid"], found["child"])


@pytest.mark.parametrize("kind", ["obedient", "stubborn"])
def test_it_ends_when_whoever_asked_is_killed(asking: Asking, kind: str) -> None:
    """Asked first, then killed."""
    process = asking.start("wait", kind)
    found = first_line(process)
    process.kill()
    ends(found["pid"], found["child"])


def test_all_end_with_the_nursery_and_another_one_follows(asking: Asking) -> None:
    """Whoever waits is told."""
    process = asking.start("wait")
    found = first_line(process)
    os.kill(found["nursery"], signal.SIGKILL)
    assert process.wait(20) == 70
    assert process.stderr is not None
    assert b"has ended" in process.stderr.readline()
    ends(found["pid"])
    # It has no parent left that would end it.
    os.kill(found["child"], signal.SIGKILL)
    assert asking.report()["nursery"] != found["nursery"]


def test_the_nursery_ends_with_its_taskmanager(asking: Asking) -> None:
    """But not before what it has forked."""
    process = asking.start("wait")
    found = first_line(process)
    asking.owner.kill()
    asking.owner.wait()
    nursery = psutil.Process(found["nursery"])
    assert nursery.is_running()
    process.terminate()
    assert process.wait(20) == 5
    ends(nursery.pid)


def test_many_at_once_share_one_nursery(asking: Asking) -> None:
    """The first of them starts it, and the others wait."""
    started = [asking.start("report") for _ in range(8)]
    assert len({first_line(process)["nursery"] for process in started}) == 1
    assert [process.wait(20) for process in started] == [0] * 8


def test_what_was_forked_can_ask_for_nothing(asking: Asking) -> None:
    """Else a client's code could have a process that is free of its bounds."""
    asking.report()
    code, _, errors = asking.run("ask", *asking.command("report"), NURSERY=asking.socket().name)
    assert code == 70
    assert "refused" in errors


def test_orphans_of_what_was_forked_can_ask_for_nothing(asking: Asking) -> None:
    """Whose parents have ended is still known to come from here."""
    program = "import os, sys; os.fork() and os._exit(0); os.setsid(); os.execv(sys.executable, sys.argv[1:])"
    asking.report()
    ask = asking.command("report")
    code, output, errors = asking.run(
        "ask", "-c", program, sys.executable, *ask, NURSERY=asking.socket().name
    )
    assert code == 0
    assert output == ""
    assert "refused" in errors


def test_a_bound_process_can_ask_for_nothing(asking: Asking) -> None:
    """It is found by what `landlock.confine` leaves on a process."""
    asking.report()
    program = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(38, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, sys.executable, *asking.command("report")]
    finished = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)
    assert finished.returncode != 0
    assert "listens in place of the nursery" in finished.stderr


def test_a_folder_that_others_can_write_is_refused(asking: Asking) -> None:
    """Somebody could listen there."""
    asking.sockets.mkdir(mode=0o755)
    asking.sockets.chmod(0o755)
    code, _, errors = asking.run("report")
    assert code != 0
    assert "expected 700" in errors


def test_newer_code_has_a_nursery_of_its_own_and_the_older_one_ends(asking: Asking) -> None:
    """What was changed since is never run from what was imported before."""
    process = asking.start("wait")
    old = first_line(process)["nursery"]
    (asking.code / "new.py").touch()
    new = asking.report()["nursery"]
    assert new != old
    process.terminate()
    assert process.wait(20) == 5
    ends(old)
    assert asking.report()["nursery"] == new


def test_a_stranger_who_says_nothing_stops_nobody(asking: Asking) -> None:
    """It is waited for beside the others."""
    asking.report()
    with connected(asking.socket()):
        assert asking.report()["abandoned"] is True


@pytest.mark.parametrize("lacks", ["os.fork", "socket.socket.accept"])
def test_want_of_processes_or_files_ends_no_job(asking: Asking, lacks: str) -> None:
    """Who asks then is refused, or waits; the others go on."""
    owner, _, name = lacks.rpartition(".")
    asking.begin_with(
        f"""
import errno, os, socket
found, calls = {lacks}, []
def lacking(*given):
    calls.append(1)
    if len(calls) == 2:
        raise OSError(errno.EAGAIN, "no more")
    return found(*given)
{owner}.{name} = lacking
"""
    )
    process = asking.start("wait")
    nursery = first_line(process)["nursery"]
    code, output, errors = asking.run("report")
    if lacks == "os.fork":
        assert code == 70
        assert "refused" in errors
    else:
        assert json.loads(output)["nursery"] == nursery
    assert asking.report()["nursery"] == nursery
    assert "no more" in asking.socket().with_suffix(".log").read_text()
    process.terminate()
    assert process.wait(20) == 5


def test_a_packet_that_is_no_signal_ends_that_job_alone(asking: Asking) -> None:
    """Its waiter is none of ours."""
    process = asking.start("wait")
    nursery = first_line(process)["nursery"]
    with connected(asking.socket()) as other, subprocess.Popen(["cat"], stdin=-1, stdout=-1) as output:
        assert output.stdin is not None
        assert output.stdout is not None
        socket.send_fds(other, [b"wait"], [output.stdin.fileno(), output.stdin.fileno()])
        found = json.loads(output.stdout.readline())
        other.send(b"no signal")
        output.stdin.close()
        assert other.recv(1) == b""
    ends(found["pid"], found["child"])
    assert asking.report()["nursery"] == nursery
    process.terminate()
    assert process.wait(20) == 5


def test_who_says_nothing_is_dropped_after_a_while(asking: Asking) -> None:
    """Open files are not without end."""
    asking.begin_with("from tillstream.runners.nursery import server; server._PATIENCE_S = 0.5\n")
    process = asking.start("wait")
    first_line(process)
    with connected(asking.socket()) as silent:
        silent.settimeout(20)
        assert silent.recv(1) == b""
    process.terminate()
    assert process.wait(20) == 5


def test_no_more_than_so_many_are_waited_for(asking: Asking) -> None:
    """Who comes then is refused at once."""
    asking.begin_with("from tillstream.runners.nursery import server; server._PENDING_MAX = 1\n")
    process = asking.start("wait")
    first_line(process)
    with connected(asking.socket()), connected(asking.socket()) as second:
        second.settimeout(20)
        assert second.recv(1) == b""
    process.terminate()
    assert process.wait(20) == 5


def ended() -> int:
    """Return what stands for a process that has ended."""
    process = subprocess.Popen(["true"])
    handle = os.pidfd_open(process.pid)
    process.wait()
    return handle


def test_a_process_with_the_number_of_one_that_asked_is_refused(tmp_path: Path) -> None:
    """Else a client's code would have a process with the environment of another client."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        subprocess.Popen(["cat"], stdin=-1) as cat,
    ):
        nursery = Server(listener, tmp_path / "socket", os.getpid())
        peer = Peer(os.getppid(), os.getuid(), os.pidfd_open(os.getppid()))
        assert nursery._is_outside(peer)
        assert not nursery._is_outside(peer._replace(handle=ended()))
        program = (
            "import sys; from tillstream.runners.nursery.server import Request; "
            "from tillstream.runners.nursery.serving import _settle; "
            "_settle(Request([], int(sys.argv[1]), 0, int(sys.argv[2])))"
        )
        for handle, code in ((os.pidfd_open(cat.pid), 0), (ended(), 1)):
            command = [sys.executable, "-c", program, str(cat.pid), str(handle)]
            finished = subprocess.run(
                command, capture_output=True, check=False, pass_fds=[handle], text=True, timeout=60
            )
            assert finished.returncode == code, finished.stderr
            assert code == 0 or "has ended" in finished.stderr


def test_who_connected_is_held(tmp_path: Path) -> None:
    """What has its number later is another."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        program = "import socket, sys; s = socket.socket(1, 5); s.connect(sys.argv[1]); sys.stdin.read()"
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "socket")], stdin=-1)
        peer = Peer.of(listener.accept()[0])
        assert (peer.pid, peer.user) == (process.pid, os.getuid())
        assert peer.is_alive()
        process.communicate()
        assert not peer.is_alive()


def test_a_folder_of_a_group_will_do(asking: Asking) -> None:
    """As Kubernetes makes volumes with `fsGroup`: what is made in them has the group's bit."""
    asking.sockets.parent.chmod(0o2777)
    asking.report()
    assert asking.sockets.stat().st_mode & 0o7777 in (0o2700, 0o700)
    asking.sockets.chmod(0o2700)
    asking.report()


def test_a_lock_that_is_held_for_ever_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's code could hold it."""
    monkeypatch.setattr("tillstream.runners.nursery.client._PATIENCE_S", 0)
    nursery = Nursery(str(tmp_path / "sockets"), os.getpid(), os.environ, package=str(tmp_path))
    (tmp_path / "sockets").mkdir(mode=0o700)
    with (tmp_path / "sockets" / f"{nursery.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NurseryError, match=r"another process holds it"):
            nursery.connect()


def test_another_process_that_listens_is_no_nursery(tmp_path: Path) -> None:
    """It would be handed what a job says."""
    nursery = Nursery(str(tmp_path / "sockets"), os.getpid(), os.environ, package=str(tmp_path))
    (tmp_path / "sockets").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "sockets" / nursery.name))
        listener.listen()
        with pytest.raises(NurseryError, match=r"listens in place of the nursery"):
            nursery.connect()
