"""Give the conformance suite each sink, and the means to look behind it and to break its far side."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from tillstream.configs import Entity, FilesSink
from tillstream.io.sinks import Sink, sink_class
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationKind, MutationRecord

from .conftest import Database

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
    entity: str, *rows: tuple[Any, ...], offset: int = 0, entities: dict[str, Entity] | None = None
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
    topic = described.topic
    return MutationBatch("acme", entity, 0, topic, 0, columns, tuple(described.key), tuple(records))


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
    """Stand between the suite and one sink.

    Attributes:
        refused_once: is set when the sink has met its broken far side.
    """

    def __init__(self) -> None:
        self.refused_once = threading.Event()

    @abstractmethod
    def sink(self, *, retry_s_max: int = 60) -> Sink:
        """Return a new sink on the same far side, not yet open."""

    @abstractmethod
    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Return an entity's rows as the far side shows them, in the order of their keys."""

    @abstractmethod
    def letters(self) -> list[dict[str, Any]]:
        """Return the dead letters that are kept."""

    @abstractmethod
    def take_away(self) -> None:
        """Break the far side."""

    @abstractmethod
    def bring_back(self) -> None:
        """Mend it."""


class _Seen(logging.Handler):
    """Set an event when a sink says that it tries again."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(logging.WARNING)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        """Set the event, whatever is said."""
        del record
        self._event.set()


class PostgresRig(Rig):
    """Look behind the Postgres sink."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._database = database
        database.run("DROP SCHEMA IF EXISTS acme CASCADE")
        handler = _Seen(self.refused_once)
        logger = logging.getLogger("tillstream.io.sinks.postgres")
        monkeypatch.setattr(logger, "handlers", [handler])

    def sink(self, *, retry_s_max: int = 60) -> Sink:
        """Return a sink that writes into the schema `acme`."""
        model = self._database.model(retry_s_max=retry_s_max)
        return sink_class("postgres")("sink", "acme", model, ENTITIES)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Return the table."""
        columns = ", ".join(f"{column.name}" for column in ENTITIES[entity].columns())
        key = ", ".join(ENTITIES[entity].key)
        found = self._database.rows(f"SELECT {columns} FROM acme.{entity} ORDER BY {key}")
        return [tuple(_plain(value) for value in row) for row in found]

    def letters(self) -> list[dict[str, Any]]:
        """Return the table of dead letters."""
        rows = self._database.rows("SELECT to_jsonb(t) FROM acme.tillstream_dead_letters t ORDER BY 1")
        return [row[0] for row in rows]

    def take_away(self) -> None:
        """Crash the server."""
        self._database.stop()

    def bring_back(self) -> None:
        """Start it again."""
        self._database.start()


class FilesRig(Rig):
    """Look behind the files sink: its rows are what replaying its log gives."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, form: str, compression: str) -> None:
        super().__init__()
        self._folder, self._monkeypatch = folder, monkeypatch
        self._model = FilesSink.model_validate(
            {"type": "files", "path": str(folder), "format": form, "compression": compression}
        )

    def sink(self, *, retry_s_max: int = 60) -> Sink:
        """Return a sink that writes into the folder."""
        self._monkeypatch.setattr("tillstream.io.sinks.files._RETRY_S_MAX", retry_s_max)
        return sink_class("files")("sink", "acme", self._model, ENTITIES)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Replay the log of an entity, read as often as it was written."""
        described = ENTITIES[entity]
        names = [column.name for column in described.columns()]
        lines = [line for path in sorted((self._folder / entity).glob("part-*")) for line in _lines(path)]
        state: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for line in sorted(lines, key=lambda line: (line["_offset"], line["_index"])):
            key = tuple(line[name] for name in described.key)
            state.pop(key, None)
            if line["_op"] == "upsert":
                state[key] = tuple(_plain(line[name]) for name in names)
        return [state[key] for key in sorted(state)]

    def letters(self) -> list[dict[str, Any]]:
        """Return the lines of all files of dead letters."""
        paths = sorted((self._folder / "_dead_letters").glob("part-*"))
        return [line for path in paths for line in _lines(path)]

    def take_away(self) -> None:
        """Fill the disk."""

        def full(_: int) -> None:
            self.refused_once.set()
            raise OSError(errno.ENOSPC, "No space left on device")

        self._monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", full)

    def bring_back(self) -> None:
        """Make room."""
        self._monkeypatch.setattr("tillstream.io.sinks.part_files.os.fsync", _FSYNC)


_FSYNC = os.fsync


def _lines(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        table: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return table
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    return [orjson.loads(line) for line in content.splitlines()]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)
