"""The Postgres sink deletes what a truncate deletes, by the positions of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tillstream.pipelines.positions import sortable
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord, Position

from .sink_rigs import TIME_US, Open, entity, things, written

if TYPE_CHECKING:
    from .conftest import Database

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]
THINGS = entity(id="int32", name="string")


def rows_at(
    position: Position, *rows: tuple[Any, ...], shard: int = 0, time_us: int = TIME_US
) -> MutationBatch:
    """Return a batch whose rows were all changed at one position."""
    batch = things(THINGS, *rows)
    records = [msgspec.structs.replace(r, position=position, source_time_us=time_us) for r in batch.records]
    return msgspec.structs.replace(batch, records=tuple(records), shard=shard)


def truncate(position: Position, *, shard: int = 0, time_us: int = TIME_US) -> MutationBatch:
    """Return the batch of a truncate."""
    record = MutationRecord(MutationKind.TRUNCATE, (), None, position, time_us, 0)
    return msgspec.structs.replace(things(THINGS), records=(record,), shard=shard)


def ids(database: Database) -> list[int]:
    """Return the keys of the rows that are there."""
    return [row[0] for row in database.rows("SELECT id FROM acme.things ORDER BY id")]


def test_rows_carry_their_position(open_sink: Open, database: Database) -> None:
    """The newest change's position is written with the row, as bytes that compare like it."""
    sink = open_sink(THINGS)
    written(sink, [rows_at((0, 10, 1, 10), (1, "a")), rows_at((), (2, "b"))])
    written(sink, [rows_at((0, 300, 1, 299), (1, "c"))])
    found = database.rows("SELECT _source_position FROM acme.things ORDER BY id")
    assert found == [(sortable((0, 300, 1, 299)),), (None,)]


def test_rows_with_a_lower_position_go(open_sink: Open, database: Database) -> None:
    """Of rows that lie in the table, those go that are older than the truncate, whatever their shard."""
    sink = open_sink(THINGS)
    written(sink, [rows_at((0, 10, 1, 10), (1, "a"), (2, "b")), rows_at((0, 40, 1, 40), (3, "c"), shard=1)])
    written(sink, [truncate((0, 30, 1, 30))])
    assert ids(database) == [3]


def test_a_truncate_takes_effect_in_its_shard_s_order(open_sink: Open, database: Database) -> None:
    """In one call rows before it go, later ones of its shard stay, and so do newer ones of others."""
    batches = [
        rows_at((0, 10, 1, 10), (1, "a")),
        rows_at((0, 40, 1, 40), (5, "e"), shard=1),
        rows_at((0, 11, 1, 11), (6, "f"), shard=1),
        truncate((0, 30, 1, 30)),
        rows_at((0, 31, 1, 31), (2, "b")),
        rows_at((0, 35, 1, 35), (1, "a")),
    ]
    sink = open_sink(THINGS)
    written(sink, batches)
    assert ids(database) == [1, 2, 5, 6]
    written(sink, [truncate((0, 30, 1, 30), shard=1)])
    assert ids(database) == [1, 2, 5]


def test_rows_without_a_position_are_judged_by_their_time(open_sink: Open, database: Database) -> None:
    """Rows from before the sink kept positions go where their commit is no later than the truncate."""
    sink = open_sink(THINGS)
    old, new = rows_at((), (1, "a"), time_us=TIME_US), rows_at((), (2, "b"), time_us=TIME_US + 1)
    written(sink, [old, new])
    database.run("INSERT INTO acme.things (id) VALUES (3)")
    written(sink, [truncate((0, 30, 1, 30))])
    assert ids(database) == [2]


def test_a_truncate_without_a_position_goes_by_time(open_sink: Open, database: Database) -> None:
    """Where the connector's order is not known, the time of the commit decides."""
    sink = open_sink(THINGS)
    batches = [rows_at((), (1, "a")), rows_at((), (2, "b"), time_us=TIME_US + 1)]
    written(sink, [*batches, truncate(())])
    assert ids(database) == [2]
    written(sink, [truncate((), time_us=TIME_US + 1)])
    assert ids(database) == []


def test_a_table_of_an_older_release_gets_the_column(open_sink: Open, database: Database) -> None:
    """A table without positions is widened, and its rows go by their time."""
    database.run(
        "DROP SCHEMA IF EXISTS acme CASCADE",
        "CREATE SCHEMA acme",
        "CREATE TABLE acme.things (id int PRIMARY KEY, name text, _source_time timestamptz)",
        "INSERT INTO acme.things VALUES (1, 'a', '2020-01-01Z')",
    )
    sink = open_sink(THINGS)
    written(sink, [rows_at((0, 40, 1, 40), (2, "b")), truncate((0, 30, 1, 30))])
    assert ids(database) == [2]


def test_bad_rows_beside_a_truncate(open_sink: Open, database: Database) -> None:
    """A row that is refused does not bring back the one before it, which the truncate has deleted."""
    sink = open_sink(THINGS)
    written(sink, [rows_at((0, 5, 1, 5), (1, "old"))])
    batches = [
        rows_at((0, 10, 1, 10), (1, "a"), (2, "b")),
        truncate((0, 30, 1, 30)),
        rows_at((0, 40, 1, 40), (1, "\ud800"), (3, "c")),
    ]
    (letter,) = written(sink, batches)
    assert letter.key == b'{"id":1}'
    assert ids(database) == [3]
