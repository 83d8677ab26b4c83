"""Acme's views of orders and items, through the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from tillstream import configs
from tillstream.configs import ClientConfig, load
from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.runners import direct
from tillstream.testing import Table, run, simulate
from tillstream.transforms.api import transform
from tillstream.transforms.clients.acme import ItemsEnriched, Order, OrdersEnriched

ORDER: dict[str, Any] = {
    "order_id": 1,
    "reference": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
    "customer_id": 7,
    "store_id": 3,
    "status": "new",
    "total": "12.50",
    "note": None,
    "ordered_at": "2026-03-01T08:15:00Z",
}
CUSTOMER: dict[str, Any] = {
    "customer_id": 7,
    "email": "a@b.example",
    "full_name": "Ann",
    "birth_date": None,
    "is_member": False,
    "preferences": "{}",
    "registered_at": "2026-01-01T00:00:00Z",
}
STORE: dict[str, Any] = {
    "store_id": 3,
    "name": "North",
    "city": "Oslo",
    "opened_on": "2020-01-01",
    "is_open": True,
    "area_m2": 10.5,
}


def _envelope(table: str, row: dict[str, Any], number: int, op: str = "c") -> str:
    source = {"connector": "postgresql", "name": "acme", "schema": "public", "table": table, "lsn": number}
    source |= {"ts_ms": 1_700_000_000_000 + number, "sequence": f'["{number}","{number}"]'}
    before, after = (row, None) if op == "d" else (None, row)
    return json.dumps({"op": op, "before": before, "after": after, "source": source})


def _lines() -> Iterator[str]:
    """Yield forty orders, most of them before their customers and stores, of which some change and go."""
    number = 0
    for key in range(1, 41):
        number += 1
        row = {**ORDER, "order_id": key, "customer_id": key % 5, "store_id": key % 3}
        yield _envelope("orders", row, number)
    for version in ("old", "new"):
        for key in range(4):
            number += 1
            yield _envelope(
                "customers", {**CUSTOMER, "customer_id": key, "full_name": f"{version} {key}"}, number
            )
        for key in range(3):
            number += 1
            yield _envelope("stores", {**STORE, "store_id": key, "city": f"{version} {key}"}, number)
    yield _envelope("stores", {**STORE, "store_id": 2}, number + 1, "d")
    yield _envelope("orders", {**ORDER, "order_id": 1, "customer_id": 4, "store_id": 0}, number + 2, "u")
    yield _envelope("orders", {**ORDER, "order_id": 2}, number + 3, "d")


def _config(tmp_path: Path) -> ClientConfig:
    acme = load(Path(configs.__file__).parent / "clients" / "acme.yaml", {})
    wanted = ("customers", "stores", "orders", "orders_enriched")
    entities = {
        name: acme.entities[name].model_dump(by_alias=True, exclude_unset=True) | {"sinks": ["files"]}
        for name in wanted
    }
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"files": {"paths": [str(tmp_path / "in.jsonl")]}},
            "entities": entities,
            "sinks": {"files": {"type": "files", "path": str(tmp_path / "out")}},
        }
    )


def _written(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the last version of each row."""
    lines = [
        json.loads(line)
        for path in sorted(folder.rglob("*.jsonl"))
        if "orders_enriched" in str(path.relative_to(folder))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    rows: dict[int, dict[str, Any]] = {}
    for line in sorted(lines, key=lambda line: (line["_offset"], line["_index"])):
        if line["_op"] == "delete":
            rows.pop(line["order_id"], None)
        else:
            rows[line["order_id"]] = line
    return rows


def test_the_view_is_the_join_on_the_direct_runner(tmp_path: Path) -> None:
    """A bounded run, which hands out its batches in any order, ends in the join of the last rows."""
    (tmp_path / "in.jsonl").write_text("\n".join(_lines()), encoding="utf-8")
    counts = direct.run(_config(tmp_path))
    assert counts["dead_letters"] == 0
    rows = _written(tmp_path / "out")
    assert set(rows) == {1, *range(3, 41)}
    for key, row in rows.items():
        customer, store = (4, 0) if key == 1 else (key % 5, key % 3)
        assert row["customer_name"] == (None if customer == 4 else f"new {customer}")
        assert row["store_city"] == (None if store == 2 else f"new {store}")
        assert row["total"] == "12.50"


def test_an_order_follows_its_customer_and_store() -> None:
    """Whoever changes last, the order says what is so now; a customer who is gone leaves no name."""
    orders, customers = Table("orders", key="order_id"), Table("customers", key="customer_id")
    stores = Table("stores", key="store_id")
    events = [
        orders.created(ORDER),
        customers.created(CUSTOMER),
        stores.created(STORE),
        stores.updated({**STORE, "city": "Bergen"}),
        customers.updated({**CUSTOMER, "is_member": True}),
    ]
    view = {"into": "orders_enriched"}
    (row,) = run(OrdersEnriched, events, **view).rows["orders_enriched"].values()
    assert (row["customer_name"], row["is_member"], row["store_city"]) == ("Ann", True, "Bergen")
    gone = [*events, customers.deleted(CUSTOMER)]
    (row,) = run(OrdersEnriched, gone, **view).rows["orders_enriched"].values()
    assert (row["customer_name"], row["is_member"], row["customer_id"]) == (None, None, 7)
    assert run(OrdersEnriched, [*gone, orders.deleted(ORDER)], **view).rows["orders_enriched"] == {}
    simulate(OrdersEnriched, gone, seeds=30, **view)


def test_an_order_goes_though_nobody_knows_its_row() -> None:
    """Without REPLICA IDENTITY FULL Debezium makes up all of the row before a delete but its key."""
    orders = Table("orders", key="order_id")
    made_up = {"order_id": 1, "reference": "", "customer_id": 0, "store_id": 0, "status": "", "total": "0.00"}
    events = [orders.created(ORDER), orders.deleted({**made_up, "ordered_at": "1970-01-01T00:00:00Z"})]
    others = [
        Table("customers", key="customer_id").created(CUSTOMER),
        Table("stores", key="store_id").created(STORE),
    ]
    for tested, found in ((OrdersEnriched, [*others, *events]), (Plain, events)):
        result = run(tested, found, source="orders", into="view")
        assert (result.rows["view"], list(result.letters)) == ({}, [])


@transform("acme.plain@1.0.0", input=Order)
class Plain(beam.DoFn):
    """Copy orders."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Yield the order."""
        yield event.upsert(event.after) if event.after else event.delete()


@pytest.mark.parametrize("status", ["new", "paid"])
def test_an_item_follows_its_order(status: str) -> None:
    """An item tells its product and how far its order has come."""
    items = Table("order_items", key=["order_id", "line"])
    orders, products = Table("orders", key="order_id"), Table("products", key="product_id")
    item = {"order_id": 1, "line": 2, "product_id": 5, "quantity": 1, "unit_price": "2.00", "is_gift": False}
    events = [
        items.created(item),
        orders.created({**ORDER, "status": "new"}),
        products.created({"product_id": 5, "name": "Tea", "category": "food"}),
        orders.updated({**ORDER, "status": status}),
    ]
    (row,) = run(ItemsEnriched, events, source="order_items", into="view").rows["view"].values()
    assert (row["product_name"], row["category"], row["order_status"]) == ("Tea", "food", status)
