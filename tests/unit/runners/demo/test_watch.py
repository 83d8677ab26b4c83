"""Tests of the watch over a run, on scripted ends."""

import io
from collections import Counter
from concurrent.futures import Future
from typing import Any

import pytest
from psycopg import sql
from rich.console import Console

from tillstream.pipelines.errors import StackError
from tillstream.runners.demo.display import Display
from tillstream.runners.demo.latency import Latencies
from tillstream.runners.demo.simulator import Committed
from tillstream.runners.demo.watch import Patience, Watch


class World:
    """Be source, warehouse, lag and time at once: events happen at given seconds.

    Attributes:
        rows_at: second to the rows of `orders` that arrive then.
        source_rows: that the source has in `orders`.
        lag_until_s: before that second one message is unread.
        captured_at_s: from that second on everything has been captured.
    """

    def __init__(self, rows_at: dict[float, int], source_rows: int) -> None:
        self.now_s = 0.0
        self.rows_at = rows_at
        self.source_rows = source_rows
        self.lag_until_s = 0.0
        self.captured_at_s = 0.0
        self.rows: Counter[str] = Counter()
        self.latencies = Latencies()
        self.checks: list[BaseException] = []

    def poll(self) -> int:
        """Let the rows arrive whose second has come."""
        due = sum(self.rows_at.pop(at) for at in list(self.rows_at) if at <= self.now_s)
        self.rows["orders"] += due
        return due

    def count(self, table: str) -> int:
        """Return the rows in the warehouse."""
        return self.rows[table]

    def read(self) -> int:
        """Return the lag."""
        return int(self.now_s < self.lag_until_s)

    def execute(self, query: sql.Composed) -> "World":
        """Answer the source's queries."""
        text = query.as_string(None)
        if "count(*)" in text:
            self.answer: Any = self.source_rows if '"orders"' in text else 0
        elif "pg_current_wal_lsn" in text:
            self.answer = "0/1"
        else:
            self.answer = self.now_s >= self.captured_at_s
        return self

    def fetchone(self) -> tuple[Any]:
        """Return the answer."""
        return (self.answer,)

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds

    def check(self) -> None:
        """Raise when the job has failed."""
        if self.checks:
            raise self.checks.pop()


def watch(world: Any) -> Watch:
    """Return a watch over a scripted world, patient for ten seconds."""
    return Watch(
        source=world,
        slot="s",
        arrivals=world,
        lag=world,
        committed=Committed(),
        display=Display(Console(file=io.StringIO())),
        check=world.check,
        patience=Patience(snapshot_s=20, stall_s=10, quiet_s=2, unread_s=4),
        clock=lambda: world.now_s,
        sleep=world.sleep,
    )


def test_snapshot_is_there_when_all_rows_are() -> None:
    """The first row is announced once, the wait ends with the last one."""
    world = World({15: 3, 18: 2}, source_rows=5)
    first: list[float] = []
    watch(world).await_snapshot(lambda: first.append(world.now_s))
    assert first == [15]
    assert world.now_s == 18


@pytest.mark.parametrize(("rows_at", "gives_up_s"), [({}, 20), ({5.0: 1}, 15)])
def test_snapshot_that_does_not_come_is_an_error(rows_at: dict[float, int], gives_up_s: float) -> None:
    """A pipeline that delivers nothing, or nothing more, ends the wait with what to look at."""
    world = World(rows_at, source_rows=5)
    with pytest.raises(StackError, match="Flink dashboard"):
        watch(world).await_snapshot(lambda: None)
    assert world.now_s == pytest.approx(gives_up_s, abs=1)


def test_failed_job_ends_the_wait_at_once() -> None:
    """A job that has failed is not waited for."""
    world = World({}, source_rows=5)
    world.checks.append(StackError("job acme failed"))
    with pytest.raises(StackError, match="acme failed"):
        watch(world).await_snapshot(lambda: None)
    assert world.now_s == 0


@pytest.mark.parametrize("late", ["lag_until_s", "captured_at_s"])
def test_drain_waits_for_what_is_on_its_way(late: str) -> None:
    """Equal counts do not end it while a message is unread or the source's log is not captured."""
    world = World({0: 5}, source_rows=5)
    setattr(world, late, 7.0)
    assert watch(world).drain(trusts_lag=True)
    assert world.now_s == 7


def test_drain_waits_until_rows_have_stopped() -> None:
    """Updates leave the counts equal: the drain ends when none has come for a while."""
    world = World({0: 5, 1: 1, 2: 1, 3: 1}, source_rows=8)
    assert watch(world).drain(trusts_lag=True)
    assert world.now_s == 5


@pytest.mark.parametrize(("trusts_lag", "is_drained", "ends_s"), [(False, True, 4), (True, False, 10)])
def test_lag_that_stays_is_waited_for_only_when_trusted(
    *, trusts_lag: bool, is_drained: bool, ends_s: float
) -> None:
    """Published offsets that trail for good lengthen the quiet that is asked for, or stall the drain."""
    world = World({0: 5}, source_rows=5)
    world.lag_until_s = 1_000
    assert watch(world).drain(trusts_lag=trusts_lag) is is_drained
    assert world.now_s == pytest.approx(ends_s, abs=1)


def test_drain_gives_up_on_a_stall() -> None:
    """Rows that never come end the drain with False, so that the comparison can tell which they are."""
    world = World({0: 4}, source_rows=5)
    assert not watch(world).drain(trusts_lag=True)
    assert world.now_s == pytest.approx(10, abs=1)


def test_follow_raises_what_the_simulator_raised() -> None:
    """A source that went away is not taken for a finished run."""
    simulator: Future[Committed] = Future()
    simulator.set_exception(OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        watch(World({}, 0)).follow(simulator)
