"""Say where the parts of a stack are reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tillstream.runners.local.layout import DIR_VARIABLE, Layout
from tillstream.runners.local.ports import LOOPBACK

__all__ = ["USER", "Addresses", "Database"]

USER = "tillstream"


@dataclass(frozen=True)
class Database:
    """Say how to connect to a database.

    Attributes:
        host: of the server.
        port: of the server.
        database: its name.
        user: the role.
        password_file: file that holds the role's password and nothing else.
    """

    host: str
    port: int
    database: str
    user: str
    password_file: Path

    def dsn(self) -> str:
        """Return a libpq connection string with the password in it: never print it."""
        password = self.password_file.read_text(encoding="ascii").strip()
        return (
            f"host={self.host} port={self.port} dbname={self.database} user={self.user} password={password}"
        )

    def as_sink(self) -> dict[str, Any]:
        """Return the part of a client's config that makes it a sink; the password stays a reference."""
        return {
            "type": "postgres",
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": self.user,
            "password": f"file:{self.password_file}",
        }


@dataclass(frozen=True)
class Addresses:
    """Say where each part of a stack is reached.

    Attributes:
        kafka: bootstrap server, `host:port`.
        connect: URL of Kafka Connect's REST interface.
        flink: URL of Flink's REST interface and dashboard.
        source: the retailer's database.
        warehouse: the database that clients' jobs write to.
    """

    kafka: str
    connect: str
    flink: str
    source: Database
    warehouse: Database

    @classmethod
    def of(cls, layout: Layout, ports: Mapping[str, int]) -> Addresses:
        """Return the addresses of a stack with these ports."""

        def database(name: str) -> Database:
            return Database(LOOPBACK, ports[name], name, USER, layout.secrets / f"{name}_password")

        return cls(
            kafka=f"{LOOPBACK}:{ports['kafka']}",
            connect=f"http://{LOOPBACK}:{ports['connect']}",
            flink=f"http://{LOOPBACK}:{ports['flink']}",
            source=database("source"),
            warehouse=database("warehouse"),
        )

    def environment(self, layout: Layout) -> dict[str, str]:
        """Return the variables that clients' configs refer to; none is a secret."""
        return {
            "TILLSTREAM_KAFKA": self.kafka,
            "TILLSTREAM_CONNECT": self.connect,
            "TILLSTREAM_FLINK": self.flink,
            "TILLSTREAM_SOURCE_HOST": self.source.host,
            "TILLSTREAM_SOURCE_PORT": str(self.source.port),
            "TILLSTREAM_WAREHOUSE_HOST": self.warehouse.host,
            "TILLSTREAM_WAREHOUSE_PORT": str(self.warehouse.port),
            DIR_VARIABLE: str(layout.root),
            "TILLSTREAM_SECRETS_DIR": str(layout.secrets),
        }
