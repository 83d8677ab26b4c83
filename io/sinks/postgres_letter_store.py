"""Look into the table of dead letters in Postgres."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from psycopg import sql

from tillstream.configs import PostgresSink as PostgresSinkModel
from tillstream.io.sinks.letter_store import Filters, StoredLetter
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.io.sinks.postgres_letters import LETTER_COLUMNS, letter_of_row
from tillstream.io.sinks.postgres_merge import Connection
from tillstream.io.sinks.postgres_tables import DEAD_LETTERS_TABLE

__all__ = ["PostgresLetters"]

_SELECT = """
SELECT {columns}, recorded_at, resolved_at, resolution FROM {table} WHERE {wanted}
ORDER BY recorded_at, topic, partition, "offset", index, id
"""
_ROWS_AT_ONCE = 1000


class PostgresLetters(PostgresSink):
    """Be the store of letters in a Postgres sink; opens at once, and takes over a table of an older release.

    Args:
        name: the sink's name in the client's config.
        client: whose letters they are.
        model: the sink's part of the client's config.
    """

    def __init__(self, name: str, client: str, model: PostgresSinkModel) -> None:
        super().__init__(name, client, model, {})
        self.open()

    def select(self, filters: Filters, limit: int | None) -> Sequence[StoredLetter]:
        """Return letters, oldest first; raises as `LetterStore.select` does."""
        wanted: dict[str, Any] = {
            "entity = %s": filters.entity,
            "step = %s": filters.step,
            "reason = %s": filters.reason,
            "topic = %s": filters.topic,
            "status = %s": filters.status,
            "recorded_at >= %s": filters.since,
            "recorded_at < %s": filters.until,
        }
        asked = {each: value for each, value in wanted.items() if value is not None}
        return self._found(list(asked), list(asked.values()), filters, limit)

    def find(self, prefix: str) -> Sequence[StoredLetter]:
        """Return the letters whose identity begins so; raises as `LetterStore.select` does."""
        return self._found(["starts_with(id, %s)"], [prefix], Filters(status=None), None)

    def get(self, identities: Collection[str]) -> Mapping[str, StoredLetter]:
        """Return those of some letters that are there; raises as `LetterStore.select` does."""
        found = self._found(["id = ANY (%s)"], [list(identities)], Filters(status=None), None)
        return {stored.id: stored for stored in found}

    def _found(
        self, wanted: list[str], values: list[Any], filters: Filters, limit: int | None
    ) -> list[StoredLetter]:
        statement = sql.SQL(_SELECT).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, LETTER_COLUMNS)),
            table=sql.Identifier(self._schema, DEAD_LETTERS_TABLE),
            wanted=sql.SQL(" AND ").join([_condition(each) for each in ("true", *wanted)]),
        )

        def found(connection: Connection) -> list[StoredLetter]:
            # Rows come as they are asked for: what only Python can tell may need many of them.
            with connection.transaction(), connection.cursor(name="letters") as cursor:
                cursor.itersize = _ROWS_AT_ONCE
                cursor.execute(statement, values)
                taken: Iterator[StoredLetter] = filter(filters.takes, map(_stored, cursor))
                return [*islice(taken, limit)]

        return self._insist_no_row(found)


def _condition(text: str) -> sql.Composable:
    # One of those above, never what a person wrote.
    return sql.SQL(text)


def _stored(row: Sequence[Any]) -> StoredLetter:
    return StoredLetter(letter_of_row(row[:-3]), *row[-3:])
