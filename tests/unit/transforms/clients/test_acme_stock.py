"""Shelves below their reorder level, and no others."""

from __future__ import annotations

from typing import Any

from tillstream.testing import Table, run, simulate
from tillstream.transforms.clients.acme_stock import InventoryBelowReorder

SHELVES = Table("inventory", key=["store_id", "product_id"])


def shelf(on_hand: int, product: int = 1) -> dict[str, Any]:
    """Return a shelf's row."""
    return {
        "store_id": 3,
        "product_id": product,
        "on_hand": on_hand,
        "counted_on": None,
        "updated_at": "2026-03-01T08:15:00Z",
    }


def test_a_shelf_comes_and_goes() -> None:
    """It is there below the level, with what is missing, and gone when it is filled or taken down."""
    events = [
        SHELVES.created(shelf(49)),
        SHELVES.created(shelf(50, 2)),
        SHELVES.created(shelf(-3, 3)),
        SHELVES.created(shelf(10, 4)),
        SHELVES.updated(shelf(60)),
        SHELVES.deleted(shelf(10, 4)),
    ]
    rows = run(InventoryBelowReorder, events).rows["inventory"]
    assert [(row["product_id"], row["on_hand"], row["missing"]) for row in rows.values()] == [(3, -3, 53)]
    simulate(InventoryBelowReorder, events, seeds=20)
