"""Commit changes to both clients' tables all day, and watch how old the newest row is that a client sees."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import psycopg
from psycopg import sql

from tests.day.files import CLIENTS, SOUTH
from tillstream.pipelines.errors import StackError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.rig import await_

__all__ = ["Beats", "Traffic", "create_tables", "difference"]

_TICK_S = 0.1
_BEAT = 0  # the id of the row that is updated at every tick
_PATIENCE_S = 120.0
_BURST = 3_000
# Shares of what is done, one upon the other; the rest are deletes.
_INSERTS, _UPDATES = 0.5, 0.9


def create_tables(stack: LocalStack) -> None:
    """Create both clients' source tables."""
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as connection:
        for client in CLIENTS:
            table = sql.Identifier(client, "orders")
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(client)))
            connection.execute(
                sql.SQL(
                    "create table {} (id bigint primary key, amount numeric(12,2) not null, note text, "
                    "beat timestamptz not null default clock_timestamp())"
                ).format(table)
            )
            connection.execute(sql.SQL("insert into {} values ({}, 0, 'beat')").format(table, _BEAT))


class Traffic:
    """Insert, update and delete orders of both clients until closed.

    Args:
        stack: whose source it changes.
        seed: of what it does.
        changes: at each tick and client; a tick is a tenth of a second.
    """

    def __init__(self, stack: LocalStack, seed: int, changes: int = 5) -> None:
        self._stack = stack
        self._dice = random.Random(seed)  # noqa: S311  # what is bought is no secret
        self._changes = changes
        self._next = 1
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

    def burst(self, client: str) -> None:
        """Insert many orders of one client at once."""
        with psycopg.connect(self._stack.addresses.source.dsn(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("insert into {} select 1000000 + n, n, 'burst' from generate_series(1, {}) n").format(
                    sql.Identifier(client, "orders"), _BURST
                )
            )

    def _run(self) -> None:
        try:
            with psycopg.connect(self._stack.addresses.source.dsn(), autocommit=True) as connection:
                while not self._over.wait(_TICK_S):
                    for client in CLIENTS:
                        with connection.transaction():
                            self._tick(connection, sql.Identifier(client, "orders"))
        except Exception as error:  # noqa: BLE001  # raised by close()
            self._error = error

    def _tick(self, connection: psycopg.Connection[Any], table: sql.Identifier) -> None:
        connection.execute(
            sql.SQL("update {} set beat = clock_timestamp() where id = {}").format(table, _BEAT)
        )
        for _ in range(self._changes):
            amount, other = self._dice.randrange(10**6) / 100, self._dice.randrange(1, self._next + 1)
            what = self._dice.random()
            if what < _INSERTS:
                statement = "insert into {} (id, amount, note) values (%s, %s, 'new')"
                values: tuple[Any, ...] = (self._next, amount)
                self._next += 1
            elif what < _UPDATES:
                statement = "update {} set amount = %s, note = 'changed' where id = %s"
                values = (amount, other)
            else:
                statement, values = "delete from {} where id = %s", (other,)
            connection.execute(sql.SQL(statement).format(table), values)


class Beats:
    """Look all the time at how old the newest beat is that the south's warehouse shows.

    Args:
        stack: whose warehouse it looks at.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._over = threading.Event()
        self._ages: list[float] = []
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(30)

    def oldest_s(self) -> float | None:
        """Return the greatest age since the last call, seconds; None where nothing was seen."""
        ages, self._ages = self._ages, []
        return max(ages, default=None)

    def _run(self) -> None:
        statement = sql.SQL("select extract(epoch from beat) from {} where id = {}").format(
            sql.Identifier(SOUTH, "orders"), _BEAT
        )
        while not self._over.wait(_TICK_S):
            try:
                with psycopg.connect(self._stack.addresses.warehouse.dsn(), autocommit=True) as connection:
                    while not self._over.wait(_TICK_S):
                        found = connection.execute(statement).fetchone()
                        if found is not None:
                            self._ages.append(time.time() - float(found[0]))
            except psycopg.Error:
                continue  # no table yet, or the warehouse is away


def difference(stack: LocalStack, client: str) -> str | None:
    """Return the first difference of a client once nothing moves any more; None if both sides are equal."""
    try:
        await_(lambda: _first(stack, client) is None, f"{client} to be equal", _PATIENCE_S)
    except StackError:
        return _first(stack, client)
    return None


def _first(stack: LocalStack, client: str) -> str | None:
    columns = ["id", "amount", "note", "beat"]
    table = sql.Identifier(client, "orders")
    with psycopg.connect(stack.addresses.source.dsn()) as connection:
        cents = sql.SQL(", (amount * 100)::bigint") if client == CLIENTS[0] else sql.SQL("")
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        source = _rows(connection, sql.SQL("select {}{} from {}").format(names, cents, table))
    with psycopg.connect(stack.addresses.warehouse.dsn()) as connection:
        cents = sql.SQL(", cents") if client == CLIENTS[0] else sql.SQL("")
        try:
            found = _rows(connection, sql.SQL("select {}{} from {}").format(names, cents, table))
        except psycopg.errors.UndefinedTable:
            return f"{client}: no table in the warehouse"
    for key in sorted(source.keys() | found.keys()):
        if source.get(key) != found.get(key):
            return f"{client}.orders ({key}): expected {source.get(key)}, found {found.get(key)}"
    return None


def _rows(connection: psycopg.Connection[Any], statement: sql.Composed) -> dict[int, tuple[Any, ...]]:
    return {row[0]: row for row in connection.execute(statement).fetchall()}
