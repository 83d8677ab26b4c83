"""A short form of `make differential`: a source that changes at random, and a warehouse that equals it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.differential.play import Options, play
from tillstream.runners.local.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_the_warehouse_equals_the_source(tmp_path: Path) -> None:
    """After DDL and DML through the whole stack, while the job and the source are restarted."""
    options = Options(seed=7, steps=40, restarts=("taskmanager", "source"), steps_per_restart=20)
    stack = LocalStack.open(tmp_path / "stack")
    lines: list[str] = []
    try:
        outcome = play(options, stack, lines.append)
    finally:
        stack.down(wipe=True)
    assert outcome.difference is None, "\n".join([*lines, outcome.verdict()])
    assert sorted(outcome.restarts) == ["source", "taskmanager"]
    assert re.fullmatch(r"equal: \d+ tables, \d+ rows, 40 steps, seed 7", outcome.verdict())
    assert outcome.rows > 50
