"""Transforms of the client acme: the views of the demo's retail database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import apache_beam as beam
from pydantic import BaseModel, Field

from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.transforms.api import Lookup, transform
from tillstream.transforms.contracts.models import field

__all__ = [
    "Item",
    "ItemEnriched",
    "ItemsEnriched",
    "Order",
    "OrderEnriched",
    "OrdersEnriched",
]

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]


class Order(BaseModel):
    """Describe an order as the shop's database has it."""

    order_id: int = field(key=True, description="Number of the order.")
    reference: uuid.UUID = Field(description="Number that the customer is told.")
    customer_id: int = Field(description="Who ordered.")
    store_id: int = Field(description="Where it was ordered.")
    status: str = Field(description="How far it has come.")
    total: Money = field(unit="EUR", description="Sum of its items.")
    note: str | None = Field(None, description="What the customer wrote.")
    ordered_at: dt.datetime = Field(description="When it was ordered.")


class OrderEnriched(BaseModel):
    """Describe an order with who ordered it and where, as these are now."""

    order_id: int = field(key=True, description="Number of the order.")
    reference: uuid.UUID = Field(description="Number that the customer is told.")
    status: str = Field(description="How far the order has come.")
    total: Money = field(unit="EUR", description="Sum of its items.")
    ordered_at: dt.datetime = Field(description="When it was ordered.")
    customer_id: int = Field(description="Who ordered.")
    customer_name: str | None = field(
        None, pii="name", description="Full name; null where the customer is gone."
    )
    is_member: bool | None = Field(None, description="Whether the customer is a member now.")
    store_id: int = Field(description="Where it was ordered.")
    store_name: str | None = Field(None, description="Name of the store; null where the store is gone.")
    store_city: str | None = Field(None, description="City of the store.")


class Item(BaseModel):
    """Describe one line of an order as the shop's database has it."""

    order_id: int = field(key=True, description="Order that it belongs to.")
    line: int = field(key=True, description="Number of the line in its order.")
    product_id: int = Field(description="What was ordered.")
    quantity: int = Field(description="How many of it.")
    unit_price: Money = field(unit="EUR", description="Price of one when it was ordered.")
    is_gift: bool = Field(description="Whether it is wrapped.")


class ItemEnriched(Item):
    """Describe one line of an order with its product, and how far the order has come, as these are now."""

    product_name: str | None = Field(None, description="Name; null where the product is gone.")
    category: str | None = Field(None, description="Category of the product.")
    order_status: str | None = Field(None, description="How far the order has come; null where it is gone.")


@transform("acme.orders_enriched@1.0.0", input=Order, output=OrderEnriched)
class OrdersEnriched(beam.DoFn):
    """Put the customer's name and membership, and the store's name and city, to an order."""

    def process(
        self,
        event: ChangeEvent,
        customer: Any = Lookup("customers", on="customer_id"),
        store: Any = Lookup("stores", on="store_id"),
    ) -> Iterator[Mutation]:
        """Yield the order as it is now; called again whenever the customer or the store changes."""
        if event.after is None:
            yield event.delete()
            return
        order = {name: event.after[name] for name in OrderEnriched.model_fields if name in event.after}
        yield event.upsert(
            {
                **order,
                "customer_name": customer and customer["full_name"],
                "is_member": customer and customer["is_member"],
                "store_name": store and store["name"],
                "store_city": store and store["city"],
            }
        )


@transform("acme.order_items_enriched@1.0.0", input=Item, output=ItemEnriched)
class ItemsEnriched(beam.DoFn):
    """Put the product's name and category, and the order's status, to an item."""

    def process(
        self,
        event: ChangeEvent,
        product: Any = Lookup("products", on="product_id"),
        order: Any = Lookup("orders", on="order_id"),
    ) -> Iterator[Mutation]:
        """Yield the item as it is now; called again whenever the product or the order changes."""
        if event.after is None:
            yield event.delete()
            return
        yield event.upsert(
            {
                **event.after,
                "product_name": product and product["name"],
                "category": product and product["category"],
                "order_status": order and order["status"],
            }
        )
