"""Tables take every type, and follow columns whose declared type changes."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest

from tillstream.configs import Entity
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.records import MutationBatch

from .conftest import Database
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

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
