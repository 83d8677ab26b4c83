"""Tests of the pace."""

import pytest

from tillstream.runners.demo.pacing import Pace


@pytest.mark.parametrize(
    ("elapsed_s", "due"),
    [(-1, 0), (0, 0), (1, 200), (5, 1_000), (5.5, 1_500), (6, 2_000), (10, 2_800), (99, 2_800)],
)
def test_events_due_follow_rate_and_burst(elapsed_s: float, due: int) -> None:
    """Events fall due at the rate, five times as fast in the burst, and not after the end."""
    assert Pace(rate_per_s=200, duration_s=10).events_due(elapsed_s) == due


def test_a_slice_at_full_burst_is_due_five_times() -> None:
    """The burst covers its share of the run, and nothing else."""
    pace = Pace(rate_per_s=200, duration_s=10)
    assert [pace.in_burst(t) for t in (4.9, 5.0, 5.9, 6.0)] == [False, True, True, False]
