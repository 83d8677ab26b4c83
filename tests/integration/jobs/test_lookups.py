"""A view with lookups on the real parts: whatever is killed when, it ends as the join."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tillstream import configs
from tillstream.configs import load
from tillstream.runners.local.stack import LocalStack

from .conftest import Client, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

TABLES = ("customers", "stores", "orders")
# What the view lacks, and what it has too much.
DIFFERENCE = """
with expected as (
  select order_id, status, c.full_name, c.is_member, s.city
  from orders left join customers c using (customer_id) left join stores s using (store_id)
), found as (select order_id, status, customer_name, is_member, store_city from orders_enriched)
select (select count(*) from expected), (select count(*) from found),
  (select count(*) from (select * from expected except select * from found) as missing),
  (select count(*) from (select * from found except select * from expected) as extra)
"""


class Shop:
    """Write the changes of three tables, as Debezium would.

    Args:
        client: whose topics they go to.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lsn = 0

    def topic(self, table: str) -> str:
        """Return the topic of a table."""
        return f"{self._client.name}.public.{table}"

    def change(self, table: str, key: int, row: dict[str, Any], op: str = "u") -> None:
        """Write one change."""
        self._lsn += 1
        source = {"connector": "postgresql", "name": "t", "schema": "public", "table": table}
        source |= {"lsn": self._lsn, "ts_ms": 1_700_000_000_000 + self._lsn}
        source["sequence"] = f'["{self._lsn}","{self._lsn}"]'
        column = f"{table[:-1]}_id"
        row = {column: key, **row}
        before, after = (row, None) if op == "d" else (None, row)
        value = json.dumps({"op": op, "before": before, "after": after, "source": source})
        self._client.producer.produce(self.topic(table), value, key=json.dumps({column: key}))
        self._client.producer.poll(0)

    def order(self, key: int, customer: int, status: str) -> None:
        """Write an order."""
        row = {
            "reference": f"00000000-0000-0000-0000-{key:012}",
            "customer_id": customer,
            "store_id": key % 7,
        }
        row |= {"status": status, "total": "1.00", "note": None, "ordered_at": "2026-01-01T00:00:00Z"}
        self.change("orders", key, row)

    def customer(self, key: int, name: str) -> None:
        """Write a customer."""
        row = {"email": "a@b.example", "full_name": name, "birth_date": None, "is_member": key % 2 == 0}
        self.change("customers", key, {**row, "preferences": "{}", "registered_at": "2026-01-01T00:00:00Z"})

    def store(self, key: int, city: str) -> None:
        """Write a store."""
        row = {"name": "s", "city": city, "opened_on": "2020-01-01", "is_open": True, "area_m2": 1.5}
        self.change("stores", key, row)

    def flush(self) -> None:
        """Wait until the broker has all."""
        assert self._client.producer.flush(60) == 0


def _changes(client: Client) -> dict[str, Any]:
    entities = load(Path(configs.__file__).parent / "clients" / "acme.yaml", {}).entities
    wanted = {name: entities[name].model_dump(by_alias=True, exclude_unset=True) for name in TABLES}
    for name in TABLES:
        wanted[name]["topic"] = f"{client.name}.public.{name}"
    view = entities["orders_enriched"].model_dump(by_alias=True, exclude_unset=True)
    return {"entities": {**wanted, "orders_enriched": view}}


def _is_join(client: Client, orders: int) -> bool:
    try:
        found = client.query(DIFFERENCE)
    except Exception:  # noqa: BLE001  # the database may be busy, or its tables not there yet
        return False
    return found == [(orders, orders, 0, 0)]


def test_the_view_is_the_join_whatever_is_killed(client: Client, stack: LocalStack) -> None:
    """A killed TaskManager and a savepoint later each order has the newest customer and store."""
    shop = Shop(client)
    admin = AdminClient({"bootstrap.servers": stack.addresses.kafka})
    for future in admin.create_topics([NewTopic(shop.topic(table), 2, 1) for table in TABLES]).values():
        future.result()
    for key in range(3000):
        shop.order(key, key % 300, "new")
    for key in range(300):
        shop.customer(key, "old")
    for key in range(7):
        shop.store(key, "old")
    shop.flush()
    job = client.launch(**_changes(client))
    wait_until(lambda: client.query("select 1 from orders_enriched limit 1"), "the first rows")
    stack.kill("taskmanager")
    for key in range(300):
        shop.customer(key, "new")
        shop.order(key, (key * 7) % 310, "paid")
    for key in range(3000, 4000):
        shop.order(key, key % 310, "new")
    for key in range(50):
        shop.change("orders", key, {}, "d")
    shop.change("stores", 3, {}, "d")
    shop.flush()
    stack.up(["taskmanager"])
    wait_until(lambda: _is_join(client, 3950), "the join", 120)
    savepoint = client.savepoint(job)
    for key in range(310):
        shop.customer(key, "newest")
    shop.store(3, "again")
    shop.flush()
    client.launch(savepoint=savepoint, **_changes(client))
    newest = "select count(*) from orders_enriched where customer_name = 'newest' and store_city is not null"
    wait_until(lambda: client.query(newest) == [(3950,)] and _is_join(client, 3950), "the join of the newest")
    assert client.query("select count(*) from tillstream_dead_letters") in ([], [(0,)])
