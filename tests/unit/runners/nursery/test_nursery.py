"""Processes are forked from one that has imported everything, and are as isolated as if they were started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tillstream.runners.nursery.forked import forked
from tillstream.runners.nursery.kept import BOUNDS_VARIABLE

from .asking import Asking, asking, ends, first_line

__all__ = ["asking"]


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
    with asking.waiting() as found:
        assert forked(psutil.Process(), "process") == [psutil.Process(found["pid"])]
        assert forked(psutil.Process(), "other") == []
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
    with asking.waiting() as found:
        asking.owner.kill()
        asking.owner.wait()
        nursery = psutil.Process(found["nursery"])
        assert nursery.is_running()
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
    with asking.waiting() as found:
        old = found["nursery"]
        (asking.code / "new.py").touch()
        new = asking.report()["nursery"]
        assert new != old
    ends(old)
    assert asking.report()["nursery"] == new
