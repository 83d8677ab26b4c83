"""Write what the day's two clients are: their configs, and a transform in several versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tillstream.runners.local.stack import LocalStack

__all__ = ["CLIENTS", "NORTH", "SOUTH", "write_config", "write_transforms"]

NORTH, SOUTH = "north", "south"
CLIENTS = (NORTH, SOUTH)
_TRANSFORMS = '''\
"""Give an order its amount in cents: right in two versions, wrong in the third."""

from collections.abc import Iterator
from decimal import Decimal

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent, Mutation, Operation
from tillstream.transforms.api import transform


@transform("north.cents@1.0.0")
class Cents(beam.DoFn):
    """Multiply."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
            return
        yield event.upsert({**event.after, "cents": int(Decimal(event.after["amount"]) * 100)})


@transform("north.cents@1.1.0")
class ShiftedCents(beam.DoFn):
    """Move the point."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
            return
        yield event.upsert({**event.after, "cents": int(Decimal(event.after["amount"]).scaleb(2))})


@transform("north.cents@2.0.0")
class WrongCents(beam.DoFn):
    """Be wrong for every seventh order."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
            return
        wrong = 1 if event.after["id"] % 7 == 0 else 0
        yield event.upsert({**event.after, "cents": int(Decimal(event.after["amount"]) * 100) + wrong})
'''


def write_transforms(folder: Path) -> None:
    """Write the module of north's transform."""
    (folder / "north_cents.py").write_text(_TRANSFORMS, encoding="utf-8")


def write_config(stack: LocalStack, folder: Path, client: str, version: str = "1.0.0", **flink: Any) -> Path:
    """Write a client's config and return its path.

    Args:
        stack: that it runs on.
        folder: of configs and transforms.
        client: one of CLIENTS.
        version: of north's transform.
        flink: settings of the job beside the cluster's address.
    """
    warehouse = stack.addresses.warehouse
    contract: dict[str, Any] = {
        "id": "int64",
        "amount": {"type": "decimal(12,2)", "nullable": False},
        "note": "string",
        "beat": {"type": "timestamptz", "nullable": False},
    }
    entity: dict[str, Any] = {"topic": f"{client}.{client}.orders", "key": ["id"], "sinks": ["warehouse"]}
    config: dict[str, Any] = {
        "client": client,
        "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka, "discovery_interval_s": 1}},
        "entities": {"orders": entity | {"contract": contract}},
        "sinks": {"warehouse": warehouse.as_sink()},
        "flink": {"rest_url": stack.addresses.flink, **flink},
    }
    if client == NORTH:
        config["entities"]["orders"]["contract"]["cents"] = {"type": "int64", "nullable": False}
        config["entities"]["orders"]["transform"] = f"north.cents@{version}"
        config["transforms"] = {"modules": ["north_cents"], "path": "."}
    path = folder / f"{client}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
