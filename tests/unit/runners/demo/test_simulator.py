"""Tests of the simulator's pacing; what it commits is in the integration tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tillstream.runners.demo.pacing import Pace
from tillstream.runners.demo.simulator import Simulator


class FakeConnection:
    """Take statements, and let a clock move by the time that each round trip costs."""

    def __init__(self, round_trip_s: float = 0.0) -> None:
        self.round_trip_s = round_trip_s
        self.now_s = 0.0
        self.commits_at: list[float] = []

    @contextmanager
    def pipeline(self) -> Iterator[None]:
        """Cost a round trip."""
        yield
        self.now_s += self.round_trip_s

    @contextmanager
    def cursor(self) -> Iterator["FakeConnection"]:
        """Be the cursor too."""
        yield self

    def execute(self, query: str, _: Any = None) -> None:
        """Note commits."""
        if query == "commit":
            self.commits_at.append(self.now_s)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


def simulator_on(connection: Any) -> Simulator:
    """Return a simulator on a fake connection and its clock."""
    simulator = Simulator(connection, 1, clock=lambda: connection.now_s, sleep=connection.sleep)
    simulator.fill()
    connection.now_s = 0.0
    connection.commits_at.clear()
    return simulator


@pytest.mark.parametrize("rate", [20, 200, 5_000])
def test_rate_is_held(rate: int) -> None:
    """The events of a run are those that fell due, up to one transaction's rest, in the time they had."""
    connection = FakeConnection(round_trip_s=0.002)
    pace = Pace(rate_per_s=rate, duration_s=10)
    committed = simulator_on(connection).run(pace)
    assert 0 <= committed.total() - pace.events_due(10) < 30
    assert connection.now_s == pytest.approx(10, abs=0.2)


def test_burst_is_dense() -> None:
    """The slice of the burst holds five times the transactions of a slice beside it, roughly."""
    connection = FakeConnection()
    simulator_on(connection).run(Pace(rate_per_s=1_000, duration_s=10))
    before = sum(4 <= at < 5 for at in connection.commits_at)
    burst = sum(5 <= at < 6 for at in connection.commits_at)
    assert 4 < burst / before < 6


def test_slow_database_gets_fewer_events_not_a_longer_run() -> None:
    """A run ends when its time is over, however much is left to do."""
    connection = FakeConnection(round_trip_s=1.0)
    committed = simulator_on(connection).run(Pace(rate_per_s=5_000, duration_s=5))
    assert connection.now_s <= 7
    assert committed.total() < 5_000 * 5


def test_stop_ends_the_run() -> None:
    """A run that is told to stop does so before its next batch."""
    connection = FakeConnection()
    simulator = simulator_on(connection)

    def sleep(seconds: float) -> None:
        connection.sleep(seconds)
        if connection.now_s >= 1:
            simulator.stop()

    simulator._sleep = sleep
    simulator.run(Pace(rate_per_s=200, duration_s=10))
    assert connection.now_s == pytest.approx(1, abs=0.1)
