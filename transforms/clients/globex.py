"""Transforms of the client globex."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent, Mutation, Operation
from tillstream.transforms.api import transform

__all__ = ["PagePath", "PriceInEuros"]

_CENT = Decimal("0.01")
# Rates that globex's finance department fixes for a year; a new year is a new version.
_EUROS_PER_UNIT = {"EUR": Decimal(1), "USD": Decimal("0.92"), "GBP": Decimal("1.17")}


@transform("globex.price_in_euros@1.0.0")
class PriceInEuros(beam.DoFn):
    """Add `price_eur` to a price, rounded half up to the cent."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Yield the price with its amount in euros.

        Raises:
            ValueError: for a currency without a fixed rate; the event becomes a dead letter.
        """
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
            return
        currency = event.after["currency"]
        if currency not in _EUROS_PER_UNIT:
            raise ValueError(f"found currency {currency!r}, expected one of {', '.join(_EUROS_PER_UNIT)}")
        euros = (Decimal(event.after["price"]) * _EUROS_PER_UNIT[currency]).quantize(_CENT, ROUND_HALF_UP)
        yield event.upsert({**event.after, "price_eur": euros})


@transform("globex.page_path@1.0.0")
class PagePath(beam.DoFn):
    """Keep page views of people: drop robots, and cut the query off the page's address."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Yield the page view, or nothing where a robot made it."""
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
        elif "bot" not in (event.after.get("user_agent") or "").lower():
            yield event.upsert({**event.after, "page": event.after["page"].split("?", 1)[0]})
