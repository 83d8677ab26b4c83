"""Compose the statements by which an entity's rows are staged and merged."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from psycopg import sql

from tillstream.configs import Column
from tillstream.io.sinks.postgres_copy import COPY_OPTIONS
from tillstream.io.sinks.postgres_tables import SOURCE_POSITION, SOURCE_TIME

__all__ = ["Statements", "compose"]

# A staged row without it is a delete.
_TIME_US = sql.Identifier("_source_time_us")
_COMMA = sql.SQL(", ")

_CREATE_STAGE = """
CREATE TEMP TABLE {stage} ON COMMIT DELETE ROWS AS
SELECT {staged}, NULL::bigint AS {time_us}, NULL::text AS {position} FROM {table} WITH NO DATA
"""
_UPSERT = """
INSERT INTO {table} ({columns}, {time}, {position})
SELECT {values}, timestamptz 'epoch' + {time_us} * interval '1 microsecond', decode(s.{position}, 'base64')
FROM {stage} AS s
WHERE {time_us} IS NOT NULL
ON CONFLICT ({key}) DO UPDATE SET {updates}
"""
_UPDATE_KNOWN = "UPDATE {table} AS t SET {updates} FROM {stage} AS s WHERE {same_key}"
_DELETE = "DELETE FROM {table} AS t USING {stage} AS s WHERE s.{time_us} IS NULL AND {same_key}"


class Statements(NamedTuple):
    """Hold the statements of one entity.

    Attributes:
        create_stage: makes the staging table, with the types of the table; once a connection.
        forget: drops it.
        clear: hides what it holds.
        truncate: takes away what it holds, at the price of a new file.
        copy: fills it.
        upsert: merges staged rows into the table.
        delete: deletes what is staged by key.
        parts: of statements that are composed when they are needed.
        assignments: from what is staged, by column; none of the key's.
    """

    create_stage: sql.Composed
    forget: sql.Composed
    clear: sql.Composed
    truncate: sql.Composed
    copy: sql.Composed
    upsert: sql.Composed
    delete: sql.Composed
    parts: Mapping[str, sql.Composable]
    assignments: Mapping[str, sql.Composable]

    def update_known(self, unknown: Collection[str]) -> sql.Composed:
        """Return what writes all columns of staged rows but some into rows that are there."""
        known = [form for name, form in self.assignments.items() if name not in unknown]
        return sql.SQL(_UPDATE_KNOWN).format(**{**self.parts, "updates": _COMMA.join(known)})


def compose(schema: str, name: str, columns: Sequence[Column], key: Sequence[str]) -> Statements:
    """Return the statements of one entity.

    Args:
        schema: of its table.
        name: of its table, and of its staging table in the session's own schema.
        columns: of its contract.
        key: names of the key's columns.
    """
    bytes_columns = {column.name for column in columns if column.kind == "bytes"}
    names = [column.name for column in columns]

    def value(column: str) -> sql.Composed:
        # Bytes are staged as base64.
        form = "decode(s.{}, 'base64')" if column in bytes_columns else "s.{}"
        return sql.SQL(form).format(sql.Identifier(column))

    def each(form: str, among: Iterable[str]) -> list[sql.Composed]:
        return [sql.SQL(form).format(column=sql.Identifier(column), value=value(column)) for column in among]

    staged = [each("NULL::text AS {column}" if n in bytes_columns else "{column}", [n])[0] for n in names]
    updated = [column for column in (*names, SOURCE_TIME, SOURCE_POSITION) if column not in key]
    parts = {
        "table": sql.Identifier(schema, name),
        "stage": sql.Identifier("pg_temp", name),
        "time": sql.Identifier(SOURCE_TIME),
        "position": sql.Identifier(SOURCE_POSITION),
        "time_us": _TIME_US,
        "columns": _COMMA.join(map(sql.Identifier, names)),
        "key": _COMMA.join(map(sql.Identifier, key)),
        "staged": _COMMA.join(staged),
        "values": _COMMA.join(map(value, names)),
        "updates": _COMMA.join(each("{column} = excluded.{column}", updated)),
        "same_key": sql.SQL(" AND ").join(each("t.{column} = {value}", key)),
    }
    assignments = {name: each("{column} = {value}", [name])[0] for name in names if name not in key}
    assignments[SOURCE_POSITION] = sql.SQL("{position} = decode(s.{position}, 'base64')").format(**parts)
    assignments[SOURCE_TIME] = sql.SQL(
        "{time} = timestamptz 'epoch' + s.{time_us} * interval '1 microsecond'"
    ).format(**parts)
    return Statements(
        sql.SQL(_CREATE_STAGE).format(**parts),
        sql.SQL("DROP TABLE IF EXISTS {stage}").format(**parts),
        sql.SQL("DELETE FROM {stage}").format(**parts),
        sql.SQL("TRUNCATE {stage}").format(**parts),
        sql.SQL("COPY {stage} ({columns}, {time_us}, {position}) FROM STDIN " + COPY_OPTIONS).format(**parts),
        sql.SQL(_UPSERT).format(**parts),
        sql.SQL(_DELETE).format(**parts),
        parts,
        assignments,
    )
