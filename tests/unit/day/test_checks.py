"""The day fails when something is not as it should be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.day.checks import (
    CALM_S_MAX,
    Footprint,
    UnexpectedError,
    check_calm,
    check_diff,
    check_history,
    version_held,
)

MORNING = Footprint("j1", 1, 0)
SHOWN = "    changed id=7  cents: 100 -> 101\n"


def line(number: int = 7, column: str = "cents", new: int = 101) -> dict[str, Any]:
    """Return a line of a canary's file of differences."""
    return {"kind": "changed", "key": {"id": number}, "columns": {column: [100, new]}}


def test_a_quiet_neighbour_is_well() -> None:
    """Rows as old as they always are, and the job of the morning."""
    check_calm("s", CALM_S_MAX, MORNING, MORNING, is_shared=False)
    check_calm("s", CALM_S_MAX + 1, MORNING, MORNING._replace(failed_ms=1), is_shared=True)


@pytest.mark.parametrize(
    ("worst_s", "after", "is_shared", "said"),
    [
        (CALM_S_MAX + 1, MORNING, False, "expected at most"),
        (61.0, MORNING, True, "expected at most 60 s"),
        (0.0, MORNING, True, "nobody saw"),
        (1.0, MORNING._replace(failed_ms=1), False, "south failed at 1"),
        (1.0, MORNING._replace(job_id="j2"), True, "expected"),
        (1.0, MORNING._replace(generation=2), True, "expected"),
    ],
)
def test_a_neighbour_that_noticed_is_not(
    worst_s: float, after: Footprint, said: str, *, is_shared: bool
) -> None:
    """By its rows' age, a restart, or another launch; only where a shared part died it may be restarted."""
    with pytest.raises(UnexpectedError, match=said):
        check_calm("s", worst_s, MORNING, after, is_shared=is_shared)


def test_a_canary_shows_both_values() -> None:
    """On the terminal as in the file."""
    check_diff(SHOWN, [line(), line(14)])


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        ("refused: 1 differences", [line()]),
        (SHOWN, []),
        (SHOWN, [line(14)]),
        (SHOWN, [line(), line(8)]),
        (SHOWN, [line(), line(14, new=102)]),
        (SHOWN, [line(), line(14, column="grade")]),
        (SHOWN, [line(), {**line(14), "kind": "only_new"}]),
    ],
)
def test_a_canary_that_shows_something_else_is_refused(printed: str, lines: list[dict[str, Any]]) -> None:
    """Nothing, other rows, other columns, or what is on one side only."""
    with pytest.raises(UnexpectedError):
        check_diff(printed, lines)


def entry(action: str, outcome: str = "done", **more: Any) -> dict[str, Any]:
    """Return an entry of a history."""
    return {"action": action, "outcome": outcome, **more}


def test_the_last_word_of_a_history_is_about_what_runs() -> None:
    """An upgrade that was undone is followed by what was launched in its place."""
    entries = [
        entry("upgrade", "started", generation=2, transforms={"orders": "t@2"}),
        entry("rollback", generation=3, job_id="j3", transforms={"orders": "t@1"}),
        entry("upgrade", "rolled_back", generation=2, transforms={"orders": "t@2"}),
        entry("pause", job_id="j3"),
    ]
    assert version_held(entries, "j3") == "t@1"
    with pytest.raises(UnexpectedError, match="job j2 runs"):
        version_held(entries, "j2")
    with pytest.raises(UnexpectedError, match="None"):
        version_held([], "j2")


def test_a_history_has_what_was_done_and_nothing_else() -> None:
    """In order; entries of one action are one, and what was only begun is none."""
    entries = [entry("launch", "started"), entry("launch"), entry("rescale"), entry("rescale")]
    check_history(entries, ["launch", "rescale"])
    with pytest.raises(UnexpectedError, match="'rescale'"):
        check_history(entries, ["launch"])
