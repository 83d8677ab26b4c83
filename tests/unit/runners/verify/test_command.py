"""The command takes lists, and refuses what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.verify.command import choose, run


def test_all_stands_for_all() -> None:
    """Names are taken as they are, each once."""
    assert choose("--sink", "all", ("a", "b")) == ["a", "b"]
    assert choose("--sink", "b, a,b", ("a", "b")) == ["b", "a"]


def test_an_unknown_name_is_refused() -> None:
    """A typing error is told with the names that would do."""
    with pytest.raises(UserError, match=r"--faults: found 'kafak', expected all or some of kafka"):
        choose("--faults", "kafak", ("kafka",))


def test_a_fault_that_no_sink_would_feel_is_refused(tmp_path: Path) -> None:
    """Killing a database that nothing writes to proves nothing."""
    with pytest.raises(UserError, match="expected a sink that writes to it"):
        run(
            sinks="files",
            faults="warehouse",
            rounds=1,
            seed=1,
            rate_per_s=1,
            folder=tmp_path,
            say=print,
        )


def test_a_stack_that_is_there_is_left_alone(tmp_path: Path) -> None:
    """What is verified gets hurt, so it is never somebody's own stack."""
    (tmp_path / "stack.json").write_text("{}")
    with pytest.raises(UserError, match="found a stack in"):
        run(sinks="files", faults="harness", rounds=1, seed=1, rate_per_s=1, folder=tmp_path, say=print)
