"""Aggregates of the client acme: sales by store and hour, rolling hours, and what sells best."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any

from apache_beam.transforms.window import FixedWindows, SlidingWindows
from pydantic import BaseModel, Field

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution, Count, Max, Sum, TopN, Window
from tillstream.transforms.api import transform
from tillstream.transforms.clients.acme import Item, Money, Order
from tillstream.transforms.contracts.models import field

__all__ = [
    "RollingHour",
    "RollingHourPerStore",
    "SalesPerStoreAndHour",
    "StoreHour",
    "TopSku",
    "TopSkusPerHour",
]

_BEST = 10
Revenue = Annotated[Decimal, Field(max_digits=18, decimal_places=2)]


class StoreHour(BaseModel):
    """Describe what a store sold in an hour of the clock."""

    store_id: int = field(key=True, description="Store that sold.")
    hour: dt.datetime = field(key=True, description="When the hour began.")
    orders: int = Field(description="How many orders.")
    revenue: Revenue = field(unit="EUR", description="Sum of their totals.")
    largest_order: Money = field(unit="EUR", description="Greatest of their totals.")


@transform("acme.sales_per_store_and_hour@1.0.0", input=Order, output=StoreHour)
class SalesPerStoreAndHour(Aggregate):
    """Add up each store's orders by the hour in which they were placed."""

    window = FixedWindows(3600)
    combine = {"orders": Count(), "revenue": Sum("total"), "largest_order": Max("total")}

    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterator[Contribution]:  # noqa: ARG002
        """Yield an order's total, for its store."""
        yield Contribution((row["store_id"],), {"total": row["total"]}, row["ordered_at"])

    def rows(
        self, group: tuple[Any, ...], window: Window | None, totals: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield the hour of one store."""
        assert window is not None  # an aggregate with windows gets one
        yield {"store_id": group[0], "hour": window.start, **totals}


class RollingHour(BaseModel):
    """Describe what a store sold in an hour that ends at one of the clock's five minutes."""

    store_id: int = field(key=True, description="Store that sold.")
    until: dt.datetime = field(key=True, description="When the hour ends.")
    orders: int = Field(description="How many orders.")
    revenue: Revenue = field(unit="EUR", description="Sum of their totals.")


@transform("acme.rolling_hour_per_store@1.0.0", input=Order, output=RollingHour)
class RollingHourPerStore(SalesPerStoreAndHour):
    """Add up each store's orders over hours that begin every five minutes."""

    window = SlidingWindows(3600, 300)
    combine = {"orders": Count(), "revenue": Sum("total")}

    def rows(
        self, group: tuple[Any, ...], window: Window | None, totals: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield one of the hours of one store."""
        assert window is not None
        yield {"store_id": group[0], "until": window.end, **totals}


class TopSku(BaseModel):
    """Describe one of the products that sold best in an hour."""

    hour: dt.datetime = field(key=True, description="When the hour began.")
    place: int = field(key=True, description="1 for the best.")
    product_id: int = Field(description="What was sold.")
    quantity: int = Field(description="How many.")


@transform("acme.top_skus_per_hour@1.0.0", input=Item, output=TopSku)
class TopSkusPerHour(Aggregate):
    """Find the ten products that sold most in each hour, over all stores.

    Lines of orders have no time of their own, so the commit of a line's last change counts: a line whose
    quantity changes later moves to that hour.
    """

    window = FixedWindows(3600)
    combine = {"best": TopN(_BEST, "product_id", by="quantity")}

    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterator[Contribution]:
        """Yield a line's product and quantity, for everybody."""
        values = {"product_id": row["product_id"], "quantity": row["quantity"]}
        yield Contribution((), values, event.source_time)

    def rows(
        self,
        group: tuple[Any, ...],  # noqa: ARG002  (all lines are one)
        window: Window | None,
        totals: Mapping[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """Yield a row for each place."""
        assert window is not None
        for place, (product_id, quantity) in enumerate(totals["best"], 1):
            yield {"hour": window.start, "place": place, "product_id": product_id, "quantity": quantity}
