"""Tests of the comparison on real tables."""

from typing import Any

import psycopg
import pytest

from tillstream.runners.demo.compare import Comparison, TablePair, compare

pytestmark = pytest.mark.integration

TYPED = (
    "k bigint, i integer, n numeric(12,2), f double precision, b boolean, t text, j jsonb, d date,"
    " z timestamptz"
)
ROW = "1, 12.50, 0.1, true, 'x', '{\"a\": [1, null]}', '1931-01-01', '2025-03-01 08:00:00.000001+00'"
COLUMNS = ("k", "i", "n", "f", "b", "t", "j", "d", "z")


@pytest.fixture
def tables(source: psycopg.Connection, warehouse: psycopg.Connection) -> tuple[Any, Any]:
    """Create a typed table of three rows on both sides."""
    source.execute("drop table if exists typed")
    for connection, name in ((source, "typed"), (warehouse, "acme.typed")):
        connection.execute(f"create table {name} ({TYPED})")
        connection.execute(f"insert into {name} select k, {ROW} from generate_series(1, 3) as k")
    return source, warehouse


def run(tables: tuple[Any, Any], **options: Any) -> Comparison:
    """Compare the typed table with its copy."""
    pair = TablePair(("public", "typed"), ("acme", "typed"), ("k",), COLUMNS, COLUMNS, **options)
    return compare(*tables, [pair])


def counts(result: Comparison) -> tuple[int, int, int, int]:
    """Return the four counts."""
    return result.rows, result.missing, result.extra, result.mismatched


def test_equal_tables_are_exact(tables: tuple[Any, Any]) -> None:
    """Rows of all types that are the same on both sides give no difference."""
    result = run(tables)
    assert counts(result) == (3, 0, 0, 0)
    assert result.is_exact


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("delete from acme.typed where k = 1", (3, 1, 0, 0)),
        ("delete from acme.typed", (3, 3, 0, 0)),
        ("drop table acme.typed", (3, 3, 0, 0)),
        ("insert into acme.typed (k) values (0), (9)", (3, 0, 2, 0)),
        ("insert into acme.typed select * from acme.typed where k = 2", (3, 0, 1, 0)),
        ("update acme.typed set k = 7 where k = 1", (3, 1, 1, 0)),
        ("update acme.typed set t = null where k < 3", (3, 0, 0, 2)),
        ("update acme.typed set t = 'x ' where k = 1", (3, 0, 0, 1)),
        ("update acme.typed set z = z + interval '1 microsecond' where k = 1", (3, 0, 0, 1)),
        ("update acme.typed set j = '{\"a\": [1.0, null]}' where k = 1", (3, 0, 0, 1)),
        ("update acme.typed set f = 'NaN' where k = 1", (3, 0, 0, 1)),
    ],
)
def test_every_difference_is_found(
    tables: tuple[Any, Any], change: str, expected: tuple[int, int, int, int]
) -> None:
    """What a statement breaks in the warehouse is counted, neither more nor less."""
    tables[1].execute(change)
    assert counts(run(tables)) == expected


@pytest.mark.parametrize(
    "change",
    [
        "i type numeric",
        "n type numeric(12,3)",
        "f type text",
        "b type integer using b::int",
        "z type timestamp",
    ],
)
def test_other_types_are_mismatches(tables: tuple[Any, Any], change: str) -> None:
    """The same value in another type is not the same value."""
    tables[1].execute(f"alter table acme.typed alter {change}")
    assert counts(run(tables)) == (3, 0, 0, 3)


def test_keys_of_another_type_are_other_rows(tables: tuple[Any, Any]) -> None:
    """A key that became text misses and exceeds, and does not stop the comparison."""
    tables[1].execute("alter table acme.typed alter k type text")
    assert counts(run(tables)) == (3, 3, 3, 0)


def test_example_names_row_column_and_values(tables: tuple[Any, Any]) -> None:
    """A difference reads as one line that says where to look."""
    tables[1].execute("update acme.typed set i = 5 where k = 2")
    assert str(run(tables).examples[0]) == "mismatched: acme.typed (2): i: expected 1, found 5"


def test_expected_rows_are_what_the_transform_makes(tables: tuple[Any, Any]) -> None:
    """The comparison holds the warehouse against the mapped row, not the source's own."""
    tables[1].execute("update acme.typed set t = upper(t)")
    assert run(tables).mismatched == 3
    assert run(tables, expected=lambda row: {**row, "t": row["t"].upper()}).is_exact


def test_text_keys_are_merged_in_one_order(tables: tuple[Any, Any]) -> None:
    """Text keys that collations sort differently are still matched one to one."""
    for connection, name in zip(tables, ("typed", "acme.typed"), strict=True):
        connection.execute(f"truncate {name}")
        connection.execute(f"insert into {name} (t) values ('a'), ('B'), ('_'), ('é'), ('Z'), ('🎁'), ('田')")
    pair = TablePair(("public", "typed"), ("acme", "typed"), ("t",), COLUMNS, COLUMNS)
    assert counts(compare(*tables, [pair])) == (7, 0, 0, 0)
