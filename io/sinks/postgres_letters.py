"""Keep dead letters in a Postgres table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg import sql

from tillstream.io.sinks.letters import letter_id, text_of
from tillstream.io.sinks.postgres_merge import Connection
from tillstream.io.sinks.postgres_tables import DEAD_LETTERS_TABLE
from tillstream.pipelines.records import DeadLetter

__all__ = ["LETTER_COLUMNS", "insert_letters", "letter_of_row"]

LETTER_COLUMNS = (
    *("id", "client", "entity", "step", "reason", "detail", "topic", "partition", "offset", "index"),
    *("key", "key_bytes", "payload", "payload_bytes", "transform", "traceback", "sink"),
    *("position", "source_time_us", "source_entity", "attempt", "status"),
)
# What a later attempt says anew; the rest is the record's own, and the first letter may know more of it.
_REPEATED = ("reason", "detail", "transform", "traceback", "attempt", "status")
_INSERT = """
INSERT INTO {table} AS t ({columns}) VALUES ({values})
ON CONFLICT (id) DO UPDATE SET {updates}, resolved_at = NULL, resolution = NULL, recorded_at = now()
WHERE excluded.attempt > t.attempt OR (excluded.attempt = t.attempt AND t.status <> 'open')
"""
_MARK = """
UPDATE {table} SET status = %s, attempt = %s, resolution = %s, resolved_at = now()
WHERE id = %s AND attempt < %s
"""


def insert_letters(connection: Connection, schema: str, letters: Sequence[DeadLetter]) -> None:
    """Insert letters in one transaction, and mark those that are solved.

    Of one that is there already the later attempt stands, and of one attempt its failure: so what is written
    again changes nothing.
    """
    table = sql.Identifier(schema, DEAD_LETTERS_TABLE)
    insert = sql.SQL(_INSERT).format(
        table=table,
        columns=sql.SQL(", ").join(map(sql.Identifier, LETTER_COLUMNS)),
        values=sql.SQL(", ").join([sql.Placeholder()] * len(LETTER_COLUMNS)),
        updates=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in _REPEATED
        ),
    )
    still_open = [_row(letter) for letter in letters if letter.status == "open"]
    solved = [_mark(letter) for letter in letters if letter.status != "open"]
    with connection.transaction(), connection.cursor() as cursor:
        if still_open:
            cursor.executemany(insert, still_open)
        if solved:
            cursor.executemany(sql.SQL(_MARK).format(table=table), solved)


def letter_of_row(row: Sequence[Any]) -> DeadLetter:
    """Return the letter of a row that has `LETTER_COLUMNS`."""
    found = dict(zip(LETTER_COLUMNS, row, strict=True))
    for field in ("key", "payload"):
        raw, text = found.pop(f"{field}_bytes"), found[field]
        found[field] = bytes(raw) if raw is not None else None if text is None else text.encode()
    found.pop("id")
    found["position"] = tuple(json.loads(found["position"] or "[]"))
    return DeadLetter(**{**found, "sink": found["sink"] or None})


def _row(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        letter_id(letter),
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
        json.dumps(letter.position),
        letter.source_time_us,
        _clean(letter.source_entity),
        letter.attempt,
        letter.status,
    )


def _mark(letter: DeadLetter) -> tuple[Any, ...]:
    return letter.status, letter.attempt, _clean(letter.detail), letter_id(letter), letter.attempt


def _text_or_bytes(value: bytes | None) -> tuple[str | None, bytes | None]:
    text = text_of(value)
    return (text, None) if text is not None else (None, value)


def _clean(text: str | None) -> str | None:
    """Spell what Postgres cannot keep in text."""
    if text is None:
        return None
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
