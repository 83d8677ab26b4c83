# ruff: noqa: D102, ARG002  (what each does wrong is said of its class; an Aggregate gets what it need not use)
"""Transforms with lookups and aggregates are simulated through the stages that production runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pytest
from pydantic import BaseModel

from tillstream.pipelines.records import ChangeEvent, Mutation, Row
from tillstream.testing import DivergedError, Schedule, Table, simulate, stream
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution, Count, Sum
from tillstream.transforms.aggregates.windowing import Window
from tillstream.transforms.api import Lookup
from tillstream.transforms.clients.acme_figures import SalesPerStoreAndHour

ORDERS, CUSTOMERS = Table("orders", key="order_id"), Table("customers", key="customer_id")


class WithName(beam.DoFn):
    """Put the customer's name to an order."""

    def process(
        self, event: ChangeEvent, customer: Any = Lookup("customers", on="customer_id")
    ) -> Iterator[Mutation]:
        if event.after is None:
            yield event.delete()
        else:
            yield event.upsert({**event.after, "name": customer and customer["name"]})


class WithFirstName(beam.DoFn):
    """Remember each customer's first name in an attribute, which lookups make wrong at once."""

    def setup(self) -> None:
        self.names: dict[Any, Any] = {}

    def process(
        self, event: ChangeEvent, customer: Any = Lookup("customers", on="customer_id")
    ) -> Iterator[Mutation]:
        if event.after is not None and customer is not None:
            name = self.names.setdefault(customer["customer_id"], customer["name"])
            yield event.upsert({**event.after, "name": name})


class Sold(BaseModel):
    """Describe what a store sold."""

    store: str
    orders: int
    total: int


class SoldPerStore(Aggregate):
    """Add up orders."""

    combine = {"orders": Count(), "total": Sum("total")}

    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterable[Contribution]:
        yield Contribution((row["store"],), {"total": row["total"]})

    def rows(self, group: tuple[Any, ...], window: Window | None, totals: Mapping[str, Any]) -> Iterable[Row]:
        yield {"store": group[0], **totals}


class SoldUntilToday(SoldPerStore):
    """Say in a row when it was added up."""

    def rows(self, group: tuple[Any, ...], window: Window | None, totals: Mapping[str, Any]) -> Iterable[Row]:
        yield {"store": group[0], **totals, "day": dt.date.today().isoformat()}  # noqa: DTZ011


def log() -> list[ChangeEvent]:
    """Return orders that come before and after their customers, and change with them."""
    events = []
    for i in range(12):
        events.append(ORDERS.created({"order_id": i, "customer_id": i % 4, "store": "ab"[i % 2], "total": i}))
        if i % 3 == 0:
            events.append(CUSTOMERS.created({"customer_id": i // 3, "name": f"name {i}"}))
    for i in range(6):
        events.append(ORDERS.updated({"order_id": i, "customer_id": 3, "store": "a", "total": 10}))
        events.append(CUSTOMERS.updated({"customer_id": i % 4, "name": f"new name {i}"}))
    return stream(*events, ORDERS.deleted({"order_id": 7}), CUSTOMERS.deleted({"customer_id": 2}))


@pytest.mark.parametrize("dedup", [False, True])
def test_a_lookup_ends_in_the_rows_of_a_clean_run(*, dedup: bool) -> None:
    """Whatever comes first, and whatever is replayed, an order has its customer's last name."""
    result = simulate(WithName, log(), source="orders", into="named", seeds=40, dedup=dedup)
    assert set(result.rows) == {"named"}
    assert {row["name"] for row in result.rows["named"].values()} == {
        "new name 4",
        "new name 5",
        "new name 3",
        None,
    }


@pytest.mark.parametrize("dedup", [False, True])
def test_an_aggregate_ends_in_the_rows_of_a_clean_run(*, dedup: bool) -> None:
    """Repeated and replayed changes are added up once."""
    orders = [event for event in log() if event.entity == "orders"]
    result = simulate(SoldPerStore, orders, into="sold", keys={"sold": "store"}, seeds=40, dedup=dedup)
    assert result.rows == {
        "sold": {
            "a": {"store": "a", "orders": 9, "total": 84},
            "b": {"store": "b", "orders": 2, "total": 20},
        }
    }


def test_a_shipped_aggregate_passes() -> None:
    """Sales per store and hour, by a class of the demo's client."""
    order = {
        "reference": "00000000-0000-0000-0000-000000000000",
        "customer_id": 1,
        "status": "new",
        "note": None,
    }
    events = [
        ORDERS.created(
            {
                **order,
                "order_id": i,
                "store_id": i % 2,
                "total": f"{i}.10",
                "ordered_at": f"2026-01-01T0{i % 3}:00:00Z",
            }
        )
        for i in range(8)
    ]
    simulate(SalesPerStoreAndHour, events, into="sales", keys={"sales": ("store_id", "hour")}, seeds=20)


@pytest.mark.parametrize(
    ("bad", "options"),
    [
        (WithFirstName, {"source": "orders", "into": "named"}),
        (SoldUntilToday, {"source": "orders", "into": "sold", "keys": {"sold": "store"}}),
    ],
)
def test_what_rests_on_more_than_its_arguments_is_caught(bad: type[Any], options: dict[str, Any]) -> None:
    """Memory of one's own and the clock are found in later stages too, and the printed test fails."""
    with pytest.raises(DivergedError) as caught:
        simulate(bad, log(), seeds=40, **options)
    scope: dict[str, Any] = {}
    exec(caught.value.test, scope)  # noqa: S102  (what a developer pastes)
    (test,) = [value for name, value in scope.items() if name.startswith("test_")]
    with pytest.raises(DivergedError):
        test()
    assert len(caught.value.events) <= 4


def test_messages_between_stages_may_come_late() -> None:
    """A schedule can hold them back by itself."""
    events = log()
    simulate(
        WithName,
        events,
        source="orders",
        into="named",
        schedule=Schedule(bundles=tuple(range(1, len(events))), holds=tuple(range(1, len(events), 2))),
    )
