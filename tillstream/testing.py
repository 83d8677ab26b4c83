"""Test transforms: build events, run a transform on them, and simulate what a cluster does to it.

    from tillstream.testing import created, run, simulate

    def test_orders_enriched() -> None:
        events = [created("orders", {"order_id": 1, "total": "9.90"}, key="order_id")]
        assert run(OrdersEnriched, events).rows == {"orders": {1: {"order_id": 1, "total": "9.90"}}}
        simulate(OrdersEnriched, events)

The functions here keep their names and arguments from release to release.
"""

from tillstream.transforms.fixtures.checking import assert_fixture
from tillstream.transforms.testing.envelopes import load_fixture, save_fixture
from tillstream.transforms.testing.events import (
    Table,
    created,
    deleted,
    snapshot,
    stream,
    truncated,
    updated,
)
from tillstream.transforms.testing.result import Result, assert_rows
from tillstream.transforms.testing.running import run
from tillstream.transforms.testing.schedules import Crash, Schedule
from tillstream.transforms.testing.simulating import DivergedError, simulate
from tillstream.transforms.testing.whole_clients import run_client

__all__ = [
    "Crash",
    "DivergedError",
    "Result",
    "Schedule",
    "Table",
    "assert_fixture",
    "assert_rows",
    "created",
    "deleted",
    "load_fixture",
    "run",
    "run_client",
    "save_fixture",
    "simulate",
    "snapshot",
    "stream",
    "truncated",
    "updated",
]
