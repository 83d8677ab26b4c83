"""Widen the tables of a Postgres sink while it writes, by columns that no contract names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

from tillstream.configs import Entity
from tillstream.configs.contract import column_of
from tillstream.io.sinks.postgres_tables import ensure_tables
from tillstream.io.sinks.postgres_types import PgType, holds, parse, type_of
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.evolution import DECLARED, conformed, joined, plain, shaped
from tillstream.pipelines.records import MutationBatch

__all__ = ["Growth"]

_LOG = logging.getLogger(__name__)

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_TYPES = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""

Connection = psycopg.Connection[tuple[Any, ...]]

# A column's comment says that it is ours, and what it is: the table itself tells writers, also those to come.
_MARK = "tillstream: evolved as "
_MARKED = """
SELECT a.attname, substr(d.description, length(%(mark)s) + 1)
FROM pg_attribute a
JOIN pg_description d ON d.objoid = a.attrelid AND d.objsubid = a.attnum AND d.classoid = 'pg_class'::regclass
WHERE a.attrelid = to_regclass(%(table)s) AND a.attnum > 0 AND NOT a.attisdropped
    AND starts_with(d.description, %(mark)s)
ORDER BY a.attnum
"""


class Growth:
    """Keep the shape of the tables that evolve: the contract's columns, then those that were added.

    What was added is read from the comments of the table's columns, before each transaction, so that writers
    of other shards, and a job that was launched anew, agree on it.

    Args:
        schema: of the tables.
        entities: those whose rows may come with other columns than their contract's.
        reshape: called with a connection, an entity's name and its new shape, when that has changed.
    """

    def __init__(
        self,
        schema: str,
        entities: Mapping[str, Entity],
        reshape: Callable[[Connection, str, Entity], None],
    ) -> None:
        self._schema = schema
        self._entities = dict(entities)
        self._reshape = reshape
        # Of contracts' own columns that were widened; the table's types say as much to other writers.
        self._shapes: dict[str, dict[str, str]] = {name: {} for name in entities}

    def conform(self, connection: Connection, batches: Sequence[MutationBatch]) -> list[MutationBatch]:
        """Return batches with the columns of their tables, which are widened first where they must be.

        Raises:
            SinkError: if a table has a column of that name which is not ours, and holds other values.
            psycopg.Error: as the server raises it.
        """
        found: dict[str, dict[str, str]] = {}
        for batch in batches:
            if batch.entity in self._entities:
                found[batch.entity] = joined(found.get(batch.entity, {}), batch.evolved)
        for name, evolved in found.items():
            self._fit(connection, name, evolved)
        return [self._conformed(batch) for batch in batches]

    def hold(self, connection: Connection, batches: Sequence[MutationBatch]) -> bool:
        """Keep the batches' tables as they are until the transaction ends; tell whether the batches fit."""
        for name in sorted({batch.entity for batch in batches} & set(self._entities)):
            connection.execute(sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(self._table(name)))
            shape = self._shapes[name]
            if any(shape.get(column) != kind for column, kind in self._marked(connection, name).items()):
                return False
        return True

    def _conformed(self, batch: MutationBatch) -> MutationBatch:
        shape = self._shapes.get(batch.entity)
        if not shape:
            return batch
        own = [column.name for column in self._entities[batch.entity].columns()]
        return conformed(batch, (*own, *(name for name in shape if name not in own)), shape)

    def _fit(self, connection: Connection, name: str, evolved: Mapping[str, str]) -> None:
        shape = self._shapes[name]
        marked = self._marked(connection, name)
        known = {**shape, **marked}
        wanted = joined(known, evolved.items())
        if wanted != known:
            with connection.transaction():
                self._widen(connection, name, wanted)
            wanted = {**wanted, **self._marked(connection, name)}
        if wanted != shape:
            self._shapes[name] = wanted
            self._reshape(connection, name, shaped(self._entities[name], wanted))

    def _marked(self, connection: Connection, name: str) -> dict[str, str]:
        contract = self._entities[name].contract or {}
        values = {"table": self._table(name).as_string(connection), "mark": _MARK}
        rows = connection.execute(_MARKED, values).fetchall()
        # A contract that took such a column over says itself what it is.
        return {column: kind for column, kind in rows if column not in contract}

    def _widen(self, connection: Connection, name: str, wanted: Mapping[str, str]) -> None:
        entity, table = self._entities[name], self._table(name)
        # Writers of other shards wait here; what they found is looked at once more.
        connection.execute(_LOCK, (f"tillstream:{self._schema}",))
        marked = self._marked(connection, name)
        wanted = joined(wanted, [*marked.items(), *self._decimals(connection, name, wanted)])
        for column, kind in wanted.items():
            before = marked.get(column)
            if before is not None and not holds(_type(kind), _type(before)):
                form = f"ALTER TABLE {{}} ALTER COLUMN {{}} TYPE {_type(kind)} USING {_form(before, kind)}"
                # Types are of this package's own tables, never texts of a source.
                change = sql.SQL(form)
                identifier = sql.Identifier(column)
                connection.execute(change.format(table, identifier, identifier))
        try:
            ensure_tables(connection, self._schema, {name: shaped(entity, wanted)})
        except SinkError as error:
            raise SinkError(
                f"{error}: it came with rows whose column no contract names, and schema_evolution is evolve"
            ) from error
        for column, kind in wanted.items():
            if column not in (entity.contract or {}) and marked.get(column) != kind:
                comment = sql.SQL("COMMENT ON COLUMN {}.{} IS {}")
                said = sql.Literal(_MARK + kind)
                connection.execute(comment.format(table, sql.Identifier(column), said))
                _LOG.warning("table %s.%s: column %s evolved as %s", self._schema, name, column, kind)

    def _decimals(
        self, connection: Connection, name: str, wanted: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """Yield what decimals the table has of the contract's numbers: another shard may have widened them.

        They are as good as declared: a decimal that holds both is wanted, not JSON, which no number becomes.
        """
        contract = self._entities[name].contract or {}
        rows = connection.execute(_TYPES, (self._table(name).as_string(connection),)).fetchall()
        for column, formatted in rows:
            kind, own = parse(formatted), plain(wanted.get(column, ""))
            is_exact = own in ("int16", "int32", "int64") or own.startswith("decimal")
            if column in contract and is_exact and kind.name == "numeric" and kind.size is not None:
                yield column, f"decimal({kind.size},{kind.scale or 0}) {DECLARED}"

    def _table(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)


def _type(kind: str) -> PgType:
    return type_of(column_of("", plain(kind)))


def _form(before: str, kind: str) -> str:
    """Return how a column's values become those of its new type, as `converted` does with values of rows."""
    before, kind = plain(before), plain(kind)
    if kind == "json":
        return "to_jsonb({})"
    if kind == "string" and before == "bytes":
        # Postgres breaks lines of 76 characters.
        return "replace(encode({}, 'base64'), chr(10), '')"
    if kind == "string" and before.startswith("array"):
        return "to_jsonb({})::text"
    return f"{{}}::{_type(kind)}"
