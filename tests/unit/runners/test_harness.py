"""The harness limits its memory, and what it sees, before it runs a client's code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.pipelines.isolation.recorder import read_wrecks
from tillstream.runners.bounds import BOUNDS_VARIABLE, FOLDER_VARIABLE, Bounds

PROGRAM = """
from tillstream.runners.harness import limit_memory_mb
limit_memory_mb(256)
small = bytearray(16 * 1024 * 1024)
try:
    large = bytearray(512 * 1024 * 1024)
except MemoryError:
    print("refused")
"""


def test_past_the_limit_memory_is_refused() -> None:
    """An allocation past the limit fails in the process that asks, so that its neighbours keep theirs."""
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert finished.stdout == "refused\n"


ISOLATED = """
import json, os, signal, sys
from tillstream.runners.harness import _isolate
from tillstream.pipelines.isolation.process import shared
_isolate("/nowhere")
flight = shared().flight("acme.x@1.0.0")
flight.identify("acme.public.orders", 0, 1)
flight.words[0] = 7
print(json.dumps(os.environ["TILLSTREAM_FLIGHTS"]), flush=True)
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
signal.pause()
"""


@pytest.mark.parametrize(("kind", "blamed"), [("SIGTERM", []), ("SIGKILL", [7])])
def test_a_death_that_was_asked_for_blames_no_record(kind: str, blamed: list[int], tmp_path: Path) -> None:
    """What earlier launches left is gone."""
    script = tmp_path / "harness.py"
    script.write_text(ISOLATED)
    old = tmp_path / "flights" / "acme" / "41"
    old.mkdir(parents=True)
    bounds = Bounds("acme", 42, "http://127.0.0.1:1", (), (), ())
    given = {BOUNDS_VARIABLE: bounds.encode(), FOLDER_VARIABLE: str(tmp_path / "flights")}
    finished = subprocess.run(
        [sys.executable, str(script), kind],
        env={**os.environ, **given},
        capture_output=True,
        check=False,
    )
    folder = json.loads(finished.stdout)
    assert Path(folder) == old.parent / "42"
    assert finished.returncode == (128 + signal.SIGTERM if kind == "SIGTERM" else -signal.SIGKILL)
    assert not old.exists()
    assert [record[3] for wreck in read_wrecks(Path(folder)) for record in wreck.records] == blamed


def test_a_shadow_leaves_the_folder_of_the_job_that_runs(tmp_path: Path) -> None:
    """A canary begins later than the client's job; that one's temporary files and code stay."""
    script = tmp_path / "harness.py"
    script.write_text(ISOLATED)
    running = tmp_path / "flights" / "acme" / "41"
    running.mkdir(parents=True)
    bounds = Bounds("acme", 42, "http://127.0.0.1:1", (), (), (), job="acme-canary-new")
    given = {BOUNDS_VARIABLE: bounds.encode(), FOLDER_VARIABLE: str(tmp_path / "flights")}
    finished = subprocess.run(
        [sys.executable, str(script), "SIGTERM"],
        env={**os.environ, **given},
        capture_output=True,
        check=False,
    )
    assert Path(json.loads(finished.stdout)) == tmp_path / "flights" / "acme-canary-new" / "42"
    assert running.exists()
