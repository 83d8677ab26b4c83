"""What acme's aggregates make of orders, and that no way of delivering them changes it."""

from __future__ import annotations

import random
from typing import Any

from tillstream.testing import Table, run, simulate
from tillstream.transforms.clients.acme_figures import (
    RollingHourPerStore,
    SalesPerStoreAndHour,
    TopSkusPerHour,
)

ORDERS = Table("orders", key="order_id")
ITEMS = Table("order_items", key=["order_id", "line"])
HOURS: dict[str, Any] = {"into": "hours", "keys": {"hours": ["store_id", "hour"]}}
ROLLING: dict[str, Any] = {"into": "rolling", "keys": {"rolling": ["store_id", "until"]}}
BEST: dict[str, Any] = {"into": "best", "keys": {"best": ["hour", "place"]}}


def order(order_id: int, total: str, *, store: int = 3, time: str = "08:15") -> dict[str, Any]:
    """Return an order's row."""
    return {
        "order_id": order_id,
        "reference": "6f1c0000-0000-4000-8000-000000000001",
        "customer_id": 7,
        "store_id": store,
        "status": "placed",
        "total": total,
        "note": None,
        "ordered_at": f"2026-03-01T{time}:00Z",
    }


def item(order_id: int, product: int, quantity: int, line: int = 1) -> dict[str, Any]:
    """Return a line of an order."""
    return {
        "order_id": order_id,
        "line": line,
        "product_id": product,
        "quantity": quantity,
        "unit_price": "1.00",
        "is_gift": False,
    }


def traffic(count: int) -> list[Any]:
    """Return changes of orders: made, changed, moved to other stores and hours, cancelled."""
    dice = random.Random(7)  # noqa: S311  (traffic, not secrets)
    live: dict[int, dict[str, Any]] = {}
    events = []
    for number in range(count):
        if live and dice.random() < 0.5:
            key = dice.choice(list(live))
            if dice.random() < 0.3:
                events.append(ORDERS.deleted(live.pop(key)))
                continue
            live[key] = order(
                key, f"{dice.randrange(9)}.50", store=dice.randrange(3), time=f"0{8 + number % 2}:10"
            )
            events.append(ORDERS.updated(live[key]))
        else:
            live[number] = order(number, f"{dice.randrange(9)}.50", store=dice.randrange(3))
            events.append(ORDERS.created(live[number]))
    return events


def test_an_hour_of_a_store() -> None:
    """Orders are counted, summed, and taken back when they are cancelled."""
    events = [
        ORDERS.created(order(1, "20.00")),
        ORDERS.created(order(2, "5.50", time="08:59")),
        ORDERS.created(order(3, "7.00", time="09:00")),
        ORDERS.deleted(order(1, "20.00")),
    ]
    rows = run(SalesPerStoreAndHour, events, **HOURS).rows["hours"]
    assert list(rows.values()) == [
        {
            "store_id": 3,
            "hour": "2026-03-01T08:00:00Z",
            "orders": 1,
            "revenue": "5.50",
            "largest_order": "5.50",
        },
        {
            "store_id": 3,
            "hour": "2026-03-01T09:00:00Z",
            "orders": 1,
            "revenue": "7.00",
            "largest_order": "7.00",
        },
    ]


def test_rolling_hours_of_a_store() -> None:
    """An order counts in the twelve hours that hold it, until they end."""
    rows = run(RollingHourPerStore, [ORDERS.created(order(1, "20.00"))], **ROLLING).rows["rolling"]
    assert len(rows) == 12
    assert min(rows) == (3, "2026-03-01T08:20:00Z")
    assert max(rows) == (3, "2026-03-01T09:15:00Z")


def test_the_ten_best() -> None:
    """Of twelve products ten are shown, the best first, equal ones by number; places that are lost go."""
    events = [ITEMS.created(item(n, n, 20 - n // 2)) for n in range(1, 13)]
    rows = run(TopSkusPerHour, events, **BEST).rows["best"].values()
    assert [(row["place"], row["product_id"], row["quantity"]) for row in rows][:3] == [
        (1, 1, 20),
        (2, 2, 19),
        (3, 3, 19),
    ]
    assert len(rows) == 10
    gone = [ITEMS.deleted(item(n, n, 20 - n // 2)) for n in range(1, 4)]
    rows = run(TopSkusPerHour, [*events, *gone], **BEST).rows["best"].values()
    assert [row["product_id"] for row in rows] == list(range(4, 13))


def test_no_delivery_changes_the_figures() -> None:
    """Bundle splits, repeats, order across keys, crashes and replays end in the same rows."""
    simulate(SalesPerStoreAndHour, traffic(60), seeds=30, **HOURS)
    simulate(RollingHourPerStore, traffic(30), seeds=10, **ROLLING)
