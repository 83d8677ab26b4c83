"""Processes outlive their starter and are never taken for others."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tillstream.runners.local.process import Command, ProcessId, alive, kill, marked, start, stop

Launch = Callable[..., ProcessId]

# It says that it is set up, so that a test does not signal it too early.
_STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
signal.pause()
"""
_PARENT = """
import signal, subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid, flush=True)
signal.pause()
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Return a function that starts Python code and ends it after the test."""
    started: list[ProcessId] = []

    def begin(code: str, **environment: str) -> ProcessId:
        identity = start(Command([sys.executable, "-c", code], environment), tmp_path / "out", tmp_path)
        started.append(identity)
        return identity

    yield begin
    kill(process for identity in started if (process := alive(identity)))


def _first_line(path: Path, deadline_s: float = 10.0) -> str:
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        text = path.read_text() if path.exists() else ""
        if "\n" in text:
            return text.splitlines()[0]
    raise AssertionError(f"{path} stays empty")


def test_started_process_is_alive_in_its_own_session(launch: Launch) -> None:
    """A started process is found again and has a session of its own."""
    found = alive(launch("import signal; signal.pause()"))
    assert found is not None
    assert os.getsid(found.pid) == found.pid


def test_recycled_pid_is_another_process(launch: Launch) -> None:
    """A pid whose process started at another time is not ours any more."""
    identity = launch("import signal; signal.pause()")
    assert alive(dataclasses.replace(identity, started_s=identity.started_s - 60)) is None


def test_ended_process_is_not_alive(launch: Launch) -> None:
    """A child that ended is not alive, and leaves no zombie."""
    identity = launch("")
    psutil.Process(identity.pid).wait(10)
    assert alive(identity) is None
    assert not psutil.pid_exists(identity.pid)


def test_nothing_is_not_alive() -> None:
    """What was never started is not alive."""
    assert alive(None) is None


def test_marked_finds_processes_by_variable(launch: Launch) -> None:
    """A process that nobody wrote down is found by the variable that it was started with."""
    identity = launch("import signal; signal.pause()", TILLSTREAM_TEST_MARK="this one")
    launch("import signal; signal.pause()", TILLSTREAM_TEST_MARK="another one")
    assert [found.pid for found in marked("TILLSTREAM_TEST_MARK", "this one")] == [identity.pid]


def test_stop_kills_what_ignores_its_signal(launch: Launch, tmp_path: Path) -> None:
    """A process that does not heed the signal is killed after the grace."""
    identity = launch(_STUBBORN)
    _first_line(tmp_path / "out")
    process = alive(identity)
    assert process is not None
    stop([(process, signal.SIGTERM)], grace_s=0.2)
    assert alive(identity) is None


def test_stop_tolerates_processes_that_are_gone(launch: Launch) -> None:
    """Stopping what has ended already is no error."""
    process = psutil.Process(launch("").pid)
    process.wait(10)
    stop([(process, signal.SIGTERM)], grace_s=5)


def test_kill_takes_children_along(launch: Launch, tmp_path: Path) -> None:
    """Killing a process also ends what it started."""
    process = alive(launch(_PARENT))
    assert process is not None
    child = psutil.Process(int(_first_line(tmp_path / "out")))
    kill([process])
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_output_is_kept(launch: Launch, tmp_path: Path) -> None:
    """What a process prints on either stream is in its file."""
    psutil.Process(launch("import sys; print('one', flush=True); sys.exit('two')").pid).wait(10)
    assert (tmp_path / "out").read_text() == "one\ntwo\n"
