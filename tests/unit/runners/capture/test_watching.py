"""A watcher shows one look after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tillstream.runners.capture import watching
from tillstream.runners.capture.slots import Slot
from tillstream.runners.capture.spec import Capture, Login, Place
from tillstream.runners.capture.status import Status, alerts_of

CAPTURE = Capture("acme", "acme", ("public.orders",))
PLACE = Place(Login("h", 5432, "d", "u", None), "http://c", None, {}, "k:1", Path("/nowhere/p"), "${x}")
RUNNING = ("RUNNING", "RUNNING", "")


def slot(*, is_active: bool) -> Slot:
    """Return a slot of a server before Postgres 17."""
    return Slot(is_active, 1 if is_active else None, "reserved", 0, 0, None, 0.0, -1, None)


def test_a_slot_that_nobody_reads_at_two_looks_is_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts last for less, and an old server does not tell for how long nobody has read."""
    looks: Iterator[bool] = iter([True, False, True, False, False])

    def look(capture: Capture, place: Place, *, was_idle: bool = True) -> Status:
        found = slot(is_active=next(looks, True))
        alerts = alerts_of(capture, place, RUNNING, found, was_idle=was_idle)
        return Status("acme", *RUNNING, found, None, None, None, tuple(alerts))

    shown: list[int] = []

    def pause(_: float) -> None:
        if len(shown) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "look", look)
    watching.follow(
        CAPTURE, PLACE, 1.0, lambda found: shown.append(len(found.alerts)), say=pytest.fail, pause=pause
    )
    assert shown == [0, 0, 0, 0, 1, 0]
