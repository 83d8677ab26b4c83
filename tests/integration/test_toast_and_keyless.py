"""Large columns that updates leave out, and tables without a key, arrive as they are in the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tillstream.configs import ClientConfig, Entity
from tillstream.pipelines.records import MutationBatch
from tillstream.runners import direct
from tillstream.runners.capture.checks import hints
from tillstream.runners.capture.manage import create
from tillstream.runners.capture.spec import Capture
from tillstream.runners.local.capture import place_in
from tillstream.runners.local.stack import LocalStack

from .conftest import Database
from .jobs.conftest import wait_until
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

THINGS = {"id": "int32", "n": "int32", "text": {"type": "string", "nullable": False}, "raw": "bytes"}


def lacking(described: Entity, *rows: tuple[Any, ...], unknown: str, offset: int = 0) -> MutationBatch:
    """Return a batch whose rows lack some columns."""
    return msgspec.structs.replace(things(described, *rows, offset=offset), unknown=tuple(unknown.split()))


def test_the_table_keeps_what_a_change_does_not_bring(open_sink: Open, database: Database) -> None:
    """Known columns are written, the others stay, whatever else one transaction does to the row."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"), (2, 2, "two", b"2"), (3, 3, "three", b"3"))])
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, None), (2, 20, None, None), unknown="raw text"),
            lacking(described, (2, 21, None, b"21"), unknown="text"),
            things(described, (3,), (4, 4, "four", b"4"), offset=9),
            lacking(described, (4, 40, None, b"40"), unknown="text"),
        ],
    )
    assert letters == []
    assert database.rows("SELECT id, n, text, raw FROM acme.things ORDER BY id") == [
        (1, 10, "one", b"1"),
        (2, 21, "two", b"21"),
        (4, 40, "four", b"40"),
    ]


def test_a_row_that_is_not_there_is_a_dead_letter(open_sink: Open, database: Database) -> None:
    """What a change does not bring cannot be made up; all else of the transaction is written."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"), (2, 2, "two", b"2"))])
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, b"10"), (9, 9, None, b"9"), unknown="text", offset=5),
            things(described, (2,), offset=7),
            lacking(described, (2, 20, None, b"20"), unknown="text", offset=8),
        ],
    )
    assert [(each.offset, each.reason) for each in letters] == [
        (6, "unavailable_value"),
        (8, "unavailable_value"),
    ]
    assert "REPLICA IDENTITY FULL" in letters[0].detail
    assert database.rows("SELECT id, n, text FROM acme.things") == [(1, 10, "one")]
    # A later one finds the row as it is.
    assert written(sink, [lacking(described, (1, 11, None, None), unknown="text raw")]) == []
    assert database.rows("SELECT n, text, raw FROM acme.things") == [(11, "one", b"10")]


def test_a_refused_change_leaves_the_one_before(open_sink: Open, database: Database) -> None:
    """Also where that one lacked columns: the row shows what it would, had each been written by itself."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"))])
    database.run("ALTER TABLE acme.things ADD CHECK (n < 50)")
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, None), unknown="raw text", offset=5),
            lacking(described, (1, 99, None, b"99"), unknown="text", offset=6),
        ],
    )
    assert [(each.offset, each.reason) for each in letters] == [(6, "refused_by_sink")]
    assert database.rows("SELECT n, text, raw FROM acme.things") == [(10, "one", b"1")]


def test_a_column_that_evolved_is_kept_too(open_sink: Open, database: Database) -> None:
    """A writer that has never seen the column writes no null over it."""
    described = Entity.model_validate(
        {**entity(id="int32").model_dump(by_alias=True), "schema_evolution": {"columns": "evolve"}}
    )
    wide = entity(id="int32", new="string")
    sink = open_sink(described)
    evolved = (("new", "string"),)
    written(sink, [msgspec.structs.replace(things(wide, (1, "old")), evolved=evolved)])
    assert written(sink, [lacking(described, (1,), unknown="new")]) == []
    assert database.rows("SELECT id, new FROM acme.things") == [(1, "old")]


# Of each type that Debezium has a placeholder for, large enough to be kept apart from its row.
DOCS = {
    "id": "int32",
    "n": "int32",
    "body": {"type": "string", "nullable": False},
    "raw": "bytes",
    "data": "json",
    "tags": "array(string)",
    "nums": "array(int32)",
    "big": "array(int64)",
    "uids": "array(uuid)",
}
LARGE = """
repeat(%(c)s, 3000), convert_to(repeat(%(c)s, 3000), 'UTF8'), jsonb_build_object('c', repeat(%(c)s, 3000)),
array_fill(%(c)s::text, array[800]), array_fill(%(n)s, array[1000]), array_fill(%(n)s::bigint, array[1000]),
array_fill('6f9619ff-8b86-d011-b42d-00cf4fc964ff'::uuid, array[300])
"""
TABLES = """
create table {0} (id int primary key, n int, body text not null, raw bytea, data jsonb, tags text[],
    nums int[], big bigint[], uids uuid[]);
alter table {0} alter body set storage external, alter raw set storage external,
    alter data set storage external, alter tags set storage external, alter nums set storage external,
    alter big set storage external, alter uids set storage external
"""
KEYLESS = """
create table visits (who text, at timestamptz, spent numeric(10,2));
create table notes (who text, at timestamptz, spent numeric(10,2));
alter table visits replica identity full; alter table notes replica identity full;
alter table wholes replica identity full;
insert into visits values ('ada', '2026-01-01', 1.50), ('ada', '2026-01-01', 1.5), ('bob', null, null);
insert into notes values ('ada', '2026-01-01', 1.50)
"""
# Each is a transaction of its own.
CHANGES = (
    "update {0} set n = n + 1",
    "update {0} set raw = convert_to(repeat('r', 2500), 'UTF8'), nums = null where id = 2",
    "update {0} set body = 'it says __debezium_unavailable_value', n = 7 where id = 3",
    "delete from {0} where id = 4",
    "insert into {0} (id, n, body) values (4, 4, 'small')",
    "update {0} set id = 50, n = 50 where id = 5",
    "update {0} set n = n + 1",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a source that is captured, and a warehouse."""
    local = LocalStack.open(tmp_path_factory.mktemp("toast") / "stack")
    try:
        local.up(["source", "warehouse", "kafka", "connect"])
        yield local
    finally:
        local.down(wipe=True)


def client(stack: LocalStack) -> ClientConfig:
    """Return a client that copies all tables, and reads what is said beside them."""
    warehouse = stack.addresses.warehouse
    keyed = {
        name: {"topic": f"shop.public.{name}", "key": ["id"], "contract": DOCS, "sinks": ["warehouse"]}
        for name in ("docs", "wholes", "asked")
    }
    row = {"who": "string", "at": "timestamptz", "spent": "decimal(10,2)"}
    keyless = {
        name: {"topic": f"shop.public.{name}", "keyless": kind, "contract": row, "sinks": ["warehouse"]}
        for name, kind in (("visits", "full_row"), ("notes", "append"))
    }
    said = {
        "topic": "shop.message",
        "contract": {"prefix": "string", "content": "bytes"},
        "sinks": ["warehouse"],
    }
    return ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka}},
            "entities": {**keyed, **keyless, "said": said},
            "sinks": {"warehouse": warehouse.as_sink()},
        }
    )


def capture(stack: LocalStack) -> None:
    """Capture all tables; of one Debezium asks the table for what an update left out."""
    tables = ("docs", "wholes", "asked", "visits", "notes")
    settings = {
        "post.processors": "reselect",
        "reselect.type": "io.debezium.processors.reselect.ReselectColumnsPostProcessor",
        "reselect.reselect.columns.include.list": r"public\.asked:.*",
        "reselect.reselect.null.values": "false",
    }
    names = tuple(f"public.{name}" for name in tables)
    wanted = Capture("shop", "shop", names, partitions=2, transactions=True, settings=settings)
    create(wanted, place_in(stack, "shop"), lambda _: None, 60.0)


def change(stack: LocalStack) -> None:
    """Make rows, capture them with a snapshot, and do to them what databases do."""
    with psycopg.connect(stack.addresses.source.dsn(), autocommit=True) as shop:
        for name in ("docs", "wholes", "asked"):
            shop.execute(TABLES.format(name).encode())
            for number in range(1, 6):
                values = {"c": str(number), "n": number}
                shop.execute(f"insert into {name} select %(n)s, %(n)s, {LARGE}".encode(), values)
        # Debezium does not ask for these types.
        shop.execute(b"update asked set tags = null, uids = null")
        shop.execute(KEYLESS.encode())
        capture(stack)
        for name in ("docs", "wholes", "asked"):
            for each in CHANGES:
                shop.execute(each.format(name).encode())
        for name in ("visits", "notes"):
            with shop.cursor().copy(f"copy {name} from stdin".encode()) as copy:
                # One COPY gives its rows one place in the log.
                copy.write(b"eve\t2026-02-02\t2.00\neve\t2026-02-02\t2.00\nfay\t2026-02-02\t3.00\n")
        shop.execute("update visits set spent = 9 where who = 'eve'")
        shop.execute("update visits set spent = spent where who = 'fay'")
        shop.execute("delete from visits where ctid = (select max(ctid) from visits where who = 'ada')")
        shop.execute("insert into visits values ('ada', '2026-01-01', 1.50), ('ada', '2026-01-01', 1.50)")
        for said in ("true, 'outbox', 'hello'", "false, 'outbox', 'bye'", "true, 'end', ''"):
            shop.execute(f"select pg_logical_emit_message({said})".encode())


def has_ended(stack: LocalStack) -> bool:
    """Tell whether the last thing that was said is in its topic."""
    consumer = Consumer({"bootstrap.servers": stack.addresses.kafka, "group.id": "end", "log_level": 0})
    consumer.assign([TopicPartition("shop.message", each, OFFSET_BEGINNING) for each in range(1)])
    try:
        found = consumer.consume(100, 3)
        return any(message.error() is None and b'"end"' in (message.key() or b"") for message in found)
    finally:
        consumer.close()


def rows(dsn: str, schema: str, table: str, columns: Any) -> list[tuple[Any, ...]]:
    """Return a table's rows as text, in order."""
    shown = ", ".join(f"{column}::text" for column in columns)
    with psycopg.connect(dsn, options="-c TimeZone=UTC") as connection:
        return sorted(
            connection.execute(f"select {shown} from {schema}.{table}".encode()).fetchall(), key=str
        )


def test_the_warehouse_equals_the_source(stack: LocalStack) -> None:
    """Large values that updates left out stay; rows without a key are as many as in the source.

    A row whose key changed needs a table that tells all of it, or a connector that asks for it: else it is a
    dead letter that says so.
    """
    change(stack)
    wait_until(lambda: has_ended(stack), "the last message")
    config = client(stack)
    direct.run(config)
    warehouse = stack.addresses.warehouse.dsn()

    def pair(table: str, columns: Any = DOCS) -> tuple[Any, Any]:
        source = rows(stack.addresses.source.dsn(), "public", table, columns)
        return rows(warehouse, "shop", table, columns), source

    for table in ("wholes", "asked"):
        found, wanted = pair(table)
        assert found == wanted, table
    found, wanted = pair("docs")
    assert found == [row for row in wanted if row[0] != "50"]
    letters = rows(warehouse, "shop", "tillstream_dead_letters", ("entity", "reason", "key"))
    # The row with another key, and the update behind that.
    assert letters == [("docs", "unavailable_value", '{"id":50}')] * 2
    for table in ("visits", "notes"):
        found, wanted = pair(table, ("who", "at", "spent"))
        assert found == wanted, table
    said = rows(warehouse, "shop", "said", ("prefix", "convert_from(content, 'UTF8')"))
    assert said == [("end", ""), ("outbox", "bye"), ("outbox", "hello")]
    # The same events again change nothing.
    direct.run(config)
    assert pair("visits", ("who", "at", "spent"))[0] == pair("visits", ("who", "at", "spent"))[1]


def test_arrays_that_debezium_nulls_are_told_of(database: Database) -> None:
    """Nobody can tell such a null from one in the table, so who captures it is told beforehand."""
    database.run(
        "CREATE TABLE arrays (id int PRIMARY KEY, texts text[], days date[], floats float8[])",
        "CREATE TABLE whole_arrays (id int PRIMARY KEY, days date[])",
        "ALTER TABLE whole_arrays REPLICA IDENTITY FULL",
    )
    with database.connect() as connection:
        found = hints(connection, Capture("shop", "shop", ("public.arrays", "public.whole_arrays")))
    assert [line.split(" of which")[0] for line in found] == ["public.arrays has arrays (days, floats)"]
