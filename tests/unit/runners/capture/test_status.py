"""A status names what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tillstream.runners.capture.slots import Slot
from tillstream.runners.capture.spec import Capture, Login, Place
from tillstream.runners.capture.status import alerts_of, states_of
from tillstream.runners.capture.watching import is_abandoned

CAPTURE = Capture("acme", "acme", ("public.orders",))
PLACE = Place(
    Login("h", 5432, "d", "u", None), "http://c", None, {}, "k:1", Path("/p"), "${x}", slot_alert_bytes=100
)
SLOT = Slot(
    is_active=True,
    reader=1,
    wal_status="reserved",
    retained_bytes=50,
    lag_bytes=5,
    safe_bytes=None,
    lag_s=0.0,
    cap_bytes=-1,
    inactive_s=None,
)
RUNNING = ("RUNNING", "RUNNING", "")
# Of a server before Postgres 17.
OLD: dict[str, Any] = {"is_active": False, "reader": None, "inactive_s": None}
IDLE: dict[str, Any] = {"is_active": False, "reader": None, "inactive_s": 90.0}


@pytest.mark.parametrize(
    ("states", "slot", "said"),
    [
        (RUNNING, SLOT, []),
        (("PAUSED", "PAUSED", ""), replace(SLOT, **IDLE), []),
        (
            ("MISSING", "MISSING", ""),
            None,
            ["there is no connector acme-source: tillstream capture create acme"],
        ),
        (
            ("RUNNING", "FAILED", "boom"),
            SLOT,
            ["boom: mend that (the log of connect tells more), then 'tillstream capture resume acme'"],
        ),
        (RUNNING, None, ["there is no replication slot tillstream_acme"]),
        (RUNNING, replace(SLOT, wal_status="lost"), ["tillstream_acme is lost"]),
        (
            ("PAUSED", "PAUSED", ""),
            replace(SLOT, retained_bytes=101),
            ["the slot keeps 0 MB of log, more than"],
        ),
        (RUNNING, replace(SLOT, **IDLE), ["nobody has read the slot for 90 s"]),
        (RUNNING, replace(SLOT, **{**IDLE, "inactive_s": 9.0}), []),
        (RUNNING, replace(SLOT, **OLD), ["nobody has read the slot though the connector runs"]),
        (("PAUSED", "PAUSED", ""), replace(SLOT, **OLD), []),
        (("UNASSIGNED", "NONE", ""), replace(SLOT, **OLD), []),
    ],
)
def test_alerts(states: tuple[str, str, str], slot: Slot | None, said: list[str]) -> None:
    """Each way in which changes are lost, or a disk fills, is an alert; a pause alone is none."""
    found = alerts_of(CAPTURE, PLACE, states, slot)
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_failure_is_told_by_its_innermost_cause() -> None:
    """A stack trace is a line."""
    trace = "org.X: outer\n\tat a.b(C.java)\nCaused by: java.Y: database is down\n\tat d.e(F.java)\n"
    status: dict[str, Any] = {
        "connector": {"state": "RUNNING"},
        "tasks": [{"state": "FAILED", "trace": trace}],
    }
    assert states_of(status) == ("RUNNING", "FAILED", "java.Y: database is down")
    assert states_of(None) == ("MISSING", "MISSING", "")


@pytest.mark.parametrize(
    ("slot", "is_it"),
    [
        (None, False),
        (replace(SLOT, retained_bytes=101), False),
        (replace(SLOT, **IDLE), False),
        (replace(SLOT, retained_bytes=101, **IDLE), True),
    ],
)
def test_only_a_slot_that_nobody_reads_is_abandoned(slot: Slot | None, *, is_it: bool) -> None:
    """A reader that is slow keeps its slot, however much log that keeps."""
    assert is_abandoned(slot, 100) is is_it
