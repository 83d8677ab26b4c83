"""A client's whole pipeline runs on literal events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.testing import Table, assert_rows, run, run_client, stream

PRICES = Table("prices", key=("sku", "currency"))
EVENTS = stream(
    PRICES.created({"sku": "A", "currency": "USD", "price": "10.00"}),
    PRICES.created({"sku": "B", "currency": "GBP", "price": "1.00"}),
    PRICES.updated({"sku": "A", "currency": "USD", "price": "20.00"}),
    PRICES.created({"sku": "C", "currency": "CHF", "price": "1.00"}),
    PRICES.deleted({"sku": "B", "currency": "GBP"}),
)
EXPECTED = {"prices": {("A", "USD"): {"sku": "A", "currency": "USD", "price": "20.00", "price_eur": "18.40"}}}


def client(folder: Path) -> ClientConfig:
    """Return a client whose sink no test can write to."""
    contract: dict[str, Any] = {
        "sku": "string",
        "currency": "string",
        "price": "decimal(12,2)",
        "price_eur": "decimal(12,2)",
    }
    return ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"kafka": {"bootstrap_servers": "127.0.0.1:1"}},
            "entities": {
                "prices": {
                    "topic": "shop.public.prices",
                    "key": ["sku", "currency"],
                    "contract": contract,
                    "transform": "globex.price_in_euros@1.0.0",
                    "sinks": ["warehouse"],
                }
            },
            "sinks": {"warehouse": {"type": "files", "path": str(folder / "never"), "format": "parquet"}},
        }
    )


def test_the_whole_pipeline_gives_what_its_stages_alone_give(tmp_path: Path) -> None:
    """On DirectRunner, with reader and writer, and without: the same rows and dead letters."""
    whole, stages = run_client(client(tmp_path), EVENTS), run(client(tmp_path), EVENTS)
    for result in (whole, stages):
        assert_rows(result, EXPECTED)
        assert [(each.entity, each.reason, each.offset) for each in result.letters] == [
            ("prices", "transform_failed", 3)
        ]
    assert not (tmp_path / "never").exists()


def test_events_of_unknown_entities_are_named(tmp_path: Path) -> None:
    """An entity that the client does not read is a mistake of the test's."""
    with pytest.raises(UserError, match="event of 'orders': expected an entity that is read: prices"):
        run_client(client(tmp_path), [Table("orders", "id").created({"id": 1})])
