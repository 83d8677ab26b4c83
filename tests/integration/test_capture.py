"""A client's tables are captured, watched, read again and let go, on the real parts."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from tillstream.cli import app
from tillstream.configs.loader import load
from tillstream.pipelines.errors import UserError
from tillstream.runners.capture import manage
from tillstream.runners.capture.spec import Capture, Place, capture_of, place_of
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.postgres import Source
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

from .jobs.conftest import wait_until

pytestmark = pytest.mark.integration

ROWS = 3000
CLIENT = "umbrella"
CONFIG = """
client: umbrella
source:
  kafka: {{bootstrap_servers: "{kafka}", discovery_interval_s: 1}}
capture:
  connect_url: {connect}
  host: 127.0.0.1
  port: {source.port}
  database: source
  admin_user: tillstream
  admin_password: file:{source.password_file}
  incremental_chunk_rows: 1000
entities:
  orders:
    topic: umbrella.shop.orders
    key: [id]
    contract: {{id: int64, total: "decimal(12,2)"}}
    sinks: [warehouse]
sinks:
  warehouse:
    type: postgres
    host: 127.0.0.1
    port: {warehouse.port}
    database: warehouse
    user: tillstream
    password: file:{warehouse.password_file}
flink: {{rest_url: "{flink}", shards: 2}}
"""


class Shop:
    """Be the client: its database, its warehouse, and the commands about it."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack = stack
        self.config = folder / "umbrella.yaml"
        self.config.write_text(CONFIG.format(**vars(stack.addresses)))

    def command(self, *arguments: str) -> Result:
        """Run a command about the client."""
        return CliRunner().invoke(app, [*arguments[:2], str(self.config), *arguments[2:]])

    def resync(self, *entities: str) -> Result:
        """Run `tillstream resync`."""
        return CliRunner().invoke(app, ["resync", str(self.config), *entities, "--wait", "90"])

    def source(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the client's database."""
        return _run(self.stack.addresses.source.dsn(), statement)

    def warehouse(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the warehouse; nothing while there is no such table yet."""
        try:
            return _run(self.stack.addresses.warehouse.dsn(), statement)
        except psycopg.errors.UndefinedTable:
            return []

    def is_equal(self) -> bool:
        """Tell whether the warehouse has what the database has."""
        query = "select id, total from {}.orders order by id"
        return self.warehouse(query.format(CLIENT)) == self.source(query.format("shop"))

    @property
    def known(self) -> tuple[Capture, Place]:
        """Return the capture, and where it is."""
        config = load(self.config)
        return capture_of(config), place_of(config)


def _run(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Return a client with a table of some rows, on a stack of its own whose slots are lost soon."""
    stack = LocalStack.open(tmp_path_factory.mktemp("capture") / "stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Source, "settings", {**Source.settings, "max_slot_wal_keep_size": "32MB"})
        patch.setenv("TILLSTREAM_DIR", str(stack.layout.root))
        patch.setenv("TILLSTREAM_SECRETS_DIR", str(stack.layout.secrets))
        try:
            stack.up()
            found = Shop(stack, stack.layout.root)
            found.source("create schema shop")
            found.source("create table shop.orders (id bigint primary key, total numeric(12, 2) not null)")
            found.source("create table shop.secrets (id int primary key)")
            found.source("create table shop.keyless (id int)")
            found.source(f"insert into shop.orders select i, i from generate_series(1, {ROWS}) i")
            yield found
        finally:
            stack.down(wipe=True)


def test_what_is_missing_is_told_at_once(shop: Shop) -> None:
    """Each table that cannot be captured is named, with what to do, and nothing is made."""
    capture, place = shop.known
    wrong = Capture(CLIENT, CLIENT, ("shop.nothing", "shop.keyless"))
    with pytest.raises(UserError) as error:
        manage.create(wrong, place, print)
    first, second = str(error.value).splitlines()
    assert "found no table shop.nothing" in first
    assert "alter table shop.keyless replica identity full" in second
    assert shop.source(f"select 1 from pg_roles where rolname = '{capture.role}'") == []


def test_create_makes_what_is_missing_and_nothing_twice(shop: Shop) -> None:
    """The first time it says what it makes; the second, that all is as it should be."""
    done = shop.command("capture", "create")
    assert done.exit_code == 0, done.output
    assert "created role tillstream_umbrella\n" in done.output
    assert "created publication tillstream_umbrella of 1 tables\n" in done.output
    again = shop.command("capture", "create")
    assert again.output == "connector umbrella-source is as it should be\n"


def test_the_role_may_read_the_captured_tables_and_no_others(shop: Shop) -> None:
    """A leak of its password shows what Kafka has anyway; Connect is given a reference to it."""
    capture, place = shop.known
    password = place.password_file.read_text()
    login = place.login.as_role(capture.role, password).arguments()
    with psycopg.connect(**login, autocommit=True) as connection:
        assert connection.execute("select count(*) from shop.orders").fetchone() == (ROWS,)
        for statement in ("select 1 from shop.secrets", "delete from shop.orders", "create table t ()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
    config = manage.rest_of(capture, place).config()
    assert config is not None
    assert config["database.password"].startswith("${directory:")
    assert password not in str(config)


def test_rows_reach_the_warehouse(shop: Shop) -> None:
    """The job reads what is captured, and the status tells of the snapshot."""
    config = load(shop.config)
    launch(config, ensure_jars().flink_runner)
    wait_until(shop.is_equal, "the snapshot in the warehouse")
    status = shop.command("capture", "status")
    assert status.exit_code == 0, status.output
    assert f"initial, completed; {ROWS:,} rows of 1 tables read" in status.output


def test_a_paused_connector_goes_on_where_it_was(shop: Shop) -> None:
    """What is committed meanwhile comes when it is resumed."""
    assert shop.command("capture", "pause").exit_code == 0
    wait_until(lambda: "PAUSED, task PAUSED" in shop.command("capture", "status").output, "the pause")
    shop.source("update shop.orders set total = 7.5 where id = 1")
    assert shop.command("capture", "resume").exit_code == 0
    wait_until(shop.is_equal, "the change in the warehouse")


def test_a_rotated_password_loses_nothing(shop: Shop) -> None:
    """Changes from before, during and after it arrive; the old password is refused."""
    capture, place = shop.known
    old = place.password_file.read_text()
    shop.source("insert into shop.orders values (5001, 1)")
    done = shop.command("capture", "rotate")
    assert done.exit_code == 0, done.output
    shop.source("insert into shop.orders values (5002, 2)")
    assert place.password_file.read_text() != old
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**place.login.as_role(capture.role, old).arguments())
    wait_until(shop.is_equal, "all changes in the warehouse")


def test_resync_repairs_what_was_changed_by_hand_while_writes_go_on(shop: Shop) -> None:
    """Rows that were changed, deleted or invented in the warehouse are those of the source again."""
    shop.warehouse("update umbrella.orders set total = -1 where id % 7 = 0")
    shop.warehouse("delete from umbrella.orders where id % 11 = 0")
    shop.warehouse("insert into umbrella.orders (id, total) select i, 1 from generate_series(90001, 90050) i")
    is_done = threading.Event()
    writer = threading.Thread(target=_write, args=(shop, is_done))
    writer.start()
    try:
        done = shop.resync("orders")
    finally:
        is_done.set()
        writer.join()
    assert done.exit_code == 0, done.output
    assert "resynced: orders; " in done.output
    wait_until(shop.is_equal, "the warehouse to be as the source", deadline_s=30)
    (job,) = FlinkRest(shop.stack.addresses.flink).running(CLIENT)
    assert job


def _write(shop: Shop, is_done: threading.Event) -> None:
    chance = random.Random(3)  # noqa: S311  (for test data)
    with psycopg.connect(shop.stack.addresses.source.dsn(), autocommit=True) as connection:
        while not is_done.wait(0.005):
            key = chance.randint(1, ROWS + 200)
            connection.execute("delete from shop.orders where id = %s", (key,))
            if chance.random() < 0.8:
                connection.execute("insert into shop.orders values (%s, %s)", (key, chance.randint(1, 99)))


def test_an_unknown_entity_is_refused(shop: Shop) -> None:
    """What can be read again is named."""
    done = shop.resync("nothing")
    assert isinstance(done.exception, UserError)
    assert "found nothing, expected entities that have a topic: orders" in str(done.exception)


def test_a_lost_slot_is_told_of_and_made_anew(shop: Shop) -> None:
    """What was deleted while nobody listened goes with a resync."""
    capture, place = shop.known
    manage.rest_of(capture, place).stop()
    shop.source("delete from shop.orders where id between 100 and 199")
    shop.source("insert into shop.orders values (6001, 1)")
    for _ in range(4):
        shop.source("select pg_switch_wal(), pg_logical_emit_message(true, 'fill', repeat('x', 100000))")
    shop.source("checkpoint")
    status = shop.command("capture", "status")
    assert status.exit_code == 1
    assert "replication slot tillstream_umbrella is lost, and changes with it" in status.output
    done = shop.command("capture", "create")
    assert done.exit_code == 0, done.output
    assert "all tables are read again" in done.output
    wait_until(lambda: shop.warehouse("select 1 from umbrella.orders where id = 6001"), "the new snapshot")
    assert shop.warehouse("select count(*) from umbrella.orders where id between 100 and 199") != [(0,)]
    assert shop.resync("--all").exit_code == 0
    wait_until(shop.is_equal, "the warehouse to be as the source", deadline_s=30)


def test_delete_leaves_nothing_behind(shop: Shop) -> None:
    """Neither in the database, nor in Connect, nor in Kafka, nor on disk; done again it finds nothing."""
    capture, place = shop.known
    done = shop.command("capture", "delete", "--yes", "--topics")
    assert done.exit_code == 0, done.output
    assert manage.rest_of(capture, place).status() is None
    for query in (
        f"select 1 from pg_roles where rolname = '{capture.role}'",
        f"select 1 from pg_publication where pubname = '{capture.publication}'",
        f"select 1 from pg_replication_slots where slot_name = '{capture.slot}'",
    ):
        assert shop.source(query) == []
    assert not place.password_file.exists()
    admin = AdminClient({"bootstrap.servers": shop.stack.addresses.kafka})
    assert [topic for topic in admin.list_topics(timeout=10).topics if CLIENT in topic] == []
    again = shop.command("capture", "delete", "--yes", "--topics")
    assert (again.exit_code, again.output) == (0, "")
