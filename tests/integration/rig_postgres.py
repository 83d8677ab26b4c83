"""Look behind the Postgres sink."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tillstream.io.sinks import Sink, Writer, sink_class
from tillstream.io.sinks.ledger import Admission
from tillstream.io.sinks.postgres_ledger import PostgresLedger

from .sink_rigs import ENTITIES, Rig, Seen, plain

if TYPE_CHECKING:
    from .conftest import Database


class PostgresRig(Rig):
    """Look behind the Postgres sink."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._database = database
        self._monkeypatch = monkeypatch
        self._lock: psycopg.Connection[tuple[Any, ...]] | None = None
        database.run("DROP SCHEMA IF EXISTS acme CASCADE")
        handler = Seen(self.refused_once)
        logger = logging.getLogger("tillstream.io.sinks.postgres")
        monkeypatch.setattr(logger, "handlers", [handler])

    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None) -> Sink:
        """Return a sink that writes into the schema `acme`."""
        model = self._database.model(retry_s_max=retry_s_max)
        return sink_class("postgres")("sink", "acme", model, ENTITIES, writer)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Return the table."""
        columns = ", ".join(f"{column.name}" for column in ENTITIES[entity].columns())
        key = ", ".join(ENTITIES[entity].key)
        found = self._database.rows(f"SELECT {columns} FROM acme.{entity} ORDER BY {key}")
        return [tuple(plain(value) for value in row) for row in found]

    def log(self, entity: str) -> list[int] | None:
        """Return None: a table keeps rows only."""
        del entity
        return None

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

    def hold(self) -> None:
        """Lock the tables."""
        self._lock = self._database.connect()
        self._lock.autocommit = False
        for entity in ENTITIES:
            self._lock.execute(f"LOCK TABLE acme.{entity} IN EXCLUSIVE MODE".encode())

    def let_go(self) -> None:
        """Unlock them."""
        if self._lock is not None:
            self._lock.close()

    def die_before_commit(self) -> None:
        """Crash the server before the ledger moves, and start it again."""
        move = PostgresLedger.move

        def crash(ledger: PostgresLedger, connection: Any, admission: Admission) -> None:
            self._monkeypatch.setattr(PostgresLedger, "move", move)
            self.take_away()
            self.bring_back()
            move(ledger, connection, admission)

        self._monkeypatch.setattr(PostgresLedger, "move", crash)
