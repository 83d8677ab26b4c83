"""Truncates and changed keys of the real connector end in the warehouse as in the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tillstream.configs import ClientConfig
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

from .jobs.conftest import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CLIENT = "ops"
COLUMNS = {
    "items": {"id": "int32", "note": "string"},
    "orders": {"id": "int64", "note": "string"},
    "lines": {"id": "int64", "order_id": "int64"},
}
CREATE = """
create table items (id int primary key, note text);
create table orders (id bigserial primary key, note text);
create table lines (id bigserial primary key, order_id bigint not null references orders (id));
insert into items select id, 'snapshot' from generate_series(1, 200) id;
"""


class Both:
    """Be both databases, and the job between them."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    def config(self) -> ClientConfig:
        """Return a client that copies the tables, and reads whatever else the connector writes."""
        warehouse, addresses = self._stack.addresses.warehouse, self._stack.addresses
        entities = {
            name: {"topic": f"ops.public.{name}", "key": ["id"], "contract": columns, "sinks": ["warehouse"]}
            for name, columns in COLUMNS.items()
        }
        sink = warehouse.as_sink()
        topics = ["^ops(\\..*)?$", "^__debezium-heartbeat.*$"]
        kafka = {"bootstrap_servers": addresses.kafka, "discovery_interval_s": 1, "topics": topics}
        return ClientConfig.model_validate(
            {
                "client": CLIENT,
                "source": {"kafka": kafka},
                "entities": entities,
                "sinks": {"warehouse": sink},
                "schema_evolution": {"tables": "freeze"},
                "delivery": {"checkpoint_interval_ms": 300},
                "flink": {"rest_url": addresses.flink},
            }
        )

    def change(self, *statements: str) -> None:
        """Run statements in the source, in one transaction."""
        with psycopg.connect(self._stack.addresses.source.dsn()) as source:
            for statement in statements:
                source.execute(statement.encode())

    def settle(self) -> None:
        """Wait until all tables are equal.

        Raises:
            AssertionError: if they never are, with what differs.
        """
        for table in COLUMNS:
            expected = self._rows(self._stack.addresses.source.dsn(), "public", table)

            def is_equal(table: str = table, expected: Any = expected) -> bool:
                return self._rows(self._stack.addresses.warehouse.dsn(), CLIENT, table) == expected

            try:
                wait_until(is_equal, f"{table} to be equal", 60)
            except AssertionError as error:
                found = self._rows(self._stack.addresses.warehouse.dsn(), CLIENT, table)
                missing, others = set(expected) - set(found), set(found) - set(expected)
                raise AssertionError(
                    f"{table}: missing {sorted(missing)[:5]} of {len(missing)}, "
                    f"unexpected {sorted(others)[:5]} of {len(others)}"
                ) from error

    def letters(self) -> list[tuple[Any, ...]]:
        """Return the dead letters."""
        with psycopg.connect(self._stack.addresses.warehouse.dsn()) as warehouse:
            return warehouse.execute("select reason, detail from ops.tillstream_dead_letters").fetchall()

    def _rows(self, dsn: str, schema: str, table: str) -> list[tuple[Any, ...]]:
        columns = ", ".join(COLUMNS[table])
        with psycopg.connect(dsn) as database:
            try:
                query = f"select {columns} from {schema}.{table} order by id"
                return database.execute(query.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Return a source that is captured, with a job that writes it into a warehouse."""
    stack = LocalStack.open(tmp_path_factory.mktemp("operations") / "stack")
    try:
        stack.up(["source", "warehouse", "kafka"], ports=unusual_ports())
        stack.up(["connect", "jobmanager", "taskmanager"])
        with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as source:
            source.execute(CREATE)
        tables = [f"public.{table}" for table in COLUMNS]
        register_debezium(stack, CLIENT, "ops", tables, partitions=3, transactions=True)
        found = Both(stack)
        job_id = launch(found.config(), ensure_jars().flink_runner).job_id
        found.settle()
        yield found
        # Nothing was lost on the way, nor kept the job from going on.
        assert found.letters() == []
        assert FlinkRest(stack.addresses.flink).running(CLIENT) == [job_id]
    finally:
        stack.down(wipe=True)


def test_changed_keys_leave_one_row_each(both: Both) -> None:
    """Keys that move by one, so that most are deleted and made by one statement, and two that are swapped."""
    # In this order no key is there twice while the statement runs.
    both.change("truncate items", "insert into items select id, id from generate_series(300, 1, -1) id")
    both.settle()
    both.change("update items set id = id + 1")
    both.settle()
    both.change(
        "update items set id = -1 where id = 5",
        "update items set id = 5 where id = 6",
        "update items set id = 6 where id = -1",
    )
    both.settle()


def test_truncates_between_inserts_of_one_transaction(both: Both) -> None:
    """Of one commit what stands behind its last truncate is there, and nothing else."""
    both.change(
        "insert into items select id, 'first' from generate_series(1001, 1200) id",
        "truncate items",
        "insert into items select id, 'second' from generate_series(1100, 1300) id",
        "truncate items",
        "insert into items select id, 'third' from generate_series(1150, 1250) id",
        "update items set note = 'fourth' where id % 3 = 0",
    )
    both.settle()


def test_truncates_over_partitions(both: Both) -> None:
    """Truncates come in partitions of their own, so before or behind rows of others: both end the same."""
    upsert = "on conflict (id) do update set note = excluded.note"
    for number in range(15):
        both.change(f"insert into items select id, '{number}' from generate_series(2000, 2100) id {upsert}")
        both.change("truncate items")
        both.change(f"insert into items select id, 'rest {number}' from generate_series(2050, 2120) id")
        if number % 5:
            both.change("truncate items")
    both.change("insert into items values (3000, 'last')")
    both.settle()


def test_a_truncate_that_cascades(both: Both) -> None:
    """Tables that refer to a truncated one are truncated with it, and go on behind it."""
    both.change(
        "insert into orders (note) select 'old' from generate_series(1, 100)",
        "insert into lines (order_id) select id from orders, generate_series(1, 3)",
    )
    both.settle()
    both.change(
        "truncate orders cascade",
        "insert into orders (note) select 'new' from generate_series(1, 20)",
        "insert into lines (order_id) select id from orders",
    )
    both.settle()


def test_a_truncate_that_restarts_identities(both: Both) -> None:
    """Keys that are given out again are rows of their own."""
    both.change("insert into orders (note) select 'before' from generate_series(1, 50)")
    both.change("truncate orders, lines restart identity")
    both.change("insert into orders (note) select 'again' from generate_series(1, 30)")
    both.change("insert into lines (order_id) select id from orders")
    both.settle()


def test_what_is_no_change_of_a_row_is_passed_over(both: Both) -> None:
    """Messages, and what tells of transactions, become nothing, though the job reads their topics."""
    both.change(
        "select pg_logical_emit_message(true, 'audit', 'written by hand')",
        "insert into items values (4000, 'beside a message')",
    )
    both.settle()
