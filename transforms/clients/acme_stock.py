"""Transforms of the client acme that watch its stock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import apache_beam as beam
from pydantic import BaseModel, Field

from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.transforms.api import transform
from tillstream.transforms.contracts.models import field

__all__ = ["REORDER_LEVEL", "InventoryBelowReorder", "Shelf", "ShelfBelowReorder"]

# Agreed with acme's buyers; another level is another version.
REORDER_LEVEL = 50


class Shelf(BaseModel):
    """Describe the stock of a product in a store as the shop's database has it."""

    store_id: int = field(key=True, description="Store whose shelf it is.")
    product_id: int = field(key=True, description="What lies there.")
    on_hand: int = Field(description="How many; below zero is back-ordered.")
    updated_at: dt.datetime = Field(description="When it was counted or sold last.")


class ShelfBelowReorder(BaseModel):
    """Describe a shelf that is to be filled."""

    store_id: int = field(key=True, description="Store whose shelf it is.")
    product_id: int = field(key=True, description="What to order.")
    on_hand: int = Field(description="How many are left.")
    missing: int = Field(description="How many it takes to reach the level.")
    updated_at: dt.datetime = Field(description="When the stock changed last.")


@transform("acme.inventory_below_reorder@1.0.0", input=Shelf, output=ShelfBelowReorder)
class InventoryBelowReorder(beam.DoFn):
    """Keep the shelves whose stock is below the reorder level."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Yield the shelf while it is low, and its end once it is not."""
        shelf = event.after
        if shelf is None or shelf["on_hand"] >= REORDER_LEVEL:
            yield event.delete()
        else:
            yield event.upsert({**shelf, "missing": REORDER_LEVEL - shelf["on_hand"]})
