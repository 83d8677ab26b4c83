"""Commit changes to both clients' tables all day, and remember those of the client that has a log."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql

from tests.day.files import CLIENTS, NORTH, SOUTH
from tillstream.pipelines.errors import StackError
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.oracle import Change, Oracle, RowKey
from tillstream.runners.verify.rig import await_

__all__ = ["BEAT", "COLUMNS", "TABLE", "Traffic", "capture_tables"]

BEAT = 0  # the id of the row that is updated at every tick
TABLE = "orders"
# Of what a log is compared by; `version` tells changes apart.
COLUMNS = ("id", "amount", "note", "version")
_PARTITIONS = 2
_TICK_S = 0.1
_ANSWER_S = 5.0
_BURST = 3_000
# Shares of what is done, one upon the other; the rest are deletes.
_INSERTS, _UPDATES = 0.5, 0.9
_FIRST = {"id": BEAT, "amount": "0.00", "note": "beat", "version": 0}


def capture_tables(stack: LocalStack) -> None:
    """Create both clients' source tables, and capture them.

    When it returns, both snapshots have been read: each later change is an event of its own.
    """
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as connection:
        for client in CLIENTS:
            table = sql.Identifier(client, TABLE)
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(client)))
            connection.execute(
                sql.SQL(
                    "create table {} (id bigint primary key, amount numeric(12,2) not null, note text, "
                    "version bigint not null, beat timestamptz not null default clock_timestamp())"
                ).format(table)
            )
            connection.execute(
                sql.SQL("insert into {} (id, amount, note, version) values (%s, %s, %s, %s)").format(table),
                list(_FIRST.values()),
            )
    for client in CLIENTS:
        register_debezium(stack, client, client, (f"{client}.{TABLE}",), partitions=_PARTITIONS)
    consumer = Consumer({"bootstrap.servers": stack.addresses.kafka, "group.id": "day", "log_level": 0})
    try:
        for client in CLIENTS:
            topic = f"{client}.{client}.{TABLE}"
            await_(lambda topic=topic: sum(_ends(consumer, topic)), f"the snapshot in {topic}")
    finally:
        consumer.close()


def _ends(consumer: Consumer, topic: str) -> Iterator[int]:
    known = consumer.list_topics(timeout=_ANSWER_S).topics
    for number in known[topic].partitions if topic in known else ():
        yield consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_ANSWER_S)[1]


class Traffic:
    """Insert, update and delete orders of both clients until closed.

    Args:
        stack: whose source it changes.
        seed: of what it does.
        changes: at each tick and client; a tick is a tenth of a second.

    Attributes:
        oracle: all that was committed to south's table.
    """

    def __init__(self, stack: LocalStack, seed: int, changes: int = 5) -> None:
        self.oracle = Oracle()
        self.oracle.add([_change(tuple(_FIRST.values()))])
        self._stack = stack
        self._dice = random.Random(seed)  # noqa: S311  # what is bought is no secret
        self._changes = changes
        self._next = 1
        self._version = 0
        self._over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and raise what ended it before."""
        self._over.set()
        self._thread.join(30)
        if self._error is not None:
            raise StackError(f"the traffic stopped: {self._error}") from self._error

    def burst(self) -> None:
        """Insert many orders of north at once."""
        with psycopg.connect(self._stack.addresses.source.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL(
                    "insert into {} (id, amount, note, version) "
                    "select 1000000 + n, n, 'burst', 0 from generate_series(1, {}) n"
                ).format(sql.Identifier(NORTH, TABLE), _BURST)
            )

    def _run(self) -> None:
        try:
            with psycopg.connect(self._stack.addresses.source.dsn(), autocommit=True) as connection:
                while not self._over.wait(_TICK_S):
                    for client in CLIENTS:
                        with connection.transaction():
                            changes = list(self._tick(connection, sql.Identifier(client, TABLE)))
                        if client == SOUTH:
                            self.oracle.add(changes)
        except Exception as error:  # noqa: BLE001  # raised by close()
            self._error = error

    def _tick(self, connection: psycopg.Connection[Any], table: sql.Identifier) -> Iterator[Change]:
        """Change some rows, and yield what became of them: of some there is none."""
        for number in range(self._changes + 1):
            self._version += 1
            amount, other = self._dice.randrange(10**6) / 100, self._dice.randrange(1, self._next + 1)
            what = self._dice.random()
            if number == 0:
                statement = "update {} set beat = clock_timestamp(), version = %s where id = %s"
                values: tuple[Any, ...] = (self._version, BEAT)
            elif what < _INSERTS:
                statement = "insert into {} (id, amount, note, version) values (%s, %s, 'new', %s)"
                values = (self._next, amount, self._version)
                self._next += 1
            elif what < _UPDATES:
                statement = "update {} set amount = %s, note = 'changed', version = %s where id = %s"
                values = (amount, self._version, other)
            else:
                statement, values = "delete from {} where id = %s", (other,)
            query = sql.SQL(statement + " returning id, amount::text, note, version").format(table)
            for row in connection.execute(query, values).fetchall():
                is_gone = statement.startswith("delete")
                yield Change(RowKey(TABLE, row[:1]), None) if is_gone else _change(row)


def _change(row: tuple[Any, ...]) -> Change:
    return Change(RowKey(TABLE, row[:1]), dict(zip(COLUMNS, row, strict=True)))
