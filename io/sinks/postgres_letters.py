"""Keep dead letters in a Postgres table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from tillstream.io.sinks.letters import text_of
from tillstream.io.sinks.postgres_merge import Connection
from tillstream.io.sinks.postgres_tables import DEAD_LETTERS_TABLE
from tillstream.pipelines.records import DeadLetter

__all__ = ["insert_letters"]

_COLUMNS = (
    *("client", "entity", "step", "reason", "detail", "topic", "partition", "offset", "index"),
    *("key", "key_bytes", "payload", "payload_bytes", "transform", "traceback", "sink"),
)


def insert_letters(connection: Connection, schema: str, letters: Sequence[DeadLetter]) -> None:
    """Insert letters in one transaction; one that is there already stays as it is."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(schema, DEAD_LETTERS_TABLE),
        sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
        sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS)),
    )
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(statement, [_row(letter) for letter in letters])


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        _clean(letter.client),
        _clean(letter.entity),
        _clean(letter.step),
        _clean(letter.reason),
        _clean(letter.detail),
        _clean(letter.topic),
        letter.partition,
        letter.offset,
        letter.index,
        *_text_or_bytes(letter.key),
        *_text_or_bytes(letter.payload),
        _clean(letter.transform),
        _clean(letter.traceback),
        _clean(letter.sink) or "",
    )


def _text_or_bytes(value: bytes | None) -> tuple[str | None, bytes | None]:
    text = text_of(value)
    return (text, None) if text is not None else (None, value)


def _clean(text: str | None) -> str | None:
    """Spell what Postgres cannot keep in text."""
    if text is None:
        return None
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
