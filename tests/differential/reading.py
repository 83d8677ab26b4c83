"""Read the tables of both sides, and the dead letters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from tests.differential.compare import Letter, Side
from tests.differential.kinds import KINDS

__all__ = ["letters_of", "refused_row", "source_side", "warehouse_side"]

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a
where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
_KEY = """
select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
where i.indrelid = to_regclass(%s) and i.indisprimary order by array_position(i.indkey, a.attnum)
"""
_LETTERS = """
select coalesce(source_entity, entity, ''), reason, detail, payload from {}
where status = 'open' order by recorded_at
"""
_KINDS = {kind.sql: kind for kind in KINDS}


def source_side(connection: Connection, schema: str, table: str) -> tuple[Side, list[str]]:
    """Return a table of the source, and the columns of its key; none where it has no key."""
    columns = _columns(connection, schema, table)
    name = sql.Identifier(schema, table).as_string(connection)
    key = [column for (column,) in connection.execute(_KEY, (name,))]
    kinds = {column: _KINDS[kind.removeprefix(f"{schema}.")] for column, kind in columns.items()}
    texts = {column: kind.text for column, kind in kinds.items()}
    rows = _rows(connection, schema, table, texts, key)
    return Side({column: kind.target for column, kind in kinds.items()}, rows), key


def warehouse_side(
    connection: Connection, schema: str, table: str, source: Side, key: Sequence[str]
) -> Side | None:
    """Return what the warehouse has of a table, by the source's key; None where there is no such table."""
    columns = _columns(connection, schema, table)
    if not columns:
        return None
    common = [column for column in source.types if column in columns]
    types = {column: columns[column] for column in common}
    rows = _rows(connection, schema, table, dict.fromkeys(common, "{}::text"), key)
    if not key and len(common) < len(source.types):
        # What the warehouse lacks is null, also where the whole row tells it apart.
        copies: Counter[tuple[str | None, ...]] = Counter()
        wide = [{name: row.get(name) for name in source.types} for row in rows.values()]
        rows = {}
        for row in wide:
            values = tuple(row.values())
            copies[values] += 1
            rows[(*values, str(copies[values]))] = row
    return Side(types, rows)


def letters_of(connection: Connection, schema: str, keys: Mapping[str, Sequence[str]]) -> list[Letter]:
    """Return the dead letters; none while there is no table of them.

    Args:
        connection: to the warehouse.
        schema: of the client.
        keys: columns of each table's key.
    """
    table = sql.Identifier(schema, "tillstream_dead_letters")
    try:
        found = connection.execute(sql.SQL(_LETTERS).format(table)).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
    letters = []
    for entity, reason, detail, payload in found:
        row = refused_row(payload)
        columns = keys.get(entity, ())
        key = tuple(str(row.get(column)) for column in columns) if row else ()
        letters.append(Letter(entity, key, str(row.get("version", "")), reason, detail))
    return letters


def refused_row(payload: str | None) -> dict[str, Any]:
    """Return the row of a refused message, or of a row that a sink refused; nothing for anything else."""
    try:
        found = json.loads(payload or "")
        found = found.get("payload", found)
        return dict((found.get("after") or found.get("before") or {}) if "op" in found else found)
    except (ValueError, AttributeError, TypeError):
        return {}


def _columns(connection: Connection, schema: str, table: str) -> dict[str, str]:
    name = sql.Identifier(schema, table).as_string(connection)
    return dict(connection.execute(_COLUMNS, (name,)).fetchall())  # type: ignore[arg-type]


def _rows(
    connection: Connection, schema: str, table: str, texts: Mapping[str, str], key: Sequence[str]
) -> dict[tuple[str | None, ...], dict[str, str | None]]:
    """Return rows by key; those of tables without one by all that they hold, and a number among equals."""
    names = list(texts)
    columns = sql.SQL(", ").join(sql.SQL(text).format(sql.Identifier(name)) for name, text in texts.items())
    query = sql.SQL("select {} from {}").format(columns, sql.Identifier(schema, table))
    rows: dict[tuple[str | None, ...], dict[str, str | None]] = {}
    copies: Counter[tuple[str | None, ...]] = Counter()
    for values in connection.execute(query):
        row = dict(zip(names, values, strict=True))
        if key:
            rows[tuple(row.get(name) for name in key)] = row
        else:
            copies[values] += 1
            rows[(*values, str(copies[values]))] = row
    return rows
