"""Large columns that updates leave out, and tables without a key, arrive as they are in the source."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tillstream.configs import Entity
from tillstream.pipelines.records import MutationBatch

from .conftest import Database
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

THINGS = {"id": "int32", "n": "int32", "text": {"type": "string", "nullable": False}, "raw": "bytes"}


def lacking(described: Entity, *rows: tuple[Any, ...], unknown: str, offset: int = 0) -> MutationBatch:
    """Return a batch whose rows lack some columns."""
    return msgspec.structs.replace(things(described, *rows, offset=offset), unknown=tuple(unknown.split()))


def test_the_table_keeps_what_a_change_does_not_bring(open_sink: Open, database: Database) -> None:
    """Known columns are written, the others stay, whatever else one transaction does to the row."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"), (2, 2, "two", b"2"), (3, 3, "three", b"3"))])
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, None), (2, 20, None, None), unknown="raw text"),
            lacking(described, (2, 21, None, b"21"), unknown="text"),
            things(described, (3,), (4, 4, "four", b"4"), offset=9),
            lacking(described, (4, 40, None, b"40"), unknown="text"),
        ],
    )
    assert letters == []
    assert database.rows("SELECT id, n, text, raw FROM acme.things ORDER BY id") == [
        (1, 10, "one", b"1"),
        (2, 21, "two", b"21"),
        (4, 40, "four", b"40"),
    ]


def test_a_row_that_is_not_there_is_a_dead_letter(open_sink: Open, database: Database) -> None:
    """What a change does not bring cannot be made up; all else of the transaction is written."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"), (2, 2, "two", b"2"))])
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, b"10"), (9, 9, None, b"9"), unknown="text", offset=5),
            things(described, (2,), offset=7),
            lacking(described, (2, 20, None, b"20"), unknown="text", offset=8),
        ],
    )
    assert [(each.offset, each.reason) for each in letters] == [
        (6, "unavailable_value"),
        (8, "unavailable_value"),
    ]
    assert "REPLICA IDENTITY FULL" in letters[0].detail
    assert database.rows("SELECT id, n, text FROM acme.things") == [(1, 10, "one")]
    # A later one finds the row as it is.
    assert written(sink, [lacking(described, (1, 11, None, None), unknown="text raw")]) == []
    assert database.rows("SELECT n, text, raw FROM acme.things") == [(11, "one", b"10")]


def test_a_refused_change_leaves_the_one_before(open_sink: Open, database: Database) -> None:
    """Also where that one lacked columns: the row shows what it would, had each been written by itself."""
    described = entity(**THINGS)
    sink = open_sink(described)
    written(sink, [things(described, (1, 1, "one", b"1"))])
    database.run("ALTER TABLE acme.things ADD CHECK (n < 50)")
    letters = written(
        sink,
        [
            lacking(described, (1, 10, None, None), unknown="raw text", offset=5),
            lacking(described, (1, 99, None, b"99"), unknown="text", offset=6),
        ],
    )
    assert [(each.offset, each.reason) for each in letters] == [(6, "refused_by_sink")]
    assert database.rows("SELECT n, text, raw FROM acme.things") == [(10, "one", b"1")]


def test_a_column_that_evolved_is_kept_too(open_sink: Open, database: Database) -> None:
    """A writer that has never seen the column writes no null over it."""
    described = Entity.model_validate(
        {**entity(id="int32").model_dump(by_alias=True), "schema_evolution": {"columns": "evolve"}}
    )
    wide = entity(id="int32", new="string")
    sink = open_sink(described)
    evolved = (("new", "string"),)
    written(sink, [msgspec.structs.replace(things(wide, (1, "old")), evolved=evolved)])
    assert written(sink, [lacking(described, (1,), unknown="new")]) == []
    assert database.rows("SELECT id, new FROM acme.things") == [(1, "old")]
