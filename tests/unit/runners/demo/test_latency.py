"""Tests of the latency histogram; what is measured on a database is in the integration tests."""

import pytest

from tillstream.runners.demo.latency import Latencies


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_percentiles_are_nearest_rank(percent: int, expected: int) -> None:
    """Of 1 to 100 ms, the p-th percentile is p."""
    latencies = Latencies()
    for latency_ms in range(100, 0, -1):
        latencies.add(latency_ms)
    assert latencies.percentile(percent) == expected


def test_nothing_added_has_no_percentile() -> None:
    """Before the first row there is no figure, rather than a zero."""
    assert Latencies().percentile(50) is None


def test_counts_weigh() -> None:
    """Nineteen rows of one latency outweigh one of another up to the 95th percentile."""
    latencies = Latencies()
    latencies.add(10, count=19)
    latencies.add(900)
    assert (latencies.percentile(95), latencies.percentile(96), latencies.max_ms) == (10, 900, 900)


def test_a_clock_that_stepped_back_counts_as_zero() -> None:
    """Negative latencies do not make negative percentiles."""
    latencies = Latencies()
    latencies.add(-5)
    assert latencies.percentile(50) == 0


def test_memory_is_bounded_but_the_maximum_is_kept() -> None:
    """Latencies beyond the last bucket share it."""
    latencies = Latencies()
    latencies.add(10_000_000)
    latencies.add(20_000_000)
    assert (latencies.percentile(100), latencies.max_ms) == (600_000, 20_000_000)
