"""Whoever is asked whether to go on has been told what would happen, and nothing was touched by then."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cluster import install
from .operations import Commands


def test_nobody_agrees_before_the_plan_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a no nothing was touched, and nothing is noted."""
    acme = Commands(tmp_path, install(monkeypatch, tmp_path), monkeypatch)
    asked: list[tuple[str, int]] = []

    def refuse(question: str) -> bool:
        asked.append((question, len(acme.lines)))
        return False

    before, noted = acme.jobs(), acme.history()
    done = acme.upgrade(agrees=refuse)
    assert (done.outcome, done.is_good) == ("not begun", False)
    ((question, lines),) = asked
    assert (question, lines > 0) == ("upgrade acme?", True)
    assert (acme.jobs(), acme.history()) == (before, noted)


def test_a_roll_back_says_where_to_before_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an upgrade does."""
    acme = Commands(tmp_path, install(monkeypatch, tmp_path), monkeypatch)
    assert acme.upgrade().is_good
    before, noted = acme.jobs(), acme.history()
    told: list[str] = []

    def refuse(_: str) -> bool:
        told.append(acme.lines[-1])
        return False

    assert acme.rollback(agrees=refuse).outcome == "not begun"
    assert told[0].startswith("rolling back to ")
    assert (acme.jobs(), acme.history()) == (before, noted)
