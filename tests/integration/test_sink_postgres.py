"""What is particular to the Postgres sink: types, tables, bad rows, broken connections."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillstream.io.sinks.base import Writer
from tillstream.io.sinks.letter_store import Filters
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.io.sinks.postgres_letter_store import PostgresLetters
from tillstream.pipelines.records import DeadLetter

from .conftest import Database
from .sink_rigs import TIME_US, Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.mark.parametrize(
    ("kind", "wire", "found"),
    [
        ("bool", True, True),
        ("int16", -32768, -32768),
        ("int32", 2147483647, 2147483647),
        ("int64", -(2**63), -(2**63)),
        ("float32", 1.5, 1.5),
        ("float64", 1e-300, 1e-300),
        ("float64", float("inf"), float("inf")),
        ("float64", float("-inf"), float("-inf")),
        ("decimal(20,4)", "-1234567890123456.7890", "-1234567890123456.7890"),
        ("decimal(5,2)", "NaN", "NaN"),
        ("string", "", ""),
        ("string", "null", "null"),
        ("string", "\\N", "\\N"),
        ("string", "\\.", "\\."),
        ("string", "a\n\\.\nb", "a\n\\.\nb"),
        ("string", 'tab\t, "quotes" \' \\ \\n \r\n \b\f\x01\x7f ż 漢 🙂', None),
        ("string", "]\n[", "]\n["),
        ("bytes", b"", b""),
        ("bytes", bytes(range(256)), bytes(range(256))),
        ("date", "2024-02-29", "2024-02-29"),
        ("time", "23:59:59.000001", "23:59:59.000001"),
        ("timestamp", "2024-02-29T01:02:03.000004", "2024-02-29 01:02:03.000004"),
        (
            "timestamptz",
            dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone.utc),
            "2024-02-29 01:02:03.000004+00",
        ),
        ("timestamptz", "2024-02-29T01:02:03+02:00", "2024-02-28 23:02:03+00"),
        ("uuid", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("json", '{"a": "x\\n\\"\\\\"}', '{"a": "x\\n\\"\\\\"}'),
        ("json", "null", "null"),
    ],
)
def test_values_arrive_as_they_are(
    open_sink: Open, database: Database, kind: str, wire: Any, found: Any
) -> None:
    """A value of each type, beside a null, is the same in the table."""
    described = entity(id="int32", value=kind)
    assert written(open_sink(described), [things(described, (1, wire), (2, None))]) == []
    value = "value" if kind.startswith(("bool", "int", "float", "bytes")) else "value::text"
    rows = database.rows(f"SELECT {value} FROM (SELECT * FROM acme.things ORDER BY id) t")
    assert rows == [(wire if found is None else found,), (None,)]


def test_not_a_number_arrives(open_sink: Open, database: Database) -> None:
    """NaN among finite floats does not become null."""
    described = entity(id="int32", value="float64")
    written(open_sink(described), [things(described, (1, 0.5), (2, float("nan")), (3, None))])
    rows = database.rows("SELECT id, value::text FROM acme.things ORDER BY id")
    assert rows == [(1, "0.5"), (2, "NaN"), (3, None)]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_arrives(open_sink: Open, database: Database, texts: list[str]) -> None:
    """Text of any characters, but NUL, is the same in the table."""
    described = entity(id="int32", value="string")
    written(open_sink(described), [things(described, *enumerate(texts))])
    rows = database.rows("SELECT id, value FROM acme.things ORDER BY id")
    assert rows[: len(texts)] == list(enumerate(texts))


@pytest.mark.parametrize(
    ("kind", "wire", "said"),
    [
        ("string", "a\0b", "invalid byte sequence"),
        ("int16", 32768, "out of range"),
        ("decimal(5,2)", "1000.00", "numeric field overflow"),
        ("timestamp", "2024-02-30T00:00:00", "out of range"),
        ("uuid", "no-uuid", "invalid input syntax"),
        ("json", "{not json", "invalid input syntax"),
        ("json", '"\\u0000"', "unsupported Unicode escape"),
        ("int64", None, "null value in column"),
    ],
)
def test_refused_values_become_dead_letters(
    open_sink: Open, database: Database, kind: str, wire: Any, said: str
) -> None:
    """The row is named with the server's sentence, which quotes no other row; all others are written."""
    described = entity(id="int32", value={"type": kind, "nullable": False})
    good = {"string": "x", "int16": 1, "decimal(5,2)": "1.00", "timestamp": "2024-02-29T00:00:00"}
    good |= {"uuid": "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "json": "{}", "int64": 1}
    rows = [(i, wire if i in {3, 4, 40} else good[kind]) for i in range(50)]
    letters = written(open_sink(described), [things(described, *rows)])
    assert [letter.offset for letter in letters] == [3, 4, 40]
    assert all(said in letter.detail for letter in letters), letters[0].detail
    assert database.rows("SELECT count(*) FROM acme.things") == [(47,)]


@pytest.mark.parametrize("staged_rows_max", [1, 7, 64])
def test_many_refused_values_are_told_apart(
    open_sink: Open, database: Database, monkeypatch: pytest.MonkeyPatch, staged_rows_max: int
) -> None:
    """Where every second row is bad, all others are written once, however often the staging table is cut."""
    monkeypatch.setattr("tillstream.io.sinks.postgres_salvage._STAGED_ROWS_MAX", staged_rows_max)
    described = entity(id="int32", value="int16")
    rows = [(i, 70_000 if i % 2 else i) for i in range(70)]
    letters = written(open_sink(described), [things(described, *rows)])
    assert [letter.offset for letter in letters] == list(range(1, 70, 2))
    assert database.rows("SELECT value FROM acme.things ORDER BY id") == [(i,) for i in range(0, 70, 2)]


def test_a_key_too_long_for_its_index_is_one_bad_row(open_sink: Open, database: Database) -> None:
    """Limits of the server that one row exceeds are the row's fault, not an outage."""
    described = entity(id="string", value="int32")
    # Random enough not to be compressed below the limit of an index entry.
    long = "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(8000))
    (letter,) = written(open_sink(described), [things(described, ("a", 1), (long, 2), ("b", 3))])
    assert letter.offset == 1
    assert database.rows("SELECT id FROM acme.things ORDER BY id") == [("a",), ("b",)]


def test_the_mutation_before_a_refused_one_is_written(open_sink: Open, database: Database) -> None:
    """A key whose last mutations are refused shows its last good one, as if each were written by itself."""
    described = entity(id="int32", value="int16")
    sink = open_sink(described)
    letters = written(
        sink,
        [
            things(described, (1, 1), (2, 5), (1, 2), (1, 99_999), (2,)),
            things(described, (1, 70_000), offset=5),
        ],
    )
    assert [letter.offset for letter in letters] == [5, 3]
    assert database.rows("SELECT id, value FROM acme.things") == [(1, 2)]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([("1.5", 1), ("2", 7), ("1.50", 2), ("1.500", 3)], [("1.50", 3), ("2.00", 7)]),
        ([("1.5", 1), ("1.5",), ("1.50", 2), ("2.5", 3), ("2.50",)], [("1.50", 2)]),
    ],
)
def test_spellings_of_one_key_are_one_row(open_sink: Open, database: Database, rows: Any, found: Any) -> None:
    """Keys that differ as text but not as values take their mutations in order, deletes too."""
    described = entity(id="decimal(10,2)", value="int32")
    assert written(open_sink(described), [things(described, *rows)]) == []
    assert database.rows("SELECT id::text, value FROM acme.things ORDER BY id") == found


def test_a_row_that_only_the_commit_refuses_is_found(open_sink: Open, database: Database) -> None:
    """A deferred constraint costs the row that breaks it, and no other."""
    described = entity(id="int32", value="int32")
    sink = open_sink(described)
    unique = "ADD CONSTRAINT one UNIQUE (value) DEFERRABLE INITIALLY DEFERRED"
    database.run(f"ALTER TABLE acme.things {unique}")
    (letter,) = written(sink, [things(described, (1, 5), (2, 6), (3, 5), (4, 7))])
    assert (letter.offset, "violates unique constraint" in letter.detail) == (2, True)
    assert database.rows("SELECT id FROM acme.things ORDER BY id") == [(1,), (2,), (4,)]


def test_the_source_time_is_kept(open_sink: Open, database: Database) -> None:
    """Each row tells to the microsecond when it was committed in the source."""
    described = entity(id="int32")
    written(open_sink(described), [things(described, (1,), offset=123_457)])
    (row,) = database.rows("SELECT extract(epoch FROM _source_time) * 1000000 FROM acme.things")
    assert int(row[0]) == TIME_US + 123_457


def test_the_table_has_the_contract_s_types(open_sink: Open, database: Database) -> None:
    """The table is made with the contract's types, nulls and key, whatever its columns are called."""
    open_sink(entity("order", "id", id="int64", order="string", price="decimal(12,2)", Mixed="json"))
    rows = database.rows(
        "SELECT attname::text, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 'acme.things'::regclass AND attnum > 0 ORDER BY attnum"
    )
    assert rows == [
        ("id", "bigint", True),
        ("order", "text", True),
        ("price", "numeric(12,2)", False),
        ("Mixed", "jsonb", False),
        ("_source_time", "timestamp with time zone", False),
        ("_source_position", "bytea", False),
    ]


def test_what_is_done_to_tables_is_logged(open_sink: Open, caplog: pytest.LogCaptureFixture) -> None:
    """An operator can read which tables a start made, and what it changed in those that were there."""
    caplog.set_level("INFO", "tillstream")
    open_sink(entity(id="int32", a="int32"))
    open_sink(entity(id="int32", a="int64"))
    assert [record.getMessage() for record in caplog.records if "table" in record.getMessage()] == [
        "table acme.things: created",
        'table acme.things: ALTER COLUMN "a" TYPE bigint USING "a"::bigint',
    ]


def test_the_table_widens_with_the_contract(open_sink: Open, database: Database) -> None:
    """New columns, wider types and nulls come in; what is there stays, and no column is narrowed."""
    old = entity(
        id="int16",
        a="int32",
        b="decimal(6,2)",
        c="float32",
        d="date",
        e="int64",
        f={"type": "uuid", "nullable": False},
    )
    written(
        open_sink(old),
        [things(old, (1, 2, "3.25", 1.5, "2024-02-29", 5, "6f9619ff-8b86-d011-b42d-00cf4fc964ff"))],
    )
    new = entity(id="int64", a="int64", b="decimal(12,3)", c="float64", d="string", e="int16", g="string")
    assert written(open_sink(new), [things(new, (2**40, 2**40, "123456789.125", 1e300, "x", 7, "new"))]) == []
    assert database.rows("SELECT id, a, b::text, c, d, e, g FROM acme.things ORDER BY id") == [
        (1, 2, "3.250", 1.5, "2024-02-29", 5, None),
        (2**40, 2**40, "123456789.125", 1e300, "x", 7, "new"),
    ]
    assert database.rows("SELECT pg_typeof(e)::text FROM acme.things LIMIT 1") == [("bigint",)]


def test_two_writers_that_start_together_make_one_table(open_sink: Open, database: Database) -> None:
    """Writers that find no schema create it once, and both write."""
    described = entity(id="int32", value="int32")
    database.run("DROP SCHEMA IF EXISTS acme CASCADE")

    def start(place: int) -> None:
        written(open_sink(described), [things(described, (place, place))])

    writers = [threading.Thread(target=start, args=(place,)) for place in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert database.rows("SELECT count(*) FROM acme.things") == [(8,)]


def test_two_writers_that_start_together_make_one_ledger(database: Database) -> None:
    """Writers that find no ledger create it once, and none fails."""
    described = entity(id="int32")
    for round_ in range(5):
        database.run("DROP SCHEMA IF EXISTS acme CASCADE")
        writer = Writer(generation=round_ + 1, shards=16, parallelism=8)
        sinks = [PostgresSink("s", "acme", database.model(), {"things": described}, writer) for _ in range(8)]
        with ThreadPoolExecutor(len(sinks)) as pool:
            assert [each.result(60) for each in [pool.submit(sink.open) for sink in sinks]] == [None] * 8
        for sink in sinks:
            sink.close()


def test_it_survives_its_connection(open_sink: Open, database: Database) -> None:
    """A connection that the server ends between two writes, as at a fail-over, is replaced."""
    described = entity(id="int32")
    sink = open_sink(described)
    written(sink, [things(described, (1,))])
    ours = "pg_stat_activity WHERE application_name = 'tillstream-acme'"
    assert database.rows(f"SELECT pg_terminate_backend(pid, 5000) FROM {ours}") == [(True,)]
    written(sink, [things(described, (2,))])
    assert database.rows("SELECT id FROM acme.things ORDER BY id") == [(1,), (2,)]


def test_a_connection_lost_in_mid_commit_is_harmless(
    open_sink: Open, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the commit went through but its answer did not arrive, the rows are written again, the same."""
    described = entity(id="int32", value="int32")
    sink = open_sink(described)
    written(sink, [things(described, (1, 1), (2, 2))])
    commit = psycopg.Connection.transaction
    lost = iter([True, False])

    @contextmanager
    def answerless(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with commit(self, *args, **kwargs) as transaction:
            yield transaction
        if next(lost):
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "transaction", answerless)
    assert written(sink, [things(described, (1, 10), (2,), (3, 30))]) == []
    assert next(lost, None) is None
    assert database.rows("SELECT id, value FROM acme.things ORDER BY id") == [(1, 10), (3, 30)]


@pytest.mark.parametrize("key", ["", ", sink"])
def test_an_older_table_of_letters_is_taken_over(open_sink: Open, database: Database, key: str) -> None:
    """Tables whose letters were not told apart by sink, or by entity, keep them, and tell new ones apart."""
    open_sink(entity(id="int32")).close()
    later = "id, position, source_time_us, source_entity, attempt, status, resolution, resolved_at"
    dropped = ", ".join(f"DROP COLUMN {each}" for each in later.split(", "))
    database.run(
        f"ALTER TABLE acme.tillstream_dead_letters DROP CONSTRAINT tillstream_dead_letters_pkey, {dropped}"
        f"{'' if key else ', DROP COLUMN sink'}, "
        f'ADD CONSTRAINT mine PRIMARY KEY (topic, partition, "offset", index, step{key})',
        "INSERT INTO acme.tillstream_dead_letters "
        "VALUES ('acme', 'things', 'write', 'refused_by_sink', 'x', 't', 0, 7, 0)",
    )
    for _ in range(2):
        sink = open_sink(entity(id="int32"))
        for name, which in (("", "things"), ("east", "things"), ("east", "views"), ("", None)):
            sink.write_dead_letters([DeadLetter("acme", which, "write", "x", "", "t", 0, 7, sink=name)])
    found = database.rows("SELECT sink, entity, reason FROM acme.tillstream_dead_letters ORDER BY 1, 2")
    old = ("", "things", "refused_by_sink")
    assert found == [old, ("", None, "x"), ("east", "things", "x"), ("east", "views", "x")]


def test_the_latest_attempt_of_a_letter_stands(open_sink: Open, database: Database) -> None:
    """A letter that is solved stays so when it is written again, and opens when a later attempt fails."""
    sink = open_sink(entity(id="int32"))
    letter = DeadLetter("acme", "things", "transform", "x", "first", "t", 0, 7, payload=b"p")
    replace = msgspec.structs.replace
    found = []
    for attempt, status, detail in (
        *((0, "open", "first"), (5, "replayed", "ok"), (0, "open", "first"), (5, "superseded", "y")),
        *((9, "open", "again"), (9, "replayed", "z"), (12, "discarded", "given up"), (12, "open", "again")),
    ):
        sink.write_dead_letters([replace(letter, attempt=attempt, status=status, detail=detail)])
        found += database.rows(
            "SELECT status, attempt, detail, resolution, resolved_at IS NULL, payload "
            "FROM acme.tillstream_dead_letters"
        )
    assert found == [
        ("open", 0, "first", None, True, "p"),
        ("replayed", 5, "first", "ok", False, "p"),
        ("replayed", 5, "first", "ok", False, "p"),
        ("replayed", 5, "first", "ok", False, "p"),
        ("open", 9, "again", None, True, "p"),
        ("open", 9, "again", None, True, "p"),
        ("discarded", 12, "again", "given up", False, "p"),
        ("open", 12, "again", None, True, "p"),
    ]


def test_letters_are_asked_for(open_sink: Open) -> None:
    """Filters leave out the others, the oldest come first, and what bytes were stays bytes."""
    sink = open_sink(entity(id="int32"))
    letter = DeadLetter("acme", "things", "transform", "x", "", "t", 0, 7, key=b'{"id":1}', payload=b"\xff")
    replace = msgspec.structs.replace
    for offset in (9, 8):
        sink.write_dead_letters([replace(letter, offset=offset, transform="acme.x@1.0.0", position=(1, 2))])
    sink.write_dead_letters([replace(letter, entity=None, step="read", key=b"\0", attempt=5)])
    store = PostgresLetters("sink", "acme", sink.model)
    first, second = store.select(Filters(entity="things", transform="acme.x", key="1"), None)
    assert [each.letter.offset for each in (first, second)] == [9, 8]
    assert first.letter == replace(letter, offset=9, transform="acme.x@1.0.0", position=(1, 2))
    assert [each.letter.key for each in store.select(Filters(step="read", topic="t"), None)] == [b"\0"]
    later = first.recorded_at + dt.timedelta(microseconds=1)
    assert len(store.select(Filters(since=later), None)) == 2
    assert store.select(Filters(until=later), None) == [first]
    assert store.select(Filters(), 1) == [first]
    assert store.select(Filters(status="replayed"), None) == []
    assert store.find(first.id[:9]) == [first]
    assert store.get([second.id, "unknown"]) == {second.id: second}
    store.close()


def test_rights_on_rows_are_enough_where_tables_exist(open_sink: Open, database: Database) -> None:
    """A role that may not create anything writes into tables that are there and wide enough."""
    described = entity(id="int32")
    open_sink(described)
    database.run(
        "DROP ROLE IF EXISTS writer",
        "CREATE ROLE writer LOGIN",
        "GRANT USAGE ON SCHEMA acme TO writer",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA acme TO writer",
    )
    sink = open_sink(described, user="writer")
    assert written(sink, [things(described, (1,), (2,))]) == []
    sink.write_dead_letters([DeadLetter("acme", None, "read", "malformed", "", "t", 0, 7)])
    assert database.rows("SELECT count(*) FROM acme.tillstream_dead_letters") == [(1,)]
    sink.close()
    database.run("DROP OWNED BY writer", "DROP ROLE writer")
