"""Tests of the simulator on a real Postgres."""

import psycopg
import pytest

from tillstream.runners.demo import schema
from tillstream.runners.demo.pacing import Pace
from tillstream.runners.demo.simulator import Simulator

pytestmark = pytest.mark.integration


class FakeTime:
    """Be a clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def clock(self) -> float:
        """Return the time in seconds."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


def simulate(source: psycopg.Connection, seed: int) -> Simulator:
    """Play ten seconds of a seed's traffic at once."""
    time = FakeTime()
    simulator = Simulator(source, seed, clock=time.clock, sleep=time.sleep)
    simulator.fill()
    simulator.run(Pace(rate_per_s=200, duration_s=10))
    return simulator


def contents(source: psycopg.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of the six tables, in the order of their keys."""
    return {
        table.name: source.execute(f"select * from {table.name} order by {', '.join(table.key)}").fetchall()
        for table in schema.TABLES
    }


def test_same_seed_leaves_the_same_rows(source: psycopg.Connection) -> None:
    """Two runs of one seed leave identical databases, to the last microsecond and bracket."""
    simulate(source, 5)
    first = contents(source)
    schema.drop(source)
    schema.create(source)
    simulate(source, 5)
    assert contents(source) == first


def test_counts_are_what_the_database_holds(source: psycopg.Connection) -> None:
    """Opening rows plus inserts minus deletes are the rows of each table."""
    time = FakeTime()
    simulator = Simulator(source, 5, clock=time.clock, sleep=time.sleep)
    filled = simulator.fill()
    before = {table: len(rows) for table, rows in contents(source).items()}
    assert filled == sum(before.values())
    committed = simulator.run(Pace(rate_per_s=200, duration_s=10))
    for table, rows in contents(source).items():
        change = committed.events[table, "insert"] - committed.events[table, "delete"]
        assert len(rows) == before[table] + change
    assert committed.total() == sum(committed.events.values()) >= 2_800


def test_identities_go_on_behind_the_simulated_keys(source: psycopg.Connection) -> None:
    """A row inserted by hand after a run gets a free key."""
    simulate(source, 5)
    schema.restart_identities(source)
    source.execute(
        "insert into stores (name, city, opened_on, is_open, area_m2) values ('x', 'y', now(), true, 1)"
    )
