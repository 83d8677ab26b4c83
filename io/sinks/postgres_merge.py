"""Stage an entity's rows and merge them into its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any

import psycopg
from psycopg import sql

from tillstream.configs import Entity
from tillstream.io.sinks.postgres_copy import COPY_OPTIONS, encode_rows
from tillstream.io.sinks.postgres_tables import SOURCE_TIME
from tillstream.pipelines.records import MutationRecord

__all__ = ["Merge"]

# A staged row without it is a delete.
_TIME_US = "_source_time_us"

# The server reads one piece while the next is built.
_CHUNK_ROWS = 2000

Connection = psycopg.Connection[tuple[Any, ...]]


class Merge:
    """Hold the statements of one entity.

    Args:
        schema: of its table.
        name: the entity's, and the table's.
        entity: its config.
    """

    def __init__(self, schema: str, name: str, entity: Entity) -> None:
        columns = entity.columns()
        self.entity = name
        self.columns = tuple(column.name for column in columns)
        self.key_columns = tuple(entity.key)
        self._key_places = [self.columns.index(column) for column in entity.key]
        self._float_places = [i for i, column in enumerate(columns) if column.kind.startswith("float")]
        decimals = {column.name for column in columns if column.kind == "decimal"}
        self._decimal_places = [i for i, column in enumerate(entity.key) if column in decimals]
        bytes_columns = {column.name for column in columns if column.kind == "bytes"}
        table, stage = sql.Identifier(schema, name), sql.Identifier("pg_temp", name)
        names = [*map(sql.Identifier, self.columns)]
        every = sql.SQL(", ").join(names)
        keys = sql.SQL(", ").join(map(sql.Identifier, entity.key))
        updated = [c for c in (*self.columns, SOURCE_TIME) if c not in entity.key]
        values = sql.SQL(", ").join(
            sql.SQL("decode({}, 'base64')").format(sql.Identifier(column))
            if column in bytes_columns
            else sql.Identifier(column)
            for column in self.columns
        )
        self._create_stage = sql.SQL(
            "CREATE TEMP TABLE {} ON COMMIT DELETE ROWS AS SELECT {}, NULL::bigint AS {} FROM {} WITH NO DATA"
        ).format(
            stage,
            sql.SQL(", ").join(
                sql.SQL("NULL::text AS {}").format(sql.Identifier(c))
                if c in bytes_columns
                else sql.Identifier(c)
                for c in self.columns
            ),
            sql.Identifier(_TIME_US),
            table,
        )
        self._truncate = sql.SQL("TRUNCATE {}").format(stage)
        self._copy = sql.SQL("COPY {} ({}, {}) FROM STDIN " + COPY_OPTIONS).format(
            stage, every, sql.Identifier(_TIME_US)
        )
        self._upsert = sql.SQL(
            "INSERT INTO {} ({}, {}) SELECT {}, timestamptz 'epoch' + {} * interval '1 microsecond' "
            "FROM {} WHERE {} IS NOT NULL ON CONFLICT ({}) DO UPDATE SET {}"
        ).format(
            table,
            every,
            sql.Identifier(SOURCE_TIME),
            values,
            sql.Identifier(_TIME_US),
            stage,
            sql.Identifier(_TIME_US),
            keys,
            sql.SQL(", ").join(
                sql.SQL("{} = excluded.{}").format(sql.Identifier(c), sql.Identifier(c)) for c in updated
            ),
        )
        self._delete = sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE s.{} IS NULL AND {}").format(
            table,
            stage,
            sql.Identifier(_TIME_US),
            sql.SQL(" AND ").join(
                sql.SQL("t.{} = {}").format(
                    sql.Identifier(c),
                    sql.SQL("decode(s.{}, 'base64')" if c in bytes_columns else "s.{}").format(
                        sql.Identifier(c)
                    ),
                )
                for c in entity.key
            ),
        )

    def identify(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what tells a key apart: 1.5 and 1.50 are one decimal, and one row."""
        if not self._decimal_places:
            return key
        found = list(key)
        for place in self._decimal_places:
            found[place] = _number(key[place])
        return tuple(found)

    def prepare(self, connection: Connection) -> None:
        """Create the staging table, once a connection."""
        connection.execute(self._create_stage)

    def clear(self, connection: Connection) -> None:
        """Empty the staging table, for another slice within the same transaction."""
        connection.execute(self._truncate)

    def apply(self, connection: Connection, records: Iterable[MutationRecord]) -> None:
        """Write records of distinct keys, all in one go; the staging table must be empty.

        Raises:
            psycopg.Error: as the server raises it.
            ValueError, TypeError: if a value cannot be encoded.
        """
        upserts: list[tuple[Any, ...]] = []
        deletes: list[tuple[Any, ...]] = []
        for record in records:
            values = record.values
            if values is None:
                deletes.append(self._delete_row(record.key))
            else:
                upserts.append((*values, record.source_time_us))
        rows = upserts + deletes
        if not rows:
            return
        with connection.cursor() as cursor:
            with cursor.copy(self._copy) as copy:
                for start in range(0, len(rows), _CHUNK_ROWS):
                    copy.write(encode_rows(rows[start : start + _CHUNK_ROWS], self._float_places))
            if upserts:
                cursor.execute(self._upsert)
            if deletes:
                cursor.execute(self._delete)

    def _delete_row(self, key: Sequence[Any]) -> tuple[Any, ...]:
        row: list[Any] = [None] * (len(self.columns) + 1)
        for place, value in zip(self._key_places, key, strict=True):
            row[place] = value
        return tuple(row)


def _stage_name(entity: str) -> str:
    name = f"stage_{entity}"
    if len(name) <= _NAME_BYTES_MAX:
        return name
    # The server would cut it, and make the same name out of two.
    return f"{name[:46]}_{blake2b(name.encode(), digest_size=8).hexdigest()}"


def _number(text: Any) -> Any:
    """Return a decimal by its value, or as it is where it has none to compare: NaN, or no number at all."""
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        return text
    return number if number.is_finite() else text
