"""Aggregates on Flink: whatever dies in between, they are what the rows add up to."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tillstream.runners.local.stack import LocalStack

from .conftest import Client, wait_until
from .test_jobs import _harness_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

HOURS = "select store_id, hour, orders, revenue, largest_order from hours"
ADDED_UP = (
    "select store_id, date_trunc('hour', ordered_at, 'UTC'), count(*), sum(total), max(total) "
    "from orders group by 1, 2"
)


def entities(topic: str) -> dict[str, Any]:
    """Return a table as it is, and two aggregates of it."""
    money = "decimal(12,2)"
    contract = {"order_id": "int64", "store_id": "int64", "total": money, "ordered_at": "timestamptz"}
    view: dict[str, Any] = {"from": "orders", "sinks": ["warehouse"]}
    hours = {"key": ["store_id", "hour"], "transform": "acme.sales_per_store_and_hour@1.0.0"}
    rolling = {"key": ["store_id", "until"], "transform": "acme.rolling_hour_per_store@1.0.0"}
    return {
        "orders": {"topic": topic, "key": ["order_id"], "contract": contract, "sinks": ["warehouse"]},
        "hours": {**view, **hours},
        "rolling": {**view, **rolling},
    }


class Shop:
    """Make up orders that change, move and go."""

    def __init__(self) -> None:
        self._dice = random.Random(3)  # noqa: S311  (traffic, not secrets)
        self._offset = 0
        self.live: dict[int, dict[str, Any]] = {}

    def changes(self, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the next changes, as key and envelope."""
        for _ in range(count):
            key = self._dice.randrange(300)
            before = self.live.pop(key, None)
            after = None
            if before is None or self._dice.random() < 0.8:
                after = self.live[key] = self._order(key)
            yield b'{"order_id":%d}' % key, self._envelope(before, after)

    def _order(self, key: int) -> dict[str, Any]:
        dice = self._dice
        time = f"2026-03-01T{dice.randrange(8, 12):02}:{dice.randrange(60):02}:00Z"
        row = {"order_id": key, "reference": "6f1c0000-0000-4000-8000-000000000001", "customer_id": 7}
        row |= {"store_id": dice.randrange(5), "status": "placed", "note": None, "ordered_at": time}
        return {**row, "total": f"{dice.randrange(100)}.{dice.randrange(100):02}"}

    def _envelope(self, before: Any, after: Any) -> bytes:
        self._offset += 1
        source = {"connector": "postgresql", "name": "t", "schema": "public", "table": "orders"}
        source |= {"lsn": self._offset, "sequence": f'["{self._offset}","{self._offset}"]'}
        source |= {"ts_ms": 1_772_400_000_000 + self._offset}
        op = "d" if after is None else "c" if before is None else "u"
        return json.dumps({"op": op, "before": before, "after": after, "source": source}).encode()


def test_a_killed_harness_and_a_savepoint_change_no_figure(client: Client, stack: LocalStack) -> None:
    """Counts, sums and maxima are those of the rows, after a kill and after a launch from a savepoint."""
    shop = Shop()
    client.topic = f"{client.name}.public.orders"
    client.create_topic(2)
    client.produce(shop.changes(2000))
    job = client.launch(entities=entities(client.topic))
    wait_until(lambda: client.query("select 1 from hours limit 1"), "the first figures")
    client.produce(shop.changes(1000))
    os.kill(_harness_of(stack).pid, signal.SIGKILL)
    client.produce(shop.changes(1000))
    wait_until(lambda: _is_added_up(client, shop), "figures after the kill")
    savepoint = client.savepoint(job)
    client.produce(shop.changes(500))
    client.launch(savepoint=savepoint, entities=entities(client.topic))
    wait_until(lambda: _is_added_up(client, shop), "figures after the launch")
    rolling, orders = client.query("select sum(orders), (select count(*) from orders) from rolling")[0]
    assert rolling == 12 * orders
    assert client.query("select * from tillstream_dead_letters") == []


def _is_added_up(client: Client, shop: Shop) -> bool:
    if client.query("select count(*), sum(order_id) from orders") != [(len(shop.live), sum(shop.live))]:
        return False
    return not client.query(f"({HOURS} except {ADDED_UP}) union all ({ADDED_UP} except {HOURS})")
