"""A flight file tells what a process died at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.pipelines.isolation.recorder import FlightRecorder, Wreck, read_wrecks

PROGRAM = """
import faulthandler, os, sys
from pathlib import Path
from tillstream.pipelines.isolation.recorder import FlightRecorder
recorder = FlightRecorder(Path(sys.argv[1]))
idle, busy = recorder.flight("acme.idle@1.0.0"), recorder.flight("acme.busy@1.0.0")
idle.identify("acme.public.orders", 1, 11)
busy.identify("acme.public.orders", 1, 12)
for offset in range(43):
    busy.words[0] = offset
if sys.argv[2] == "ended":
    recorder.end()
if os.fork() == 0:
    # A child that lives on keeps nothing of its parent's alive.
    os.setsid()
    sys.stdin.read()
    os._exit(0)
print("ready", flush=True)
os.kill(os.getpid(), 9)
"""
BUSY = ("acme.busy@1.0.0", "acme.public.orders", 1, 42, 12)


def killed(folder: Path, how: str = "") -> None:
    """Let a process work on a record, then die."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), how], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    assert process.wait(30) == -signal.SIGKILL
    assert [each.records for each in read_wrecks(folder)] == ([] if how == "ended" else [(BUSY,)])
    assert process.stdin is not None
    process.stdin.close()


def test_what_a_killed_process_was_at_is_found_once(tmp_path: Path) -> None:
    """SIGKILL leaves the last offset noted; reading it removes it."""
    killed(tmp_path)
    assert list(read_wrecks(tmp_path)) == []
    assert not list(tmp_path.iterdir())


def test_an_end_in_good_order_leaves_nothing(tmp_path: Path) -> None:
    """What happens after the end is noted is no record's fault."""
    killed(tmp_path, "ended")


def test_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """Only wreckage is read: not this process's own file, and not one whose owner lives."""
    recorder = FlightRecorder(tmp_path)
    flight = recorder.flight("acme.busy@1.0.0")
    flight.identify("t", 0, 1)
    flight.words[0] = 7
    assert list(read_wrecks(tmp_path)) == []
    look = (
        "import sys; from pathlib import Path; "
        "from tillstream.pipelines.isolation.recorder import read_wrecks; "
        "print(len(list(read_wrecks(Path(sys.argv[1])))))"
    )
    found = subprocess.run([sys.executable, "-c", look, str(tmp_path)], capture_output=True, check=True)
    assert found.stdout == b"0\n"
    recorder.end()


def test_more_dofns_than_places_do_no_harm(tmp_path: Path) -> None:
    """A DoFn without a place works on; places of DoFns that are gone are used again."""
    recorder = FlightRecorder(tmp_path)
    for _ in range(1000):
        recorder.flight("acme.one@1.0.0").words[0] = 1
    many = [recorder.flight("acme.one@1.0.0") for _ in range(300)]
    assert [each.words[0] for each in many] == [-1] * 300
    recorder.end()


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 263168, b"x" * 263168, b"TSFLIGHT" + b"\2" + b"\0" * 263159]
)
def test_files_of_other_forms_are_removed(tmp_path: Path, content: bytes) -> None:
    """Damage, and other versions, blame nobody."""
    (tmp_path / "1-00.flight").write_bytes(content)
    assert list(read_wrecks(tmp_path)) == [Wreck((), "")]
    assert not list(tmp_path.iterdir())


def test_version_1_is_read(tmp_path: Path) -> None:
    """A file as version 1 wrote it stays readable, also by a process of the same id."""
    block = bytearray(1024 * 257)
    words = memoryview(block).cast("q")
    words[0], words[1], words[2] = int.from_bytes(b"TSFLIGHT", "little"), 1, 5
    name = b"\x93\xa1a\xa1t\x03"
    words[128], words[129], words[130] = 9, 8, len(name)
    block[1024 + 24 : 1024 + 24 + len(name)] = name
    del words
    (tmp_path / f"{os.getpid()}-00.flight").write_bytes(block)
    assert [each.records for each in read_wrecks(tmp_path)] == [(("a", "t", 3, 9, 8),)]
