"""Run aggregates without a runner: the two stages, their states, and the table that comes out."""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import FixedWindows
from pydantic import BaseModel

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    MutationBatch,
    Operation,
)
from tillstream.pipelines.sharding import shard_key
from tillstream.transforms.aggregates.aggregate import (
    Aggregate,
    Contribution,
    Count,
    Max,
    Min,
    Sum,
    TopN,
    Window,
)
from tillstream.transforms.aggregates.changes import AggregateChanges
from tillstream.transforms.api import transform
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import using
from tillstream.transforms.registry import Registry
from tillstream.transforms.resolving import resolve
from tillstream.transforms.transform_changes import TransformChanges

AMOUNTS = {"revenue", "least", "most"}
START = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)


class Order(BaseModel):
    """Be what is aggregated."""

    order_id: int
    store: str | None
    total: Decimal
    ordered_at: dt.datetime


class Hour(BaseModel):
    """Be one store in one hour."""

    store: str
    hour: dt.datetime
    orders: int
    revenue: Decimal
    least: Decimal | None
    most: Decimal | None


class Best(BaseModel):
    """Be one place of an hour's best stores."""

    hour: dt.datetime
    place: int
    store: str
    revenue: Decimal


@transform("acme.hours@1.0.0", input=Order, output=Hour)
class Hours(Aggregate):
    """Add up each store's orders by hour."""

    window = FixedWindows(3600)
    allowed_lateness_s = 86_400
    combine = {"orders": Count(), "revenue": Sum("total"), "least": Min("total"), "most": Max("total")}

    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterator[Contribution]:  # noqa: ARG002
        """Count an order for its store; orders of no store count nowhere."""
        if row["total"] == 666:
            raise ValueError("the number of the beast")
        if row["store"] is not None:
            yield Contribution((row["store"],), {"total": row["total"]}, row["ordered_at"])

    def rows(
        self, group: tuple[Any, ...], window: Window | None, totals: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Make one row."""
        assert window is not None
        yield {"store": group[0], "hour": window.start, **totals}


@transform("acme.bests@1.0.0", input=Order, output=Best)
class Bests(Hours):
    """Find the two best stores of each hour."""

    combine = {"best": TopN(2, "store", by="total")}

    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterator[Contribution]:  # noqa: ARG002
        """Count an order for its hour."""
        if row["store"] is not None:
            values = {"store": row["store"], "total": row["total"]}
            yield Contribution((), values, row["ordered_at"])

    def rows(
        self,
        group: tuple[Any, ...],  # noqa: ARG002
        window: Window | None,
        totals: dict[str, Any],
    ) -> Iterator[dict[str, Any]]:
        """Make a row for each place."""
        assert window is not None
        for place, (store, revenue) in enumerate(totals["best"], 1):
            yield {"hour": window.start, "place": place, "store": store, "revenue": revenue}


def order(key: int, store: str | None, total: str, minute: float = 0) -> dict[str, Any]:
    """Return a row as Debezium sends it."""
    time = START + dt.timedelta(minutes=minute)
    return {"order_id": key, "store": store, "total": total, "ordered_at": time.isoformat()}


class Event(NamedTuple):
    """Be one change: its place, its key, and its row, None for a delete."""

    offset: int
    key: int
    row: dict[str, Any] | None
    operation: Operation = Operation.UPDATE
    source_time: dt.datetime = START + dt.timedelta(days=365)

    def record(self) -> ChangeRecord:
        """Return it as the reader makes it."""
        operation = Operation.DELETE if self.row is None else self.operation
        time_us = int(self.source_time.timestamp()) * 1_000_000
        after = None if self.row is None else json.dumps(self.row).encode()
        return ChangeRecord(self.offset, operation, (self.key,), (self.offset,), time_us, None, after)


def config(transforms: dict[str, str], shards: int = 2, **changes: Any) -> ClientConfig:
    """Return a client whose views are aggregates, by the name of their transform."""
    keys = {"hours": ["store", "hour"], "bests": ["hour", "place"]}
    orders = {"topic": "shop.public.orders", "key": ["order_id"], "sinks": ["out"]}
    views = {
        name: {"from": "orders", "key": keys[name], "sinks": ["out"], "transform": each}
        for name, each in transforms.items()
    }
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": {"orders": orders, **views},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "flink": {"shards": shards},
            **changes,
        }
    )


HOURS = config({"hours": "acme.hours@1.0.0", "bests": "acme.bests@1.0.0"})


def registry(*classes: type[Any]) -> Registry:
    """Return a registry of these and of the two above."""
    found = Registry()
    for each in {Hours, Bests, *classes}:
        found.add(each)
    return found


class Checkpoint(NamedTuple):
    """Be what a savepoint holds, and how much had been delivered by then."""

    states: dict[tuple[str, int], Any]
    delivered: int


class Run:
    """Be a job: feed it events, look at the table of a view.

    Args:
        client: its config.
        generation: of its launch.
        classes: transforms beside the two above.
        bounded: whether it ends.
    """

    def __init__(
        self,
        client: ClientConfig = HOURS,
        generation: int | None = 1,
        classes: Sequence[type[Any]] = (),
        *,
        bounded: bool = False,
    ) -> None:
        self._registry = registry(*classes)
        with using(self._registry):
            self.config = resolve(client)
        self._bounded = bounded
        self.states: dict[tuple[str, int], FakeState] = {}
        self.delivered: list[MutationBatch] = []
        self.letters: list[DeadLetter] = []
        self.start(generation)

    def start(self, generation: int | None) -> None:
        """Make the stages anew, as a restart does; their memory is gone."""
        with using(self._registry):
            self.changes = TransformChanges(self.config, generation, bounded=self._bounded)
            self.aggregate = AggregateChanges(self.config, generation, bounded=self._bounded)
            self.changes.setup()
            self.aggregate.setup()

    def checkpoint(self) -> Checkpoint:
        """Return what a savepoint holds."""
        return Checkpoint(
            {place: each.snapshot() for place, each in self.states.items()}, len(self.delivered)
        )

    def roll_back(self, checkpoint: Checkpoint, generation: int | None, *, undo: bool) -> None:
        """Start from a savepoint; with `undo` what came after it has not been delivered, as in a restart."""
        for place, state in self.states.items():
            state.restore(checkpoint.states.get(place, (None, ())))
        if undo:
            del self.delivered[checkpoint.delivered :]
        self.start(generation)

    def feed(self, *events: Event) -> None:
        """Read events as one poll finds them."""
        shards: dict[int, list[ChangeRecord]] = {}
        for event in events:
            shard = zlib.crc32(str(event.key).encode()) % self.config.flink.shards
            shards.setdefault(shard, []).append(event.record())
        for shard, records in shards.items():
            batch = ChangeBatch(
                "acme", "orders", shard, "shop.public.orders", 0, ("order_id",), tuple(records)
            )
            self._take(self.changes.process(self._element(shard, batch.encode()), *self._cells(shard)))

    def table(self, entity: str) -> dict[tuple[Any, ...], tuple[Any, ...]]:
        """Return a view's rows by key, as a sink that writes by key has them."""
        rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for batch in self.delivered:
            for record in batch.records if batch.entity == entity else ():
                if record.values is None:
                    rows.pop(record.key, None)
                else:
                    values = dict(zip(batch.columns, record.values, strict=True))
                    amounts = {name: Decimal(values[name]) for name in AMOUNTS & values.keys()}
                    rows[record.key] = tuple({**values, **amounts}.values())
        return rows

    def state_entries(self) -> int:
        """Return how many entries the two stages' own states hold."""
        total = 0
        for name, memory in (("client", self.changes._states), ("aggregate", self.aggregate._memory)):
            assert memory is not None
            for (kind, shard), state in self.states.items():
                if kind == name:
                    total += len(memory.open(b"look", state.cell, state.bag).index)
                    assert shard >= 0
        return total

    def _take(self, outputs: Iterable[Any]) -> None:
        for output in list(outputs):
            if not isinstance(output, TaggedOutput):
                batch = MutationBatch.decode(output[1])
                if batch.entity != "orders":
                    self.delivered.append(batch)
            elif output.tag == "dead_letters":
                self.letters += DeadLetterBatch.decode(output.value).letters
            else:
                shard = int(output.value[0][1:].split(b"#")[0])
                state = self._state("aggregate", shard)
                self._take(self.aggregate.process(output.value, state.cell, state.bag))

    def _element(self, shard: int, frame: bytes) -> tuple[bytes, bytes]:
        return shard_key(shard, self.config.flink.shards, self.config.flink.max_parallelism), frame

    def _cells(self, shard: int) -> tuple[Any, ...]:
        seen, client = self._state("shard", shard), self._state("client", shard)
        return seen.cell, seen.bag, client.cell, client.bag

    def _state(self, name: str, shard: int) -> FakeState:
        return self.states.setdefault((name, shard), FakeState())


def expected_hours(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return what `Hours` must end in, computed from the final rows."""
    groups: dict[tuple[Any, ...], list[Decimal]] = {}
    for row in rows:
        if row["store"] is not None:
            groups.setdefault((row["store"], _hour(row)), []).append(Decimal(row["total"]))
    return {key: (*key, len(totals), sum(totals), min(totals), max(totals)) for key, totals in groups.items()}


def expected_bests(rows: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Return what `Bests` must end in, computed from the final rows."""
    hours: dict[dt.datetime, dict[str, Decimal]] = {}
    for row in rows:
        if row["store"] is not None:
            stores = hours.setdefault(_hour(row), {})
            stores[row["store"]] = stores.get(row["store"], Decimal()) + Decimal(row["total"])
    found = {}
    for hour, stores in hours.items():
        best = sorted(stores.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
        for place, (store, total) in enumerate(best, 1):
            found[hour, place] = (hour, place, store, total)
    return found


def _hour(row: dict[str, Any]) -> dt.datetime:
    return dt.datetime.fromisoformat(row["ordered_at"]).replace(minute=0, second=0, microsecond=0)
