"""The report says no more than was found."""

from __future__ import annotations

import json

from tillstream.runners.verify.oracle import Differences
from tillstream.runners.verify.report import Report


def test_the_figures_are_those_of_all_sinks() -> None:
    """Counts are summed over the sinks, and the slowest recovery counts."""
    report = Report(7, ("postgres", "files"), rounds=2)
    report.faults.update(["kafka", "kafka", "zombie"])
    report.recovered("kafka", 2.04)
    report.recovered("kafka", 1.0)
    report.recovered("zombie", 1.5)
    report.differences = {"postgres": Differences(missing=1), "files": Differences(missing=2, duplicates=3)}
    found = json.loads(report.json_line())
    assert {
        "missing": 3,
        "extra": 0,
        "mismatched": 0,
        "duplicates": 3,
        "out_of_order": 0,
    }.items() <= found.items()
    assert found["faults"] == {"kafka": 2, "zombie": 1}
    assert (found["seed"], found["rounds"], found["recovery_s_max"]) == (7, 2, 2.0)
    assert found["recovery_s"] == {"kafka": 2.0, "zombie": 1.5}
    assert not found["exact"]
    assert report.verdict().startswith("verdict: NOT EXACT: missing 3")


def test_a_sink_that_was_not_compared_is_not_exact() -> None:
    """Nothing looked at is nothing proven."""
    report = Report(1, ("postgres", "files"))
    assert not report.is_exact
    report.differences = {"postgres": Differences()}
    assert not report.is_exact
    report.differences = {"postgres": Differences(), "files": Differences()}
    assert report.is_exact
