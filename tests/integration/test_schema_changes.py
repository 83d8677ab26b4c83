"""Tables change while a job runs and while it does not: the warehouse follows, by what messages declare."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from tillstream.configs import ClientConfig, Entity
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.records import MutationBatch
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

from .conftest import Database
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

CLIENT = "changing"
PARTS = ("source", "warehouse", "kafka", "connect", "jobmanager", "taskmanager")
SESSION = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=iso_8601"
_WAIT_S = 60.0
TYPES = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\\_%%'
"""
LETTERS = 'SELECT reason, detail FROM tillstream_dead_letters ORDER BY topic, partition, "offset"'


class Both:
    """Be both databases, and the job between them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.rest = FlinkRest(stack.addresses.flink)
        self.job_id = ""
        self.tables: tuple[str, ...] = ()
        self.change(f"CREATE SCHEMA {CLIENT}")

    def config(self) -> ClientConfig:
        """Return a config that names no column but keys."""
        keys = {"things": "int64", "others": "int32", "later": "int32"}
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
        sink = {"type": "postgres", "host": warehouse.host, "port": warehouse.port, "user": warehouse.user}
        sink |= {"database": warehouse.database, "password": f"file:{warehouse.password_file}"}
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

    def launch(self, savepoint: str | None = None) -> None:
        """Launch the job."""
        self.job_id = launch(self.config(), ensure_jars().flink_runner, savepoint=savepoint).job_id

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

    def await_equal(self, *tables: str) -> None:
        """Wait until tables are equal."""
        for table in tables:
            await_(lambda table=table: self.equal(table), f"{table} equal", self.describe)  # type: ignore[misc]

    def describe(self) -> str:
        """Return what is known, for whoever reads of a failure."""
        log = self.stack.layout.log("taskmanager").read_text(encoding="utf-8", errors="replace")
        cause = self.rest.root_cause(self.job_id) if self.job_id else ""
        return "\n".join([*map(str, self.warehouse(LETTERS)), str(cause), *log.splitlines()[-5:]])


def await_(condition: Callable[[], Any], what: str, describe: Callable[[], str]) -> None:
    """Wait for a condition, with a deadline."""
    end_s = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {_WAIT_S:.0f} s\n{describe()}"
        # Yields the processor between looks; what is waited for is the condition, not this.
        threading.Event().wait(0.2)


MOMENT = dt.datetime(2026, 2, 28, 10, 34, 56, 1, tzinfo=dt.timezone.utc)
VALUES: dict[str, tuple[Any, str]] = {
    "interval": ("P-1Y-2M3DT0H0M-0.000001S", "P-1Y-2M3DT-0.000001S"),
    "timetz": ("10:34:56.123456+00:00", "10:34:56.123456+00"),
    "decimal": ("Infinity", "Infinity"),
    "date": ("-infinity", "-infinity"),
    "timestamp": ("infinity", "infinity"),
    "timestamptz": ("infinity", "infinity"),
    "array(int64)": ([1, None, -(1 << 63)], "{1,NULL,-9223372036854775808}"),
    "array(string)": (['a"b', None, "c,d{}\\", "", "NULL", "\n\t ż", "null"], None),
    "array(bool)": ([True, False, None], "{t,f,NULL}"),
    "array(float64)": ([1.5, "NaN", "-Infinity"], "{1.5,NaN,-Infinity}"),
    "array(decimal(10,2))": (["1.50", None], "{1.50,NULL}"),
    "array(bytes)": ([b"\0\xff\\"], r'{"\\x00ff5c"}'),
    "array(timestamptz)": ([MOMENT, None], '{"2026-02-28 10:34:56.000001+00",NULL}'),
    "array(json)": (['{"a": "\\""}'], None),
    "array(uuid)": ([], "{}"),
}


def test_every_type_comes_through_copy(open_sink: Open, database: Database) -> None:
    """Quotes, backslashes, nulls and empty arrays among them; a delete and nulls beside them."""
    described = entity(id="int64", **{f"c{at}": kind for at, kind in enumerate(VALUES)})
    sink = open_sink(described)
    nulls = (None,) * len(VALUES)
    row = tuple(value for value, _ in VALUES.values())
    assert written(sink, [things(described, (1, *row), (2, *nulls), (3, *row))]) == []
    assert written(sink, [things(described, (3,))]) == []
    columns = ", ".join(f"c{at}::text" for at in range(len(VALUES)))
    with database.connect() as connection:
        connection.execute("SET IntervalStyle = iso_8601; SET TimeZone = UTC")
        found = connection.execute(f"SELECT {columns} FROM acme.things ORDER BY id".encode()).fetchall()
    for (kind, (_, text)), value in zip(VALUES.items(), found[0], strict=True):
        assert text is None or value == text, kind
    assert found[1] == nulls
    at = list(VALUES)
    texts = database.rows(f"SELECT c{at.index('array(string)')}, c{at.index('array(json)')} FROM acme.things")
    assert texts[0] == (VALUES["array(string)"][0], [{"a": '"'}])


def test_an_array_that_does_not_fit_is_set_aside(open_sink: Open, database: Database) -> None:
    """Alone: the other rows are written."""
    described = entity(id="int64", v="array(int32)")
    sink = open_sink(described)
    letters = written(sink, [things(described, (1, [1]), (2, ["x"]), (3, [[1], [2]]))])
    assert [letter.reason for letter in letters] == ["refused_by_sink"] * 2
    assert database.rows("SELECT id, v FROM acme.things") == [(1, [1])]


def declared(described: Entity, kind: str, *values: tuple[Any, ...], offset: int = 0) -> MutationBatch:
    """Return a batch of rows whose column `v` is declared as a type."""
    wide = described.model_copy(
        update={"contract": {**(described.contract or {}), **entity(v=kind).contract}}
    )  # type: ignore[dict-item]
    return msgspec.structs.replace(things(wide, *values, offset=offset), evolved=(("v", f"{kind} declared"),))


@pytest.mark.parametrize(
    ("kinds", "values", "expected"),
    [
        (("int32", "int64"), (1, 1 << 40), (["1", "1099511627776"], "bigint")),
        (("int64", "int32"), (1 << 40, 1), (["1099511627776", "1"], "bigint")),
        (("int64", "decimal(10,2)"), (7, "1.50"), (["7.00", "1.50"], "numeric(21,2)")),
        (("decimal(10,2)", "decimal(6,4)"), ("1.50", "1.2345"), (["1.5000", "1.2345"], "numeric(12,4)")),
        (("decimal(10,2)", "decimal"), ("1.50", "1e30"), (["1.50", "1" + "0" * 30], "numeric")),
        (("float32", "float64"), (0.5, 1e300), (["0.5", "1e+300"], "double precision")),
        (("date", "timestamp"), ("2026-02-28", "2026-02-28T01:00:00"), (None, "timestamp without time zone")),
        (("int64", "string"), (7, "seven"), (["7", "seven"], "text")),
        (("string", "int64"), ("seven", 7), (["seven", "7"], "text")),
        (("bool", "string"), (True, "no"), (["true", "no"], "text")),
        (("json", "string"), ('{"a": 1}', "no"), (['{"a": 1}', "no"], "text")),
        (("bytes", "string"), (b"\0\xff", "no"), (["AP8=", "no"], "text")),
        (
            ("array(int32)", "array(int64)"),
            ([1, None], [1 << 40]),
            (["{1,NULL}", "{1099511627776}"], "bigint[]"),
        ),
        (("array(int32)", "string"), ([1, None], "no"), (["[1, null]", "no"], "text")),
        (("timestamptz", "string"), (MOMENT, "no"), (["2026-02-28 10:34:56.000001+00", "no"], "text")),
    ],
)
def test_two_writers_agree_on_a_retyped_column(
    open_sink: Open, database: Database, kinds: Any, values: Any, expected: tuple[Any, str]
) -> None:
    """The one that has seen the new type and the one that has not; and one that comes later."""
    described = Entity.model_validate(
        {**entity(id="int64").model_dump(by_alias=True), "schema_evolution": {"columns": "evolve"}}
    )
    first = open_sink(described)
    second = PostgresSink("sink", "acme", database.model(), {"things": described})
    second.open()
    try:
        written(first, [declared(described, kinds[0], (1, values[0]))])
        written(second, [declared(described, kinds[1], (2, values[1]))])
        # A straggler that was made before the change, by who has not heard of it.
        written(first, [declared(described, kinds[0], (3, values[0]))])
    finally:
        second.close()
    with database.connect() as connection:
        connection.execute("SET TimeZone = UTC")
        rows = connection.execute("SELECT v::text FROM acme.things ORDER BY id").fetchall()
    texts = [text for (text,) in rows]
    found, type_ = expected
    assert texts[2] == texts[0]
    assert found is None or texts[:2] == found
    assert database.rows(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = 'acme.things'::regclass AND attname = 'v'"
    ) == [(type_,)]


def test_a_required_column_that_its_source_dropped_may_be_null(open_sink: Open, database: Database) -> None:
    """The table's NOT NULL is lifted, once."""
    contract = {"id": "int64", "name": {"type": "string", "nullable": False}}
    described = Entity.model_validate(
        {**entity(**contract).model_dump(by_alias=True), "schema_evolution": {"columns": "evolve"}}
    )
    sink = open_sink(described)
    written(sink, [things(described, (1, "a"))])
    dropped = msgspec.structs.replace(things(described, (2, None)), evolved=(("name", "string null"),))
    assert written(sink, [dropped]) == []
    assert written(sink, [things(described, (3, "c"))]) == []
    assert database.rows("SELECT id, name FROM acme.things ORDER BY id") == [(1, "a"), (2, None), (3, "c")]


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
    """Columns and types come, go and change, across a savepoint and a kill; what is not followed is told."""
    both.change(
        "CREATE TABLE things (id int PRIMARY KEY, a int, note varchar(10) NOT NULL)",
        "CREATE TABLE others (id int PRIMARY KEY, v int)",
        "INSERT INTO things VALUES (1, 1, 'one'), (2, null, 'two')",
        "INSERT INTO others VALUES (1, 1)",
    )
    both.capture("things", "others")
    both.launch()
    both.await_equal("things", "others")
    assert both.types("things") == {"id": "bigint", "a": "integer", "note": "text"}

    # Added, of every type that a contract has and some that become text or bytes.
    both.change(
        "ALTER TABLE things ADD p numeric(10,2), ADD n numeric, ADD at timestamptz, ADD ts timestamp, "
        "ADD d date, ADD t time, ADD tz timetz, ADD iv interval, ADD u uuid, ADD j jsonb, ADD f real, "
        "ADD g float8, ADD b bytea, ADD s smallint, ADD ok bool, ADD ia int[], ADD ta text[], "
        "ADD na numeric(10,2)[], ADD net inet, ADD r int4range",
        "INSERT INTO things VALUES (3, 3, 'three', 1.5, 1e30, '2026-02-28 12:00+02', '2026-02-28 12:00', "
        "'2026-02-28', '12:00', '12:00+02', '1 year 2 mons -3 days 04:05:06.789', "
        "'6f9619ff-8b86-d011-b42d-00cf4fc964ff', '{\"a\": [1.50, null]}', 1.1, 1e300, '\\x00ff', 7, true, "
        "'{1,NULL}', array['a\"b\\', null, '', 'NULL', '{,}'], '{1.5,NULL}', '10.0.0.1/8', '[1,5)')",
        "INSERT INTO things (id, note, f, g, n, at, na) VALUES "
        "(4, 'ends', 'NaN', '-Infinity', 'NaN', 'infinity', '{}')",
        "UPDATE things SET n = 'Infinity', at = '-infinity' WHERE id = 1",
    )
    both.await_equal("things")
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
    both.await_equal("things", "later")
    found = both.types("things")
    assert (found["a"], found["p"], found["s"], found["seen"], found["note"]) == (
        "bigint",
        "numeric(14,4)",
        "text",
        "timestamp with time zone",
        "text",
    )
    assert both.warehouse("SELECT id, note FROM things ORDER BY id")[2:] == [(3, None), (4, None), (5, None)]

    # The job is stopped with a savepoint, and the source goes on.
    savepoint = both.rest.savepoint(both.job_id, stop=True)
    both.change(
        "ALTER TABLE things ADD note date, ADD c bigint, DROP ia",
        "INSERT INTO things (id, note, c) VALUES (6, '2026-02-28', 6)",
    )
    both.launch(savepoint)
    both.await_equal("things")
    assert both.types("things")["note"] == "text"  # which holds both

    # A part is killed; a table is dropped, and comes again with another schema.
    both.stack.kill("taskmanager")
    both.change(
        "ALTER TABLE things ALTER c TYPE numeric(30,5)",
        "UPDATE things SET c = 1.00001",
        "DROP TABLE others",
        "CREATE TABLE others (id int PRIMARY KEY, v text, w int[])",
    )
    both.stack.up(["taskmanager"])
    both.capture("things", "others", "later")
    both.change("INSERT INTO others VALUES (1, 'one', '{1}'), (2, 'two', null)")
    both.await_equal("things", "others")
    assert both.types("things")["c"] == "numeric(30,5)"
    assert both.warehouse(LETTERS) == []

    # The key changes: rows of two regions would be one.
    both.change(
        "ALTER TABLE later ADD region text NOT NULL DEFAULT 'eu'",
        "ALTER TABLE later DROP CONSTRAINT later_pkey, ADD PRIMARY KEY (id, region)",
        "INSERT INTO later VALUES (1, '2026-03-01', 'us')",
    )
    await_(lambda: both.warehouse(LETTERS), "a dead letter", both.describe)
    ((reason, detail),) = both.warehouse(LETTERS)
    assert reason == "key_changed"
    assert "found a message's key of (id, region), expected the entity's key (id)" in detail
    assert both.warehouse("SELECT id, v::text FROM later") == [(1, "2026-02-28")]
