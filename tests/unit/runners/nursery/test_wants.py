"""Whoever asks wrongly, too often, or when there is nothing to be had, harms nobody else."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.runners.nursery.client import Nursery, NurseryError
from tillstream.runners.nursery.peers import Peer
from tillstream.runners.nursery.server import Nursery as Server

from .asking import Asking, asking, connected, ends, is_dropped

__all__ = ["asking"]


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
    with asking.waiting() as found:
        nursery = found["nursery"]
        code, output, errors = asking.run("report")
        if lacks == "os.fork":
            assert code == 70
            assert "refused" in errors
        else:
            assert json.loads(output)["nursery"] == nursery
        assert asking.report()["nursery"] == nursery
        assert "no more" in asking.socket().with_suffix(".log").read_text()


def test_a_packet_that_is_no_signal_ends_that_job_alone(asking: Asking) -> None:
    """Its waiter is none of ours."""
    with asking.waiting() as found:
        nursery = found["nursery"]
        with connected(asking.socket()) as other, subprocess.Popen(["cat"], stdin=-1, stdout=-1) as output:
            assert output.stdin is not None
            assert output.stdout is not None
            socket.send_fds(other, [b"wait"], [output.stdin.fileno(), output.stdin.fileno()])
            mine = json.loads(output.stdout.readline())
            other.send(b"no signal")
            output.stdin.close()
            assert other.recv(1) == b""
        ends(mine["pid"], mine["child"])
        assert asking.report()["nursery"] == nursery


def test_who_says_nothing_is_dropped_after_a_while(asking: Asking) -> None:
    """Open files are not without end."""
    asking.begin_with("from tillstream.runners.nursery import server; server._PATIENCE_S = 0.5\n")
    with asking.waiting(), connected(asking.socket()) as silent:
        assert is_dropped(silent)


def test_no_more_than_so_many_are_waited_for(asking: Asking) -> None:
    """Who comes then is refused at once."""
    asking.begin_with("from tillstream.runners.nursery import server; server._PENDING_MAX = 1\n")
    with asking.waiting(), connected(asking.socket()), connected(asking.socket()) as second:
        assert is_dropped(second)


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
