"""Tests of the latency measurement on a real warehouse."""

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from tillstream.runners.demo.latency import Arrivals

pytestmark = pytest.mark.integration

INSERT = (
    "insert into acme.orders"
    " select k, now() - make_interval(secs => %s) from generate_series(%s::int, %s) as k"
)


@pytest.fixture
def arrivals(warehouse: psycopg.Connection) -> Iterator[Arrivals]:
    """Watch the table orders, which does not exist yet, on a connection of its own."""
    with psycopg.connect(warehouse.info.dsn, autocommit=True) as connection:
        yield Arrivals(connection, "acme", ["orders"])


def create(warehouse: psycopg.Connection) -> None:
    """Create the table as a sink does."""
    warehouse.execute("create table acme.orders (order_id bigint primary key, _source_time timestamptz)")


def test_each_row_is_counted_once(warehouse: psycopg.Connection, arrivals: Arrivals) -> None:
    """Rows count in the poll after their commit, and in no other."""
    assert arrivals.poll() == 0
    create(warehouse)
    warehouse.execute(INSERT, (0, 1, 3))
    assert [arrivals.poll(), arrivals.poll()] == [3, 0]
    warehouse.execute("update acme.orders set _source_time = now() where order_id = 2")
    assert [arrivals.poll(), arrivals.poll()] == [1, 0]
    assert arrivals.rows["orders"] == 4
    assert arrivals.count("orders") == 3


def test_open_transaction_is_counted_after_its_commit(
    warehouse: psycopg.Connection, arrivals: Arrivals, postgres_uri: str
) -> None:
    """A transaction that began before a poll and commits after it is not lost between the two."""
    create(warehouse)
    with psycopg.connect(postgres_uri, dbname="warehouse") as slow:
        slow.execute(INSERT, (0, 1, 1))
        warehouse.execute(INSERT, (0, 2, 2))
        assert arrivals.poll() == 1
        slow.commit()
    assert [arrivals.poll(), arrivals.poll()] == [1, 0]


def test_latency_is_commit_less_source_time(warehouse: psycopg.Connection, arrivals: Arrivals) -> None:
    """A row committed two seconds after the source's commit has a latency of two seconds."""
    create(warehouse)
    arrivals.measure_since(datetime.now(timezone.utc) - timedelta(seconds=10))
    warehouse.execute(INSERT, (2, 1, 5))
    arrivals.poll()
    assert arrivals.latencies.count == 5
    assert arrivals.latencies.percentile(50) == pytest.approx(2_000, abs=500)


def test_snapshot_rows_have_no_latency(warehouse: psycopg.Connection, arrivals: Arrivals) -> None:
    """Rows from before the start are counted as rows and not as latencies."""
    create(warehouse)
    arrivals.measure_since(datetime.now(timezone.utc))
    warehouse.execute(INSERT, (3_600, 1, 5))
    assert arrivals.poll() == 5
    assert arrivals.latencies.count == 0
