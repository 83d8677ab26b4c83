"""Write what the day's two clients are: their configs, and a transform in several versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tillstream.runners.local.stack import LocalStack

__all__ = ["CLIENTS", "GRADES", "NORTH", "SOUTH", "TRANSFORM", "write_config", "write_transforms"]

NORTH, SOUTH = "north", "south"
CLIENTS = (NORTH, SOUTH)
TRANSFORM = "north.cents"
# What each version calls an order, in SQL as in Python: by least cents, the highest first. The day's last
# version is the first one, so whatever the others wrote must be gone by then.
GRADES = {
    "1.0.0": ((500_000, "large"), (0, "small")),
    "1.1.0": ((500_000, "large"), (100_000, "small"), (0, "tiny")),
    "1.2.0": ((900_000, "huge"), (500_000, "large"), (100_000, "small"), (0, "least")),
}
_TRANSFORMS = '''\
"""Give an order its amount in cents and a grade: in several versions, of which the last is wrong."""

from collections.abc import Iterator
from decimal import Decimal

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent, Mutation, Operation
from tillstream.transforms.api import transform


class Graded(beam.DoFn):
    """Multiply, and name."""

    grades = ()

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.operation is Operation.DELETE or event.after is None:
            yield event.delete()
            return
        cents = int(Decimal(event.after["amount"]) * 100)
        grade = next(name for least, name in self.grades if cents >= least)
        yield event.upsert({**event.after, "cents": self.of(event.after["id"], cents), "grade": grade})

    def of(self, number: int, cents: int) -> int:
        """Return what is written as an order's cents."""
        return cents
'''
_VERSION = '''

@transform("{name}@{version}")
class {kind}(Graded):
    """Have grades of its own."""

    grades = {grades!r}
'''
_WRONG = '''

@transform("{name}@2.0.0")
class Wrong({kind}):
    """Be one cent off at every seventh order."""

    def of(self, number: int, cents: int) -> int:
        """Return what is written as an order's cents."""
        return cents + (number % 7 == 0)
'''


def write_transforms(folder: Path) -> None:
    """Write the module of north's transform."""
    kinds = {version: f"V{version.replace('.', '_')}" for version in GRADES}
    text = _TRANSFORMS + "".join(
        _VERSION.format(name=TRANSFORM, version=version, kind=kinds[version], grades=grades)
        for version, grades in GRADES.items()
    )
    text += _WRONG.format(name=TRANSFORM, kind=kinds["1.1.0"])
    (folder / "north_cents.py").write_text(text, encoding="utf-8")


def write_config(stack: LocalStack, folder: Path, client: str, version: str = "1.0.0", **flink: Any) -> Path:
    """Write a client's config and return its path.

    South has a log beside its table, which shows whatever is delivered twice or in another order. North has
    none: a log keeps what a roll-back undoes (docs/upgrade.md).

    Args:
        stack: that it runs on.
        folder: of configs, transforms and files.
        client: one of CLIENTS.
        version: of north's transform.
        flink: settings of the job beside the cluster's address.
    """
    contract: dict[str, Any] = {
        "id": "int64",
        "amount": {"type": "decimal(12,2)", "nullable": False},
        "note": "string",
        "version": {"type": "int64", "nullable": False},
        "beat": {"type": "timestamptz", "nullable": False},
    }
    entity: dict[str, Any] = {"topic": f"{client}.{client}.orders", "key": ["id"], "sinks": ["warehouse"]}
    config: dict[str, Any] = {
        "client": client,
        "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka, "discovery_interval_s": 1}},
        "entities": {"orders": entity | {"contract": contract}},
        "sinks": {"warehouse": stack.addresses.warehouse.as_sink()},
        "flink": {"rest_url": stack.addresses.flink, **flink},
    }
    if client == NORTH:
        contract |= {"cents": {"type": "int64", "nullable": False}}
        contract |= {"grade": {"type": "string", "nullable": False}}
        config["entities"]["orders"]["transform"] = f"{TRANSFORM}@{version}"
        config["transforms"] = {"modules": ["north_cents"], "path": "."}
    else:
        config["sinks"]["log"] = {"type": "files", "path": str(folder / "log")}
        config["entities"]["orders"]["sinks"] = ["warehouse", "log"]
    path = folder / f"{client}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path
