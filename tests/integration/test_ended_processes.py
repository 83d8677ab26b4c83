"""What ends a process is known to the next one, whatever a client's code did to the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE

pytestmark = pytest.mark.integration

PROGRAM = """
import ctypes, itertools, json, os, select, sys
from tillstream.configs.limits import Limits
from tillstream.pipelines.isolation.guard import RecordGuard
from tillstream.pipelines.isolation.process import shared
from tillstream.pipelines.isolation.watchdog import exit_with
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
deeds = {"wait": lambda: select.select([], [], [], 600), "exit": lambda: os._exit(3),
         "lock": lambda: sum(itertools.repeat(1)), "crash": lambda: ctypes.string_at(0)}
if sys.argv[2] == "direct":
    shared().watchdog.stuck = exit_with
record = ChangeRecord(7, Operation.CREATE, (7,), (7,), 1000, None, b"{}")
guard = RecordGuard(Limits(record_timeout_ms=200), "acme.act@1.0.0")
guard.begin(ChangeBatch("acme", "orders", 0, "acme.public.orders", 3, ("id",), (record,)))
if guard.condemned is None:
    guard.enter(record)
    deeds[sys.argv[1]]()
strike = guard.condemned[7]
print(json.dumps([strike.error().reason, strike.trace or ""]))
"""


def test_a_process_without_memory_left_starts_anew(tmp_path: Path) -> None:
    """It does not wait for a thread of Beam's that failed without a word."""
    program = """
import resource, threading
from tillstream.configs.limits import Limits
from tillstream.pipelines.isolation.guard import RecordGuard
from tillstream.pipelines.isolation.process import data_bytes
resource.setrlimit(resource.RLIMIT_DATA, (512 << 20, 512 << 20))
guard = RecordGuard(Limits(record_timeout_ms=200), "acme.act@1.0.0")
held = bytes((504 << 20) - data_bytes())
threading.Event().wait(60)
"""
    environment = {**os.environ, FLIGHTS_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=50)
    assert finished.returncode == 70, finished.stderr
    assert b"has used up flink.memory_mb_max" in finished.stderr


@pytest.mark.parametrize(
    ("deed", "deaths", "reason", "trace"),
    [
        ("wait", 1, "timed_out", "<lambda>"),
        ("lock", 2, "timed_out", "<lambda>"),
        ("exit", 2, "crashed", ""),
        ("crash", 1, "crashed", "string_at"),
    ],
)
def test_what_ends_the_process_is_found_by_the_next(
    deed: str, deaths: int, reason: str, trace: str, tmp_path: Path
) -> None:
    """After at most two processes a third one knows the record, why, and where the code was."""
    environment = {**os.environ, FLIGHTS_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, deed, "flink"]
    ended: list[int] = []
    while 0 not in ended and len(ended) <= deaths:
        finished = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        ended.append(finished.returncode)
    assert ended[deaths:] == [0], finished.stderr
    found, traceback = json.loads(finished.stdout)
    assert found == reason
    assert trace in traceback


def test_where_nobody_starts_it_again_a_hang_ends_the_run() -> None:
    """The one who waits is told which record of which transform it is at, and where."""
    command = [sys.executable, "-c", PROGRAM, "wait", "direct"]
    finished = subprocess.run(command, capture_output=True, check=False, text=True, timeout=60)
    assert finished.returncode == 1
    expected = "error: transform acme.act@1.0.0 works on acme.public.orders[3] offset 7 for more than 0.2 s"
    assert expected in finished.stderr


STEP_PROGRAM = """
import ctypes, itertools, os, select, sys
from tillstream.configs.limits import Limits
from tillstream.pipelines.isolation.guard import RecordGuard
from tillstream.pipelines.isolation.steps import run_step
deeds = {"wait": lambda: select.select([], [], [], 600), "lock": lambda: sum(itertools.repeat(1)),
         "exit": lambda: os._exit(3), "crash": lambda: ctypes.string_at(0)}
try:
    run_step(RecordGuard(Limits(record_timeout_ms=200), "acme.odd@1.0.0"), "start_bundle", deeds[sys.argv[1]])
except Exception as error:
    print(error, error.final)
"""


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("wait", "did not end within limits.record_timeout_ms, twice True"),
        ("lock", "did not end within limits.record_timeout_ms, twice True"),
        ("exit", "ended the process, twice True"),
        ("crash", "ended the process, twice True"),
    ],
)
def test_what_ends_two_processes_is_not_tried_by_the_third(deed: str, said: str, tmp_path: Path) -> None:
    """A hang in C, or a crash, cannot go on for ever."""
    environment = {**os.environ, FLIGHTS_VARIABLE: str(tmp_path)}
    command = [sys.executable, "-c", STEP_PROGRAM, deed]
    for code in (True, True, False):
        finished = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        assert bool(finished.returncode) is code, finished.stderr
    assert finished.stdout.decode().strip() == said
