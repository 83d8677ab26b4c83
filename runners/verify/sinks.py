"""Read what each sink holds, as its own readers would."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from psycopg import sql

from tillstream.runners.verify.oracle import (
    Change,
    Differences,
    Oracle,
    RowKey,
    compare_log,
    compare_rows,
)
from tillstream.runners.verify.workload import TABLES, Table

if TYPE_CHECKING:
    from confluent_kafka import Message

    from tillstream.runners.local.addresses import Database

__all__ = ["FilesReader", "KafkaReader", "PostgresReader", "Reader"]

_DELETE = "delete"
_MESSAGES_MAX = 2_000
_CONSUME_S = 0.2
_ANSWER_S_MAX = 5.0


class Reader(ABC):
    """Read one sink.

    Attributes:
        name: of the sink in the client's config.
    """

    name: str

    @abstractmethod
    def newest(self) -> int:
        """Return the highest version that is visible, 0 if none is or the far side does not answer."""

    @abstractmethod
    def compare(self, oracle: Oracle) -> Differences:
        """Compare all that the sink holds with what it must hold."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""


class PostgresReader(Reader):
    """Read the rows of a warehouse.

    Args:
        database: the warehouse.
        schema: of the client's tables.
    """

    name = "postgres"

    def __init__(self, database: Database, schema: str) -> None:
        self._database = database
        self._schema = schema
        self._connection: psycopg.Connection[Any] | None = None

    def newest(self) -> int:
        """Return the highest version of all tables; deleted rows do not count."""
        found = 0
        try:
            connection = self._connect()
            for table in TABLES:
                (version,) = connection.execute(
                    sql.SQL("select max(version) from {}").format(sql.Identifier(self._schema, table.name))
                ).fetchone() or (0,)
                found = max(found, version or 0)
        except psycopg.errors.UndefinedTable:
            return found
        except psycopg.OperationalError:  # it is the part that was killed
            self.close()
            return 0
        return found

    def compare(self, oracle: Oracle) -> Differences:
        """Compare the rows of all tables."""
        return compare_rows(oracle, ((row, values) for table in TABLES for row, values in self._rows(table)))

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            options = "-c statement_timeout=20s -c lock_timeout=1s"
            self._connection = psycopg.connect(
                self._database.dsn(), autocommit=True, connect_timeout=2, options=options
            )
        return self._connection

    def _rows(self, table: Table) -> list[tuple[RowKey, Mapping[str, Any]]]:
        columns = [
            sql.SQL("{}::text" if kind.startswith("decimal") else "{}").format(sql.Identifier(name))
            for name, kind in table.contract.items()
        ]
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(columns), sql.Identifier(self._schema, table.name)
        )
        try:
            found = self._connect().execute(query).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        except psycopg.OperationalError:
            self.close()
            return []
        rows = [dict(zip(table.contract, values, strict=True)) for values in found]
        return [(RowKey(table.name, tuple(row[name] for name in table.key)), row) for row in rows]


class FilesReader(Reader):
    """Read the files of a folder, in the order of their names.

    Args:
        folder: that the sink writes to.
    """

    name = "files"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[tuple[str, str], list[Change]] = {}
        self._newest = 0

    def newest(self) -> int:
        """Return the highest version of all files."""
        self._read()
        return self._newest

    def compare(self, oracle: Oracle) -> Differences:
        """Compare the lines of all files."""
        self._read()
        return compare_log(oracle, (change for name in sorted(self._known) for change in self._known[name]))

    def close(self) -> None:
        """Forget what was read."""
        self._known = {}

    def _read(self) -> None:
        """Read the files that are new: none is ever changed."""
        for table in TABLES:
            for path in (self._folder / table.name).glob("part-*"):
                if (table.name, path.name) in self._known:
                    continue
                changes = [_change(table, orjson.loads(line)) for line in path.read_bytes().splitlines()]
                self._known[table.name, path.name] = changes
                for change in changes:
                    if change.values is not None:
                        self._newest = max(self._newest, change.values["version"])


class KafkaReader(Reader):
    """Read the topics of a sink as a reader that sees committed transactions only.

    Args:
        bootstrap: the broker.
        prefix: of the topics.
    """

    name = "kafka"

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._tables = {f"{prefix}.{table.name}": table for table in TABLES}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"{prefix}-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        self._assigned: set[tuple[str, int]] = set()
        self._changes: list[Change] = []
        self._newest = 0

    def newest(self) -> int:
        """Return the highest version of all messages."""
        self._read()
        return self._newest

    def compare(self, oracle: Oracle) -> Differences:
        """Compare all messages; those of one key are in one partition, in order."""
        self._read()
        return compare_log(oracle, self._changes)

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _read(self) -> None:
        """Read what is new; nothing while the broker is away."""
        self._assign()
        while self._assigned and (messages := self._consumer.consume(_MESSAGES_MAX, _CONSUME_S)):
            for message in messages:
                if message.error() is None:
                    self._add(message)

    def _assign(self) -> None:
        """Read also topics that the sink has made meanwhile; partitions never go."""
        if len({topic for topic, _ in self._assigned}) == len(self._tables):
            return
        try:
            known = self._consumer.list_topics(timeout=_ANSWER_S_MAX).topics
        except KafkaException:
            return
        there = {
            (name, number) for name in self._tables if name in known for number in known[name].partitions
        }
        new = [TopicPartition(*place, OFFSET_BEGINNING) for place in sorted(there - self._assigned)]
        if new:
            self._consumer.incremental_assign(new)
            self._assigned = there

    def _add(self, message: Message) -> None:
        table = self._tables[message.topic()]
        key = orjson.loads(message.key())
        row = RowKey(table.name, tuple(key[name] for name in table.key))
        value = message.value()
        line = None if value is None else orjson.loads(value)
        self._changes.append(
            Change(row, None if line is None else {name: line[name] for name in table.contract})
        )
        if line is not None:
            self._newest = max(self._newest, line["version"])


def _change(table: Table, line: Mapping[str, Any]) -> Change:
    row = RowKey(table.name, tuple(line[name] for name in table.key))
    return Change(row, None if line["_op"] == _DELETE else {name: line[name] for name in table.contract})
