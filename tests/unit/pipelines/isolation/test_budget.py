"""Too many refused records stop a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import ErrorBudgetError
from tillstream.pipelines.isolation.budget import ErrorBudget, StopNote, last_stop
from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE
from tillstream.pipelines.records import DeadLetter


class Clock:
    """Tell the time that a test sets."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


def letters(count: int, step: str = "transform") -> list[DeadLetter]:
    """Return dead letters of one step."""
    letter = DeadLetter(
        "acme", "orders", step, "transform_failed", "secret", "t", 0, 1, transform="acme.x@1.0.0"
    )
    return [letter] * count


def budget(errors_max: int | None = 10) -> tuple[ErrorBudget, Clock]:
    """Return a budget of so many errors in a minute, and its clock."""
    clock = Clock()
    return ErrorBudget("acme", Limits(errors_max=errors_max), clock), clock


def test_past_the_budget_the_job_stops_with_the_reasons() -> None:
    """The message counts what was refused, by whom, and shows nothing of the rows."""
    spending, _ = budget()
    spending.spend(letters(10))
    with pytest.raises(ErrorBudgetError) as caught:
        spending.spend(letters(1))
    assert "the job has stopped itself: client acme: 11 records were refused within 60 s" in str(caught.value)
    assert "11 times transform_failed by acme.x@1.0.0 in orders" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert last_stop() is caught.value
    assert last_stop() is None


def test_what_is_older_than_the_window_is_forgiven() -> None:
    """Ten a minute may go on for ever."""
    spending, clock = budget()
    for _ in range(5):
        spending.spend(letters(10))
        clock.now_s += 61


def test_only_transforms_and_trust_stages_count() -> None:
    """What cannot be read, or what a sink refuses, is not the code's fault."""
    spending, _ = budget()
    spending.spend([*letters(100, "read"), *letters(100, "write")])
    with pytest.raises(ErrorBudgetError):
        spending.spend(letters(11, "trust"))
    last_stop()


def test_no_budget_is_no_end() -> None:
    """A client may want its job to go on whatever happens."""
    spending, _ = budget(None)
    spending.spend(letters(100_000))


def test_the_next_process_finds_that_the_job_has_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Flink starts the job again before it is cancelled, it stops for the same reason."""
    monkeypatch.setenv(FLIGHTS_VARIABLE, str(tmp_path))
    budget()[0].check()
    with pytest.raises(ErrorBudgetError) as first:
        budget()[0].spend(letters(11))
    with pytest.raises(ErrorBudgetError) as second:
        budget()[0].check()
    assert str(first.value) == str(second.value)
    last_stop()


def test_notes_of_other_versions_are_left(tmp_path: Path) -> None:
    """Version 1 is read as it was written; a newer one counts as none."""
    StopNote.path(tmp_path).write_text('{"version":1,"reason":"so"}')
    assert StopNote.read(tmp_path) == StopNote(1, "so")
    StopNote.path(tmp_path).write_text('{"version":2,"reason":"so"}')
    assert StopNote.read(tmp_path) is None
