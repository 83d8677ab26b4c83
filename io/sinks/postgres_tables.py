"""Create and widen the tables of a Postgres sink from contracts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from tillstream.configs import Column, Entity
from tillstream.io.sinks.postgres_types import PgType, holds, parse, type_of
from tillstream.pipelines.errors import SinkError

__all__ = [
    "DEAD_LETTERS_TABLE",
    "SOURCE_POSITION",
    "SOURCE_TIME",
    "columns_of",
    "ensure_tables",
    "take_turns",
]

_LOG = logging.getLogger(__name__)

SOURCE_TIME = "_source_time"
# Place of the row's newest change in the source's order, so that a truncate can tell which rows it deletes.
SOURCE_POSITION = "_source_position"
DEAD_LETTERS_TABLE = "tillstream_dead_letters"

# Room for new versions of rows on the pages of the old ones: an update then touches no index, which
# saved the server a quarter of its time (docs/decisions/0002-copy-format.md).
_FILL_PERCENT = 70

_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef OR a.attidentity <> ''
FROM pg_attribute a
WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
_UNIQUE_KEYS = """
SELECT array_agg(a.attname::text)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indrelid = to_regclass(%s) AND i.indisunique AND i.indisvalid AND i.indimmediate
  AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid, i.indnkeyatts HAVING count(*) = i.indnkeyatts
"""

Connection = psycopg.Connection[tuple[Any, ...]]


class _Existing(NamedTuple):
    """Hold one column of a table as it is."""

    type: PgType
    not_null: bool
    has_default: bool


def ensure_tables(connection: Connection, schema: str, entities: Mapping[str, Entity]) -> None:
    """Create what is missing and widen what is too narrow, in one transaction; never narrow anything.

    Writers that start together take turns, by an advisory lock on the schema.

    Raises:
        SinkError: if a table cannot take what its contract promises; says what to do.
        psycopg.Error: as the server raises it.
    """
    with connection.transaction():
        take_turns(connection, schema)
        for name, entity in entities.items():
            if name == DEAD_LETTERS_TABLE:
                raise SinkError(f"entity {name!r}: expected another name: dead letters are kept under it")
            columns = entity.columns()
            if not columns:
                raise SinkError(
                    f"entity {name!r}: found no contract, expected one: a table needs its columns' types"
                )
            existing = columns_of(connection, schema, name)
            if existing:
                _widen(connection, schema, name, entity, existing)
            else:
                connection.execute(_create(schema, name, entity.key, columns))
                _LOG.info("table %s.%s: created", schema, name)


def take_turns(connection: Connection, schema: str) -> None:
    """Wait for other writers of the schema until the transaction ends, and create it if it is missing."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"tillstream:{schema}",))
    # Not left to IF NOT EXISTS, which asks for the right to create even where nothing is to be created.
    if connection.execute("SELECT to_regnamespace(quote_ident(%s))", (schema,)).fetchone() == (None,):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def columns_of(connection: Connection, schema: str, table: str) -> dict[str, _Existing]:
    """Return a table's columns by name; none where there is no such table."""
    name = sql.Identifier(schema, table).as_string(connection)
    rows = connection.execute(_COLUMNS, (name,)).fetchall()
    return {column: _Existing(parse(kind), not_null, default) for column, kind, not_null, default in rows}


def _create(schema: str, table: str, key: Sequence[str], columns: Sequence[Column]) -> sql.Composed:
    definitions = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(column.name),
            _type(type_of(column)),
            sql.SQL("" if column.nullable else " NOT NULL"),
        )
        for column in columns
    ]
    form = "CREATE TABLE {} ({}, {} timestamptz, {} bytea, PRIMARY KEY ({})) WITH (fillfactor = {})"
    return sql.SQL(form).format(
        sql.Identifier(schema, table),
        sql.SQL(", ").join(definitions),
        sql.Identifier(SOURCE_TIME),
        sql.Identifier(SOURCE_POSITION),
        sql.SQL(", ").join(map(sql.Identifier, key)),
        sql.Literal(_FILL_PERCENT),
    )


def _widen(
    connection: Connection,
    schema: str,
    table: str,
    entity: Entity,
    existing: Mapping[str, _Existing],
) -> None:
    qualified = sql.Identifier(schema, table)
    _check_key(connection, f"{schema}.{table}", qualified, entity.key)
    columns = entity.columns()
    actions = [
        *_column_actions(f"{schema}.{table}", columns, existing),
        *_null_actions(entity.key, columns, existing),
    ]
    if actions:
        changes = sql.SQL(", ").join(actions)
        _LOG.info("table %s.%s: %s", schema, table, changes.as_string(connection))
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(qualified, changes))


def _check_key(connection: Connection, shown: str, qualified: sql.Identifier, key: Sequence[str]) -> None:
    name = qualified.as_string(connection)
    found = [sorted(columns) for (columns,) in connection.execute(_UNIQUE_KEYS, (name,))]
    if sorted(key) not in found:
        keys = "; ".join(", ".join(columns) for columns in found) or "none"
        raise SinkError(
            f"table {shown}: found unique keys ({keys}), expected ({', '.join(key)}), the entity's key: "
            f"ALTER TABLE {name} ADD UNIQUE ({', '.join(key)}), or move the table out of the way"
        )


def _column_actions(
    shown: str, columns: Sequence[Column], existing: Mapping[str, _Existing]
) -> Iterator[sql.Composable]:
    for column in columns:
        wanted = type_of(column)
        identifier = sql.Identifier(column.name)
        found = existing.get(column.name)
        if found is None:
            # Rows that are there already have no value for it, whatever the contract says of new ones.
            yield sql.SQL("ADD COLUMN {} {}").format(identifier, _type(wanted))
        elif holds(found.type, wanted):
            continue
        elif holds(wanted, found.type):
            yield sql.SQL("ALTER COLUMN {} TYPE {} USING {}::{}").format(
                identifier, _type(wanted), identifier, _type(wanted)
            )
        else:
            raise SinkError(
                f"table {shown}, column {column.name}: found type {found.type}, expected {wanted} or one "
                "that holds its values; neither holds the other's, so it is not changed here: "
                "convert the column by hand, or change the contract"
            )
    if SOURCE_TIME not in existing:
        yield sql.SQL("ADD COLUMN {} timestamptz").format(sql.Identifier(SOURCE_TIME))
    if SOURCE_POSITION not in existing:
        yield sql.SQL("ADD COLUMN {} bytea").format(sql.Identifier(SOURCE_POSITION))


def _null_actions(
    key: Sequence[str], columns: Sequence[Column], existing: Mapping[str, _Existing]
) -> Iterator[sql.Composable]:
    required = {column.name for column in columns if not column.nullable} | set(key)
    for name, found in existing.items():
        # A column that the contract no longer has gets no values: its rows must still fit.
        absent_with_default = found.has_default and all(column.name != name for column in columns)
        if found.not_null and name not in required and not absent_with_default:
            yield sql.SQL("ALTER COLUMN {} DROP NOT NULL").format(sql.Identifier(name))


def _type(kind: PgType) -> sql.SQL:
    # Types come from this package's own table and integers, never from a config's text.
    return sql.SQL(str(kind))
