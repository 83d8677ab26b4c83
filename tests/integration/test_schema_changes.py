"""Tables change while a job runs and while it does not: the warehouse follows, by what messages declare.

Most changes are followed by one bounded run each, which knows nothing of the runs before and reads everything
again: older schemas come upon a table that has grown. Some are followed by a job that runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tillstream.configs import ClientConfig
from tillstream.runners import direct
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CLIENT = "changing"
PARTS = ("source", "warehouse", "kafka", "connect")
SESSION = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601"
_WAIT_S = 90.0
TYPES = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_%%'
"""
# Of every type that a contract has, and of some that become text.
ADDED = (
    (
        "ALTER TABLE things ADD p numeric(10,2), ADD n numeric, ADD at timestamptz, ADD ts timestamp, "
        "ADD d date, ADD t time, ADD tz timetz, ADD iv interval, ADD u uuid, ADD j jsonb, ADD f real, "
        "ADD g float8, ADD b bytea, ADD s smallint, ADD ok bool, ADD ia int[], ADD ta text[], "
        "ADD na numeric(10,2)[], ADD net inet, ADD r int4range"
    ),
    (
        "INSERT INTO things VALUES (3, 3, 'three', 1.5, 1e30, '2026-02-28 12:00+02', '2026-02-28 12:00', "
        "'2026-02-28', '12:00', '12:00+02', '1 year 2 mons -3 days 04:05:06.789', "
        "'6f9619ff-8b86-d011-b42d-00cf4fc964ff', '{\"a\": [1.50, null]}', 1.1, 1e300, '\\x00ff', 7, true, "
        "'{1,NULL}', array['a\"b\\', null, '', 'NULL', '{,}'], '{1.5,NULL}', '10.0.0.1/8', '[1,5)')"
    ),
    (
        "INSERT INTO things (id, note, f, g, n, at, na) VALUES "
        "(4, 'ends', 'NaN', '-Infinity', 'NaN', 'infinity', '{}')"
    ),
    "UPDATE things SET n = 'Infinity', at = '-infinity' WHERE id = 1",
)
LETTERS = 'SELECT reason, detail FROM tillstream_dead_letters ORDER BY topic, partition, "offset"'


class Both:
    """Be both databases, and what runs between them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.change(f"CREATE SCHEMA {CLIENT}")

    def config(self) -> ClientConfig:
        """Return a config that names no column but keys."""
        keys = {"things": "int64", "others": "int32", "later": "int32", "live": "int32"}
        warehouse = self.stack.addresses.warehouse
        entities = {
            name: {
                "topic": f"{CLIENT}.{CLIENT}.{name}",
                "key": ["id"],
                "contract": {"id": kind},
                "sinks": ["warehouse"],
            }
            for name, kind in keys.items()
        }
        sink = warehouse.as_sink()
        kafka = {"bootstrap_servers": self.stack.addresses.kafka, "discovery_interval_s": 1}
        return ClientConfig.model_validate(
            {
                "client": CLIENT,
                "source": {"kafka": kafka},
                "entities": entities,
                "sinks": {"warehouse": sink},
                "schema_evolution": {"columns": "evolve", "types": "evolve"},
                "flink": {"rest_url": self.stack.addresses.flink},
            }
        )

    def change(self, *statements: str) -> None:
        """Run statements in the source, each by itself."""
        with psycopg.connect(self.stack.addresses.source.dsn(), autocommit=True, options=SESSION) as found:
            found.execute(f"SET search_path = {CLIENT}, public".encode())
            for statement in statements:
                found.execute(statement.encode())

    def capture(self, *tables: str) -> None:
        """Capture these tables, with schemas."""
        names = [f"{CLIENT}.{table}" for table in tables]
        register_debezium(self.stack, CLIENT, CLIENT, names, schemas=True)

    def run(self) -> None:
        """Deliver what there is, from the beginning on, knowing nothing of earlier runs."""
        direct.run(self.config())

    def launch(self, savepoint: str | None = None) -> str:
        """Launch the job and return its id."""
        return launch(self.config(), ensure_jars().flink_runner, savepoint=savepoint).job_id

    def warehouse(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what a query of the warehouse finds; nothing while the table is not there."""
        dsn = self.stack.addresses.warehouse.dsn()
        with psycopg.connect(dsn, autocommit=True, options=SESSION) as found:
            found.execute(f"SET search_path = {CLIENT}".encode())
            try:
                return found.execute(query.encode(), parameters or None).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def types(self, table: str) -> dict[str, str]:
        """Return the types of the warehouse's columns."""
        return dict(self.warehouse(TYPES, f"{CLIENT}.{table}"))

    def equal(self, table: str) -> bool:
        """Tell whether the columns that the source has are the same in the warehouse, cast to text."""
        with psycopg.connect(self.stack.addresses.source.dsn(), options=SESSION) as source:
            columns = dict(source.execute(TYPES, (f"{CLIENT}.{table}",)).fetchall())
            query = sql.SQL("SELECT {} FROM {} ORDER BY id").format(
                sql.SQL(", ").join(
                    # Debezium sends these at UTC.
                    sql.SQL(
                        "({} AT TIME ZONE 'UTC')::text" if kind == "time with time zone" else "{}::text"
                    ).format(sql.Identifier(name))
                    for name, kind in columns.items()
                ),
                sql.Identifier(CLIENT, table),
            )
            wanted = source.execute(query).fetchall()
        try:
            return self.warehouse(query.as_string()) == wanted
        except psycopg.errors.UndefinedColumn:
            return False

    def followed(self, *tables: str) -> None:
        """Run until tables are equal: the connector is some moments behind."""

        def equal() -> bool:
            self.run()
            return all(map(self.equal, tables))

        await_(equal, f"{tables} equal", self.describe)

    def describe(self) -> str:
        """Return what is known, for whoever reads of a failure."""
        return "\n".join(map(str, self.warehouse(LETTERS)))


def await_(condition: Callable[[], Any], what: str, describe: Callable[[], str]) -> None:
    """Wait for a condition, with a deadline."""
    end_s = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {_WAIT_S:.0f} s\n{describe()}"
        # Yields the processor between looks; what is waited for is the condition, not this.
        threading.Event().wait(0.2)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Return a stack that is up, and take it down afterwards."""
    stack = LocalStack.open(tmp_path_factory.mktemp("changes") / "stack")
    try:
        stack.up(PARTS, ports=unusual_ports())
        yield Both(stack)
    finally:
        stack.down(wipe=True)


def test_the_warehouse_follows_its_source(both: Both) -> None:
    """Columns, types and tables come, go and change; what cannot be followed is told, and harms nothing."""
    both.change(
        "CREATE TABLE things (id int PRIMARY KEY, a int, note varchar(10) NOT NULL)",
        "CREATE TABLE others (id int PRIMARY KEY, v int)",
        "INSERT INTO things VALUES (1, 1, 'one'), (2, null, 'two')",
        "INSERT INTO others VALUES (1, 1)",
    )
    both.capture("things", "others")
    both.followed("things", "others")
    assert both.types("things") == {"id": "bigint", "a": "integer", "note": "text"}

    both.change(*ADDED)
    both.followed("things")
    types = both.types("things")
    with psycopg.connect(both.stack.addresses.source.dsn()) as source:
        wanted = dict(source.execute(TYPES, (f"{CLIENT}.things",)).fetchall())
    wanted |= {"id": "bigint", "note": "text", "net": "text", "r": "text"}
    assert types == wanted

    # Dropped, renamed, widened, retyped; a table that comes.
    both.change(
        "ALTER TABLE things DROP note, ALTER a TYPE bigint, ALTER p TYPE numeric(14,4), ALTER s TYPE text",
        "ALTER TABLE things RENAME at TO seen",
        "UPDATE things SET a = 1::bigint << 40, p = 1.2345, s = 'seven', seen = now() WHERE id = 3",
        "INSERT INTO things (id, s) VALUES (5, 'five')",
        "UPDATE things SET ok = true WHERE id IN (1, 2, 4)",
        "CREATE TABLE later (id int PRIMARY KEY, v date)",
    )
    both.capture("things", "others", "later")
    both.change("INSERT INTO later VALUES (1, '2026-02-28')")
    both.followed("things", "later")
    found = both.types("things")
    assert (found["a"], found["p"], found["s"], found["seen"], found["note"]) == (
        "bigint",
        "numeric(14,4)",
        "text",
        "timestamp with time zone",
        "text",
    )
    assert both.warehouse("SELECT id, note FROM things ORDER BY id")[2:] == [(3, None), (4, None), (5, None)]

    # A column comes again with another type; so does a table that was dropped.
    both.change(
        "ALTER TABLE things ADD note date, ADD c bigint, DROP ia",
        "INSERT INTO things (id, note, c) VALUES (6, '2026-02-28', 6)",
        "ALTER TABLE things ALTER c TYPE numeric(30,5)",
        "UPDATE things SET c = 1.00001",
        "DROP TABLE others",
        "CREATE TABLE others (id int PRIMARY KEY, v text, w int[])",
    )
    both.capture("things", "others", "later")
    both.change("INSERT INTO others VALUES (1, 'one', '{1}'), (2, 'two', null)")
    both.followed("things", "others")
    assert both.types("things")["note"] == "text"  # which holds both
    assert both.types("things")["c"] == "numeric(30,5)"
    assert both.warehouse(LETTERS) == []

    # The key changes: rows of two regions would be one.
    both.change(
        "ALTER TABLE later ADD region text NOT NULL DEFAULT 'eu'",
        "ALTER TABLE later DROP CONSTRAINT later_pkey, ADD PRIMARY KEY (id, region)",
        "INSERT INTO later VALUES (1, '2026-03-01', 'us')",
    )
    await_(lambda: both.run() or both.warehouse(LETTERS), "a dead letter", both.describe)  # type: ignore[func-returns-value]
    ((reason, detail),) = both.warehouse(LETTERS)
    assert reason == "key_changed"
    assert "found a message's key of (id, region), expected the entity's key (id)" in detail
    assert both.warehouse("SELECT id, v::text FROM later") == [(1, "2026-02-28")]


def test_a_running_job_follows_its_source_and_so_does_the_next(both: Both) -> None:
    """A column comes while the job runs; others come, go and change while it is stopped with a savepoint."""
    both.change("CREATE TABLE live (id int PRIMARY KEY, a int, b text)")
    both.capture("live")
    both.change("INSERT INTO live VALUES (1, 1, 'one')")
    both.stack.up(["jobmanager", "taskmanager"])
    rest = FlinkRest(both.stack.addresses.flink)
    job_id = both.launch()
    try:
        await_(lambda: both.equal("live"), "the first row", both.describe)
        both.change("ALTER TABLE live ADD c numeric(10,2)", "INSERT INTO live VALUES (2, 2, 'two', 1.5)")
        await_(lambda: both.equal("live"), "the new column", both.describe)
        savepoint = rest.savepoint(job_id, stop=True)
        both.change(
            "ALTER TABLE live DROP b, ALTER a TYPE bigint, ALTER c TYPE text, ADD d timestamptz[]",
            "INSERT INTO live VALUES (3, 1::bigint << 40, 'three', '{2026-02-28 12:00+02,null}')",
        )
        job_id = both.launch(savepoint)
        await_(lambda: both.equal("live"), "what changed meanwhile", both.describe)
    finally:
        rest.cancel(job_id)
    assert both.types("live") == {
        "id": "integer",
        "a": "bigint",
        "b": "text",
        "c": "text",
        "d": "timestamp with time zone[]",
    }
    assert both.warehouse("SELECT id, b FROM live ORDER BY id") == [(1, "one"), (2, "two"), (3, None)]
