"""A day of operations on two clients ends with source and warehouse equal, and one client undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.day.play import Day
from tillstream.runners.local.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]


def test_a_day_ends_with_everything_equal(tmp_path: Path) -> None:
    """Launch, upgrade, refusal, canary, roll-back, rescaling, pause and resume, while parts are killed."""
    stack = LocalStack.open(tmp_path / "stack")
    try:
        difference = Day(stack, tmp_path / "clients", print).play()
    finally:
        stack.down(wipe=True)
    assert difference is None
