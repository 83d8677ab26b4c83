"""Compare source and warehouse row by row, value by value, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    import psycopg

__all__ = ["Comparison", "Difference", "TablePair", "compare"]

_EXAMPLES_MAX = 20
_FETCH_ROWS = 5_000

Row: TypeAlias = Mapping[str, Any]


def identity(row: Row) -> Row:
    """Return the row itself: what a warehouse without a transform holds."""
    return row


@dataclass(frozen=True)
class TablePair:
    """Say which warehouse table has to hold which source table.

    Attributes:
        source: schema and name in the source.
        warehouse: schema and name in the warehouse.
        key: key columns; the same on both sides, and never null.
        source_columns: read from the source, the key's among them.
        columns: compared; read from the warehouse, the key's among them.
        expected: makes the warehouse's row of a source's row, as the entity's transform does; keeps the key.
    """

    source: tuple[str, str]
    warehouse: tuple[str, str]
    key: tuple[str, ...]
    source_columns: tuple[str, ...]
    columns: tuple[str, ...]
    expected: Callable[[Row], Row] = identity


@dataclass(frozen=True)
class Difference:
    """Show one row that differs.

    Attributes:
        kind: missing, extra or mismatched.
        table: of the warehouse.
        key: of the row.
        column: that differs first; None for missing and extra rows.
        expected: its value by the source.
        found: its value in the warehouse.
    """

    kind: str
    table: str
    key: tuple[Any, ...]
    column: str | None = None
    expected: Any = None
    found: Any = None

    def __str__(self) -> str:
        """Return one line for a person."""
        key = ", ".join(map(str, self.key))
        line = f"{self.kind}: {self.table} ({key})"
        if self.column is None:
            return line
        return f"{line}: {self.column}: expected {self.expected!r}, found {self.found!r}"


@dataclass
class Comparison:
    """Count what was compared and what differs.

    Attributes:
        rows: of the source.
        missing: rows that the warehouse lacks.
        extra: rows that the source lacks, or that the warehouse holds twice.
        mismatched: rows with at least one other value.
        tables: how many tables were compared.
        examples: the first differences.
    """

    rows: int = 0
    missing: int = 0
    extra: int = 0
    mismatched: int = 0
    tables: int = 0
    examples: list[Difference] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Say whether nothing differs."""
        return not (self.missing or self.extra or self.mismatched)

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is among the first."""
        setattr(self, difference.kind, getattr(self, difference.kind) + 1)
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(difference)


def compare(
    source: psycopg.Connection, warehouse: psycopg.Connection, pairs: Sequence[TablePair]
) -> Comparison:
    """Compare tables, each side read once in the order of its keys.

    Values are equal when their types are too: 1 is not 1.0, 12.5 is not 12.50, true is not 1.

    Args:
        source: connection in autocommit mode.
        warehouse: connection in autocommit mode.
        pairs: what to compare with what.

    Returns:
        The counts and the first examples. A warehouse table that does not exist lacks all rows.
    """
    result = Comparison(tables=len(pairs))
    for pair in pairs:
        # One transaction a table and side: a cursor on the server needs one, and a long one would hold
        # back vacuum in both databases.
        with source.transaction(), warehouse.transaction():
            _compare_table(source, warehouse, pair, result)
    return result


def _compare_table(
    source: psycopg.Connection, warehouse: psycopg.Connection, pair: TablePair, result: Comparison
) -> None:
    name = ".".join(pair.warehouse)
    found_rows = _rows(warehouse, pair.warehouse, pair.columns, pair.key)
    found = next(found_rows, None)
    for row in _rows(source, pair.source, pair.source_columns, pair.key):
        result.rows += 1
        expected = pair.expected(row)
        key = _key(expected, pair)
        while found is not None and _order(_key(found, pair)) < _order(key):
            result.add(Difference("extra", name, _key(found, pair)))
            found = next(found_rows, None)
        if found is None or _order(_key(found, pair)) != _order(key):
            result.add(Difference("missing", name, key))
            continue
        for column in pair.columns:
            if not _same(expected[column], found[column]):
                difference = Difference("mismatched", name, key, column, expected[column], found[column])
                result.add(difference)
                break
        found = next(found_rows, None)
    while found is not None:
        result.add(Difference("extra", name, _key(found, pair)))
        found = next(found_rows, None)


def _key(row: Row, pair: TablePair) -> tuple[Any, ...]:
    return tuple(row[column] for column in pair.key)


def _order(key: tuple[Any, ...]) -> tuple[Any, ...]:
    # The type comes first, so that keys of another type are extra rows and not an error.
    return tuple((type(value).__name__, value) for value in key)


def _rows(
    connection: psycopg.Connection, table: tuple[str, str], columns: Sequence[str], key: Sequence[str]
) -> Iterator[Row]:
    collatable = _collatable(connection, table)
    if collatable is None:
        return
    # Python orders text by code point, which is what the "C" collation does and a database's own may not.
    order = [
        sql.SQL('{} collate "C"' if column in collatable else "{}").format(sql.Identifier(column))
        for column in key
    ]
    query = sql.SQL("select {} from {} order by {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(*table), sql.SQL(", ").join(order)
    )
    with connection.cursor("tillstream_compare", row_factory=dict_row) as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(query)
        yield from cursor


def _collatable(connection: psycopg.Connection, table: tuple[str, str]) -> set[str] | None:
    """Return the columns that have a collation; None when the table does not exist."""
    name = sql.Identifier(*table).as_string(connection)
    found = connection.execute(
        "select to_regclass(%s) is not null, (select array_agg(attname::text) from pg_attribute"
        " where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attcollation <> 0)",
        (name, name),
    ).fetchone()
    assert found is not None
    return set(found[1] or ()) if found[0] else None


def _same(expected: Any, found: Any) -> bool:
    if type(expected) is not type(found):
        return False
    if isinstance(expected, dict):
        return expected.keys() == found.keys() and all(_same(expected[k], found[k]) for k in expected)
    if isinstance(expected, list):
        return len(expected) == len(found) and all(map(_same, expected, found))
    if isinstance(expected, float) and math.isnan(expected):
        return math.isnan(found)
    if hasattr(expected, "as_tuple"):  # Decimal: also the number of digits behind the point
        return bool(expected.as_tuple() == found.as_tuple())
    return bool(expected == found)
