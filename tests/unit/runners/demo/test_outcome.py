"""Tests of the verdict and the JSON line."""

import json
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from tillstream.runners.demo.compare import Comparison
from tillstream.runners.demo.latency import Latencies
from tillstream.runners.demo.outcome import Outcome
from tillstream.runners.demo.simulator import Committed

START = datetime(2025, 3, 1, tzinfo=timezone.utc)


def outcome(last_arrival_s: float | None = 8, **counts: int) -> Outcome:
    """Return the outcome of 1,000 events committed in five seconds."""
    committed = Committed(first_at=START, last_at=START + timedelta(seconds=5))
    committed.events["orders", "insert"] = 1_000
    last_at = None if last_arrival_s is None else START + timedelta(seconds=last_arrival_s)
    arrivals: Any = SimpleNamespace(latencies=Latencies(), last_at=last_at)
    arrivals.latencies.add(700, count=9)
    arrivals.latencies.add(1_500)
    return Outcome.of(committed, arrivals, Comparison(rows=1_234, tables=6, **counts))


def test_json_line_is_one_object_with_the_agreed_names() -> None:
    """Programs read exactly these names, on one line."""
    line = outcome(missing=1).json_line()
    assert "\n" not in line
    assert json.loads(line) == {
        "events": 1_000,
        "rows": 1_234,
        "missing": 1,
        "extra": 0,
        "mismatched": 0,
        "latency_ms_p50": 700,
        "latency_ms_p95": 1_500,
        "throughput_per_s": 125.0,
    }


def test_verdict_reads_as_promised() -> None:
    """The verdict is one line of the form that the README shows."""
    assert outcome().verdict(6) == (
        "verdict: missing 0, extra 0, mismatched 0 (1,234 rows in 6 tables, 1,000 events)"
    )


@pytest.mark.parametrize("kind", ["missing", "extra", "mismatched"])
def test_any_difference_is_not_exact(kind: str) -> None:
    """One row of any kind of difference spoils the verdict."""
    assert outcome().is_exact
    assert not outcome(**{kind: 1}).is_exact


@pytest.mark.parametrize(("last_arrival_s", "rate"), [(10, 100.0), (3, 200.0), (None, 200.0)])
def test_throughput_ends_with_the_last_row_but_not_before_the_last_commit(
    last_arrival_s: float | None, rate: float
) -> None:
    """Rows that arrive late lower the figure; trailing deletes, which leave no row, do not raise it."""
    assert outcome(last_arrival_s).throughput_per_s == rate


def test_nothing_committed_is_no_throughput() -> None:
    """A run without events has a rate of zero, not an error."""
    arrivals: Any = SimpleNamespace(latencies=Latencies(), last_at=None)
    assert Outcome.of(Committed(), arrivals, Comparison()).throughput_per_s == 0.0
