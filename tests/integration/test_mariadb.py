"""A real MariaDB, by its files and by its GTIDs: what its log says ends in rows that equal the tables."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tillstream.configs import ClientConfig
from tillstream.runners import direct
from tillstream.runners.capture.connect_rest import ConnectRest
from tillstream.runners.local.ports import LOOPBACK, unusual_ports
from tillstream.runners.local.secret_files import ensure_password
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import Jars, ensure_jars

from .conftest import Database
from .mariadb.packages import NotToBeHadError, connector, server
from .mariadb.server import MariaDB

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

_DEADLINE_S = 90.0
_JSON = "org.apache.kafka.connect.json.JsonConverter"
_TABLE = """
create table goods (
    id bigint unsigned primary key, name varchar(40), price decimal(10,2), at datetime(6),
    seen timestamp(3) null, day date, little tinyint, doc json, raw varbinary(8),
    kind enum('a', 'b'), large longtext
);
"""
_FIRST = """
insert into goods values
    (1, 'zażółć 🎁', 1.50, '2024-02-29 12:30:00.000001', '2024-02-29 12:30:00.123', '1999-12-31', -128,
     '{"a": [1]}', x'00ff', 'a', repeat('x', 70000)),
    (2, null, null, null, null, null, null, null, null, null, null),
    (9223372036854775807, '', -99999999.99, '9999-12-31 23:59:59.999999',
     null, '1000-01-01', 127, '[]', '', 'b', '');
"""
_THEN = """
update goods set name = 'renamed' where id = 1;
delete from goods where id = 2;
begin; update goods set id = 3 where id = 1; insert into goods (id, name) values (4, 'four'); commit;
begin; delete from goods where id = 4; rollback;
insert into goods (id, name) values (5, 'the end');
"""
_CONTRACT = {
    "id": "int64",
    "name": "string",
    "price": "decimal(10,2)",
    "at": "timestamp",
    "seen": "timestamptz",
    "day": "date",
    "little": "int16",
    "doc": "json",
    "raw": "bytes",
    "kind": "string",
    "large": "string",
}


@dataclass
class Source:
    """Hold a database and the broker that its changes go to."""

    database: MariaDB
    stack: LocalStack
    name: str = "maria"

    def capture(self) -> None:
        """Start the connector, from a snapshot on."""
        secret = self.stack.layout.secrets / "maria_password"
        ensure_password(secret)
        secret.write_text(self.database.password, encoding="ascii")
        rest = ConnectRest(self.stack.addresses.connect, "maria")
        rest.put(
            {
                "connector.class": "io.debezium.connector.mysql.MySqlConnector",
                "tasks.max": "1",
                "database.hostname": LOOPBACK,
                "database.port": str(self.database.port),
                "database.user": self.database.user,
                "database.password": f"${{directory:{secret.parent}:{secret.name}}}",
                "database.server.id": "8",
                "database.include.list": "shop",
                "database.ssl.mode": "disabled",
                "topic.prefix": self.name,
                "schema.history.internal.kafka.bootstrap.servers": self.stack.addresses.kafka,
                "schema.history.internal.kafka.topic": "maria-history",
                "key.converter": _JSON,
                "key.converter.schemas.enable": "true",
                "value.converter": _JSON,
                "value.converter.schemas.enable": "true",
                "poll.interval.ms": "50",
            }
        )

    def events(self, last: str) -> list[str]:
        """Return the values of the table's messages, up to one that holds a text."""
        consumer = Consumer({"bootstrap.servers": self.stack.addresses.kafka, "group.id": "maria"})
        consumer.assign([TopicPartition(f"{self.name}.shop.goods", 0, 0)])
        found: list[str] = []
        end_s = time.monotonic() + _DEADLINE_S
        while not any(last in each for each in found):
            assert time.monotonic() < end_s, found
            message = consumer.poll(0.5)
            if message is not None and not message.error() and message.value() is not None:
                found.append(message.value().decode())
        consumer.close()
        return found


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """Return a MariaDB, and a Connect that has the connector for it beside its own."""
    try:
        packages, jars = server(), connector()
    except NotToBeHadError as error:
        pytest.skip(f"MariaDB cannot be had here: {error}")
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "mysql").symlink_to(jars)
    (plugins / "debezium").symlink_to(ensure_jars().plugins / "debezium")
    monkeypatch.setattr(Jars, "plugins", property(lambda _: plugins))
    stack = LocalStack.open(tmp_path / "stack")
    ports = unusual_ports()
    database = MariaDB(packages, tmp_path, ports.pop("flink"))
    try:
        database.start()
        stack.up(["kafka", "connect"], ports=ports)
        yield Source(database, stack)
    finally:
        database.stop()
        stack.down(wipe=True)


def test_the_rows_equal_the_tables(source: Source, database: Database, tmp_path: Path) -> None:
    """Snapshot, updates, deletes and a changed key, of every kind of type, through the pipeline."""
    source.database.run(_TABLE + _FIRST)
    source.capture()
    source.events("9223372036854775807")
    source.database.run(_THEN)
    events = source.events('"the end"')
    operations = [json.loads(each)["payload"]["op"] for each in events]
    assert operations == [*"rrr", *"uddcc", "c"]
    path = tmp_path / "events.jsonl"
    # Those that come again change nothing.
    path.write_text("".join(f"{each}\n" for each in [*events, *events[::-1]]), encoding="utf-8")
    database.run("DROP SCHEMA IF EXISTS maria CASCADE")
    direct.run(client(path, database))
    assert rows(database) == told(source.database)
    assert database.rows("SELECT count(*) FROM maria.tillstream_dead_letters") == [(0,)]


def client(path: Path, database: Database) -> ClientConfig:
    """Return the config of a client whose events lie in a file."""
    goods = {"topic": "maria.shop.goods", "key": ["id"], "contract": _CONTRACT, "sinks": ["warehouse"]}
    return ClientConfig.model_validate(
        {
            "client": "maria",
            "source": {"files": {"paths": [str(path)]}},
            "entities": {"goods": goods},
            "sinks": {"warehouse": database.model().model_dump(by_alias=True)},
        }
    )


def rows(database: Database) -> list[tuple[Any, ...]]:
    """Return what the warehouse has."""
    return database.rows(
        "SELECT id::text, name, price::text, to_char(at, 'YYYY-MM-DD HH24:MI:SS.US'), "
        "to_char(seen AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), day::text, little::text, doc::text, "
        "upper(encode(raw, 'hex')), kind, md5(large) FROM maria.goods ORDER BY id"
    )


def told(database: MariaDB) -> list[tuple[Any, ...]]:
    """Return what MariaDB has."""
    text = database.run(
        "select id, name, price, at, seen, day, little, doc, hex(raw), kind, md5(large) "
        "from goods order by id"
    )
    return [
        tuple(None if value == "NULL" else value for value in line.split("\t")) for line in text.splitlines()
    ]
