"""Give the conformance suites the means to look behind a sink, and to break its far side."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tillstream.configs import Entity
from tillstream.io.sinks import Sink, Writer
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationKind, MutationRecord

TIME_US = 1_760_000_000_000_000
ORDERS = Entity.model_validate(
    {
        "topic": "acme.public.orders",
        "key": ["order_id"],
        "contract": {"order_id": "int64", "status": "string", "total": "decimal(12,2)"},
        "sinks": ["sink"],
    }
)
STOCK = Entity.model_validate(
    {
        "topic": "acme.public.stock",
        "key": ["store", "sku"],
        "contract": {"sku": "string", "store": "int32", "on_hand": "int32"},
        "sinks": ["sink"],
    }
)
ENTITIES = {"orders": ORDERS, "stock": STOCK}
Open = Callable[..., PostgresSink]


def batch(
    entity: str,
    *rows: tuple[Any, ...],
    offset: int = 0,
    entities: dict[str, Entity] | None = None,
    shard: int = 0,
    sequence: int = 0,
    generation: int = 0,
    first: int = 0,
) -> MutationBatch:
    """Return a batch of upserts; a row as short as the key is a delete of that key."""
    described = (entities or ENTITIES)[entity]
    columns = tuple(column.name for column in described.columns())
    places = [columns.index(name) for name in described.key]
    records = []
    for place, row in enumerate(rows):
        upsert = len(row) == len(columns)
        records.append(
            MutationRecord(
                MutationKind.UPSERT if upsert else MutationKind.DELETE,
                tuple([row[i] for i in places]) if upsert else row,
                row if upsert else None,
                (offset + place,),
                TIME_US + offset + place,
                offset + place,
            )
        )
    key = tuple(described.key)
    return MutationBatch(
        *("acme", entity, shard, described.topic, 0),
        *(columns, key, tuple(records), sequence, generation, first),
    )


def truncate(entity: str, *, offset: int, shard: int = 0) -> MutationBatch:
    """Return the batch of a truncate, which deletes what has a lower offset."""
    record = MutationRecord(MutationKind.TRUNCATE, (), None, (offset,), TIME_US + offset, offset)
    return msgspec.structs.replace(batch(entity, shard=shard), records=(record,))


def written(sink: Sink, batches: Sequence[MutationBatch]) -> list[DeadLetter]:
    """Write batches, and return what the sink refused."""
    refused: list[DeadLetter] = []
    sink.write(batches, refused.extend)
    return refused


def entity(*key: str, **contract: Any) -> Entity:
    """Return an entity of that contract."""
    return Entity.model_validate(
        {"topic": "t", "key": key or ["id"], "contract": contract, "sinks": ["sink"]}
    )


def things(described: Entity, *rows: tuple[Any, ...], offset: int = 0) -> MutationBatch:
    """Return a batch of the entity `things`."""
    return batch("things", *rows, offset=offset, entities={"things": described})


class Rig(ABC):
    """Stand between the suites and one sink.

    Attributes:
        refused_once: is set when the sink has met its broken far side.
    """

    def __init__(self) -> None:
        self.refused_once = threading.Event()

    @abstractmethod
    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None) -> Sink:
        """Return a new sink on the same far side, not yet open."""

    @abstractmethod
    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Return an entity's rows as the far side shows them, in the order of their keys."""

    @abstractmethod
    def log(self, entity: str) -> list[int] | None:
        """Return the offsets of the changes that the far side shows, in its order, as often as it shows them.

        None where it keeps rows only.
        """

    @abstractmethod
    def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that are kept."""

    @abstractmethod
    def take_away(self) -> None:
        """Break the far side."""

    @abstractmethod
    def bring_back(self) -> None:
        """Mend it."""

    @abstractmethod
    def hold(self) -> None:
        """Make the far side slow: what is written waits until `let_go`."""

    @abstractmethod
    def let_go(self) -> None:
        """Let the far side go on."""

    def die_before_commit(self) -> None:
        """Break the far side once, after the next rows are there and before they are committed.

        Only exactly-once sinks are asked.
        """
        raise NotImplementedError


class Seen(logging.Handler):
    """Set an event when a sink says that it tries again."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(logging.WARNING)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        """Set the event, whatever is said."""
        del record
        self._event.set()


def plain(value: Any) -> Any:
    """Return a value as tests spell it: numbers as they are, all else as text."""
    return value if value is None or isinstance(value, int) else str(value)


def replayed(entity: str, lines: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the rows that a log of lines with the metadata of JSON lines ends in."""
    described = ENTITIES[entity]
    names = [column.name for column in described.columns()]
    state: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    times_us: dict[tuple[Any, ...], int] = {}
    for line in lines:
        if line["_op"] == "truncate":
            gone = [key for key in state if times_us[key] < int(line["_source_time_us"])]
            for key in gone:
                del state[key]
            continue
        key = tuple(line[name] for name in described.key)
        state.pop(key, None)
        if line["_op"] == "upsert":
            state[key] = tuple(plain(line[name]) for name in names)
            times_us[key] = int(line["_source_time_us"])
    return [state[key] for key in sorted(state)]
