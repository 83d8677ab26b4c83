"""Stage an entity's rows and merge them into its table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg

from tillstream.configs import Entity
from tillstream.io.sinks.postgres_arrays import with_literals
from tillstream.io.sinks.postgres_copy import encode_rows
from tillstream.io.sinks.postgres_partial import NoRowError, Partial, by_unknown
from tillstream.io.sinks.postgres_statements import compose
from tillstream.pipelines.positions import sortable
from tillstream.pipelines.records import MutationRecord

__all__ = ["Merge"]

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
        self._array_places = [i for i, column in enumerate(columns) if column.element is not None]
        decimals = {column.name for column in columns if column.kind == "decimal"}
        self._decimal_places = [i for i, column in enumerate(entity.key) if column in decimals]
        self._statements = compose(schema, name, columns, entity.key)

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
        connection.execute(self._statements.create_stage)

    def forget(self, connection: Connection) -> None:
        """Drop the staging table, before one of another shape takes its place."""
        connection.execute(self._statements.forget)

    def clear(self, connection: Connection) -> None:
        """Empty the staging table, for another slice within the same transaction."""
        connection.execute(self._statements.clear)

    def truncate(self, connection: Connection) -> None:
        """Empty the staging table, also of the rows that were deleted or undone in this transaction."""
        connection.execute(self._statements.truncate)

    def apply(self, connection: Connection, records: Iterable[MutationRecord]) -> None:
        """Write records of distinct keys, all in one go; the staging table must be empty.

        Raises:
            psycopg.Error: as the server raises it.
            ValueError, TypeError: if a value cannot be encoded.
        """
        upserts: list[tuple[Any, ...]] = []
        deletes: list[tuple[Any, ...]] = []
        partials: list[Partial] = []
        for record in records:
            values = record.values
            if values is None:
                deletes.append(self._delete_row(record.key))
            elif type(record) is Partial:
                partials.append(record)
            else:
                upserts.append(_staged(values, record))
        rows = upserts + deletes
        with connection.cursor() as cursor:
            if rows:
                self._stage(cursor, rows)
            if upserts:
                cursor.execute(self._statements.upsert)
            if deletes:
                cursor.execute(self._statements.delete)
            for unknown, group in by_unknown(partials).items():
                cursor.execute(self._statements.clear)
                self._stage(cursor, [_staged(record.values or (), record) for record in group])
                cursor.execute(self._statements.update_known(unknown))
                if cursor.rowcount < len(group):
                    raise NoRowError(unknown)

    def _stage(self, cursor: psycopg.Cursor[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> None:
        rows = with_literals(rows, self._array_places)
        with cursor.copy(self._statements.copy) as copy:
            for start in range(0, len(rows), _CHUNK_ROWS):
                copy.write(encode_rows(rows[start : start + _CHUNK_ROWS], self._float_places))

    def _delete_row(self, key: Sequence[Any]) -> tuple[Any, ...]:
        row: list[Any] = [None] * (len(self.columns) + 2)
        for place, value in zip(self._key_places, key, strict=True):
            row[place] = value
        return tuple(row)


def _staged(values: tuple[Any, ...], record: MutationRecord) -> tuple[Any, ...]:
    return (*values, record.source_time_us, sortable(record.position) or None)


def _number(text: Any) -> Any:
    """Return a decimal by its value, or as it is where it has none to compare: NaN, or no number at all."""
    try:
        number = Decimal(text)
    except (InvalidOperation, TypeError, ValueError):
        return text
    return number if number.is_finite() else text
