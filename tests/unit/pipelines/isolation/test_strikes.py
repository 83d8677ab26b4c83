"""Records that broke processes are condemned, once that is sure enough."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec

from tillstream.pipelines.isolation.recorder import Wreck
from tillstream.pipelines.isolation.strikes import Strike, StrikeStore, _strikes

PLACE = ("acme.x@1.0.0", "acme.public.orders", 0)
RECORD = (*PLACE, 7, 0x7F00)
SEGFAULT = (
    "Fatal Python error: Segmentation fault\n\n"
    "Thread 0x0000000000000001 (most recent call first):\n  File a\n\n"
    "Current thread 0x0000000000007f00 (most recent call first):\n  File b\n\nExtension modules: x"
)
TIMEOUT = "Timeout (0:00:12)!\nThread 0x0000000000007f00 (most recent call first):\n  File c\n"


def condemned(store: StrikeStore) -> dict[int, str]:
    """Return the reasons of condemned records, by offset."""
    return {offset: strike.kind for offset, strike in (store.condemned(*PLACE) or {}).items()}


def test_two_deaths_condemn_a_record(tmp_path: Path) -> None:
    """One may be somebody else's doing."""
    for expected in ({}, {7: "crashed"}):
        StrikeStore(tmp_path).add([Strike(*PLACE, 7, "crashed")])
        store = StrikeStore(tmp_path)
        store.refresh()
        assert condemned(store) == expected
    error = (store.condemned(*PLACE) or {})[7].error()
    assert (error.reason, "died while process worked on it" in error.detail) == ("crashed", True)


def test_another_place_is_another_record(tmp_path: Path) -> None:
    """Strikes are one transform's version's, topic's, partition's and offset's."""
    store = StrikeStore(tmp_path)
    store.add([Strike(*PLACE, 7, "crashed"), Strike("acme.x@1.0.1", *PLACE[1:], 7, "crashed")])
    store.add([Strike(*PLACE, 8, "crashed"), Strike(PLACE[0], PLACE[1], 1, 7, "crashed")])
    assert condemned(store) == {}


def test_other_processes_strikes_are_seen(tmp_path: Path) -> None:
    """What one process adds, another one finds when it looks."""
    ours, theirs = StrikeStore(tmp_path), StrikeStore(tmp_path)
    theirs.add([Strike(*PLACE, 7, "timed_out", 2, trace="where")])
    assert condemned(ours) == {}
    ours.refresh()
    assert (ours.condemned(*PLACE) or {})[7].trace == "where"


def test_strikes_are_bounded_and_age(tmp_path: Path) -> None:
    """The newest thousand of one day are kept."""
    store = StrikeStore(tmp_path)
    store.add([Strike(*PLACE, offset, "crashed", 2) for offset in range(1500)])
    assert set(condemned(store)) == set(range(500, 1500))
    file = tmp_path / "strikes.json"
    content = json.loads(file.read_text())
    for strike in content["strikes"]:
        strike["at_s"] = time.time() - 25 * 3600
    file.write_text(json.dumps(content))
    store.add([Strike(*PLACE, 1, "crashed", 2)])
    assert set(condemned(store)) == {1}


def test_version_1_is_read_and_others_are_left(tmp_path: Path) -> None:
    """A file as version 1 wrote it is read; a newer one counts as empty."""
    strike = {"transform": PLACE[0], "topic": PLACE[1], "partition": 0, "offset": 7, "kind": "crashed"}
    for version, expected in ((1, {7: "crashed"}), (2, {})):
        content = {
            "version": version,
            "strikes": [{**strike, "weight": 2, "at_s": time.time(), "trace": None}],
        }
        (tmp_path / "strikes.json").write_text(json.dumps(content))
        store = StrikeStore(tmp_path)
        store.refresh()
        assert condemned(store) == expected
    (tmp_path / "strikes.json").write_bytes(os.urandom(100))
    StrikeStore(tmp_path).refresh()


def test_a_fault_of_the_records_own_thread_is_sure() -> None:
    """It condemns at once, with what that thread was at; that of another thread blames no record."""
    (strike,) = _strikes(Wreck((RECORD,), SEGFAULT))
    assert (strike.kind, strike.weight) == ("crashed", 2)
    expected = "Fatal Python error: Segmentation fault\n"
    expected += "Current thread 0x0000000000007f00 (most recent call first):\n  File b"
    assert strike.trace == expected
    assert _strikes(Wreck(((*PLACE, 7, 1),), SEGFAULT)) == []


def test_a_hang_that_nothing_could_interrupt_is_told_by_the_timer() -> None:
    """The timer's own text says so; a death without any is a crash."""
    (hung,), (died,) = _strikes(Wreck((RECORD,), TIMEOUT)), _strikes(Wreck((RECORD,), ""))
    assert msgspec.structs.astuple(hung)[4:6] == ("timed_out", 1)
    assert str(hung.trace).endswith("File c\n")
    assert msgspec.structs.astuple(died)[4:6] == ("crashed", 1)
