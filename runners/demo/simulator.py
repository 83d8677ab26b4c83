"""Commit made-up retail traffic to a database, at an accurate rate."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import orjson
from psycopg import sql

from tillstream.runners.demo.schema import SCHEMA, TABLES_BY_NAME
from tillstream.runners.demo.traffic import Operation, Traffic, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import psycopg

    from tillstream.runners.demo.pacing import Pace

__all__ = ["Committed", "Simulator"]

_BATCH_EVENTS_MAX = 500  # in one round trip: bounds how far a commit may lag behind the clock
_TICK_S = 0.01  # events that fall due within it share a round trip


@dataclass
class Committed:
    """Count what the database has confirmed.

    Attributes:
        events: row changes by table and operation.
        transactions: how many.
        first_at: just before the first of them was committed, by this machine's clock; None before.
        last_at: just after the last of them was committed.
    """

    events: Counter[tuple[str, Operation]] = field(default_factory=Counter)
    transactions: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, transactions: Iterable[Transaction]) -> None:
        """Count committed transactions."""
        for transaction in transactions:
            self.transactions += 1
            for statement in transaction:
                self.events[statement.table, statement.operation] += len(statement.rows)

    def total(self, table: str | None = None) -> int:
        """Return the number of row changes, of one table or of all."""
        counts = list(self.events.items())  # one step, while another thread may be adding
        return sum(count for (name, _), count in counts if table in (None, name))


class Simulator:
    """Play a seed's traffic against a database.

    Transactions are committed one by one, as shops do, but sent in batches: those that fall due within
    some milliseconds share a round trip (libpq's pipeline mode).

    Args:
        connection: to the retail database, in autocommit mode; used by nobody else meanwhile.
        seed: of the traffic.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        seed: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._connection = connection
        self._traffic = Traffic(seed)
        self._transactions = self._traffic.transactions()
        self._clock = clock
        self._sleep = sleep
        self._stopped = threading.Event()
        self.committed = Committed()
        # The planner expects a hundred rows of each JSON array and would read whole tables for three:
        # nested loops over the primary keys double the rate that one session reaches.
        connection.execute("set enable_hashjoin = off")
        connection.execute("set enable_mergejoin = off")

    def fill(self) -> int:
        """Fill the empty tables with a retailer's data; returns the number of rows that they then hold."""
        opening = list(self._traffic.opening())
        self._commit(opening)
        statements = [statement for transaction in opening for statement in transaction]
        return sum(len(statement.rows) for statement in statements if statement.operation == "insert")

    def run(self, pace: Pace) -> Committed:
        """Commit what falls due, until the end of the run; returns `committed`, which grows meanwhile.

        A database that is too slow for the rate gets fewer events, not a longer run.
        """
        began = self._clock()
        done = 0
        while not self._stopped.is_set():
            elapsed_s = self._clock() - began
            due = pace.events_due(elapsed_s) - done
            if due > 0:
                batch, events = self._take(min(due, _BATCH_EVENTS_MAX))
                self._count_from(datetime.now(timezone.utc))
                self._commit(batch)
                self.committed.last_at = datetime.now(timezone.utc)
                self.committed.add(batch)
                done += events
            elif elapsed_s >= pace.duration_s:
                break
            else:
                self._sleep(_TICK_S)
            if elapsed_s > pace.duration_s:
                break
        return self.committed

    def stop(self) -> None:
        """End a run, from another thread, before its next batch."""
        self._stopped.set()

    def _count_from(self, now: datetime) -> None:
        if self.committed.first_at is None:
            self.committed.first_at = now

    def _take(self, events_min: int) -> tuple[list[Transaction], int]:
        batch, events = [], 0
        while events < events_min:
            transaction = next(self._transactions)
            batch.append(transaction)
            events += sum(len(statement.rows) for statement in transaction)
        return batch, events

    def _commit(self, batch: list[Transaction]) -> None:
        with self._connection.pipeline(), self._connection.cursor() as cursor:
            for transaction in batch:
                cursor.execute("begin")
                for statement in transaction:
                    row = statement.rows[0]
                    query = _query(statement.table, statement.operation, tuple(row))
                    cursor.execute(query, (orjson.dumps(statement.rows).decode(),))
                cursor.execute("commit")


@functools.cache
def _query(table: str, operation: Operation, columns: tuple[str, ...]) -> str:
    """Return SQL that changes any number of rows, given as one JSON array of objects."""
    name, key = sql.Identifier(SCHEMA, table), TABLES_BY_NAME[table].key
    rows = sql.SQL("json_populate_recordset(null::{}, %s::json) as v").format(name)
    match = _join(" and ", "t.{0} = v.{0}", key)
    if operation == "insert":
        names = _join(", ", "{0}", columns)
        query = sql.SQL("insert into {} ({}) select {} from {}").format(name, names, names, rows)
    elif operation == "update":
        changes = _join(", ", "{0} = v.{0}", tuple(c for c in columns if c not in key))
        query = sql.SQL("update {} as t set {} from {} where {}").format(name, changes, rows, match)
    else:
        query = sql.SQL("delete from {} as t using {} where {}").format(name, rows, match)
    return query.as_string(None)


def _join(separator: str, pattern: str, columns: tuple[str, ...]) -> sql.Composed:
    parts = [sql.SQL(pattern).format(sql.Identifier(column)) for column in columns]
    return sql.SQL(separator).join(parts)
