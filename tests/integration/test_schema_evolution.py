"""Columns that no contract names reach the warehouse while the job runs."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig, Entity
from tillstream.io.sinks.postgres import PostgresSink
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter, MutationBatch
from tillstream.runners import direct

from .conftest import Database
from .sink_rigs import Open, entity, things, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

EVOLVE = {"columns": "evolve", "types": "evolve"}


def evolving(**contract: Any) -> Entity:
    """Return an entity whose rows may come with other columns."""
    return Entity.model_validate({**entity(**contract).model_dump(by_alias=True), "schema_evolution": EVOLVE})


def grown(
    described: Entity, evolved: dict[str, str], *rows: tuple[Any, ...], offset: int = 0
) -> MutationBatch:
    """Return a batch of `things` that has columns beyond, or wider than, those of the contract."""
    wide = described.model_copy(
        update={"contract": {**(described.contract or {}), **entity(**evolved).contract}}  # type: ignore[dict-item]
    )
    return msgspec.structs.replace(things(wide, *rows, offset=offset), evolved=tuple(evolved.items()))


def test_a_table_grows_under_two_writers(open_sink: Open, database: Database) -> None:
    """Writers of other shards, and later ones, agree on columns and types, whoever saw them first."""
    described = evolving(id="int64", n="int16")
    first = open_sink(described)
    second = PostgresSink("sink", "acme", database.model(), {"things": described})
    second.open()
    written(first, [things(described, (1, 1))])
    written(second, [things(described, (2, 2))])
    written(first, [grown(described, {"new": "int64"}, (1, 1, 10)), things(described, (3, 3))])
    written(second, [grown(described, {"new": "string"}, (2, 2, "x"))])
    written(first, [grown(described, {"new": "float64", "n": "int32"}, (4, 70_000, 1.5))])
    written(second, [things(described, (1, 5))])
    written(second, [grown(described, {"new": "int64"}, (6, 6, 6))])
    found = database.rows("SELECT id, n, new FROM acme.things ORDER BY id")
    assert found == [(1, 5, None), (2, 2, "x"), (3, 3, None), (4, 70_000, 1.5), (6, 6, 6)]
    kinds = database.rows(
        "SELECT attname, atttypid::regtype::text FROM pg_attribute "
        "WHERE attrelid = 'acme.things'::regclass AND attname IN ('n', 'new') ORDER BY 1"
    )
    assert kinds == [("n", "integer"), ("new", "jsonb")]
    # A delete, and a writer that starts anew: what is there already is nulled by a row that has it no more.
    third = PostgresSink("sink", "acme", database.model(), {"things": described})
    third.open()
    written(third, [things(described, (2,), (6, 7))])
    assert database.rows("SELECT id, new FROM acme.things WHERE id IN (2, 6)") == [(6, None)]
    second.close()
    third.close()


def test_writers_that_grow_a_table_at_once_lose_nothing(open_sink: Open, database: Database) -> None:
    """Each column ends as the type that holds all values, whoever comes first in whatever order."""
    described = evolving(id="int64")
    sinks = [open_sink(described)]
    for _ in range(3):
        sinks.append(PostgresSink("sink", "acme", database.model(), {"things": described}))
        sinks[-1].open()
    values: list[tuple[str, Any]] = [("int64", 1), ("float64", 1.5), ("string", "x"), ("bool", True)]
    barrier = threading.Barrier(len(sinks), timeout=30)

    def write(writer: int) -> list[DeadLetter]:
        refused = []
        for column in range(12):
            kind, value = values[(writer + column) % len(values)]
            barrier.wait()
            row = (writer * 100 + column, value)
            refused += written(sinks[writer], [grown(described, {f"c{column}": kind}, row)])
        return refused

    with ThreadPoolExecutor(len(sinks)) as pool:
        assert [letters for found in pool.map(write, range(len(sinks))) for letters in found] == []
    for column in range(12):
        rows = database.rows(f"SELECT id, c{column} FROM acme.things WHERE c{column} IS NOT NULL ORDER BY id")
        wanted = [(writer * 100 + column, values[(writer + column) % len(values)][1]) for writer in range(4)]
        assert rows == wanted
    for sink in sinks[1:]:
        sink.close()


def test_a_row_that_the_table_refuses_is_set_aside_with_its_new_columns(
    open_sink: Open, database: Database
) -> None:
    """The others are written; the letter shows the whole row."""
    described = evolving(id="int64", n="int16")
    sink = open_sink(described)
    database.run("ALTER TABLE acme.things ADD CHECK (n < 9)")
    letters = written(sink, [grown(described, {"new": "bool"}, (1, 1, True), (2, 9, False))])
    assert [json.loads(letter.payload or b"") for letter in letters] == [{"id": 2, "n": 9, "new": False}]
    assert database.rows("SELECT id, new FROM acme.things") == [(1, True)]


def test_a_column_of_someone_else_is_not_taken_over(open_sink: Open, database: Database) -> None:
    """Where the table has it with another type, the job stops and says so."""
    described = evolving(id="int64")
    sink = open_sink(described)
    database.run("ALTER TABLE acme.things ADD COLUMN new date", "ALTER TABLE acme.things ADD COLUMN mine int")
    with pytest.raises(SinkError, match=r"column new: found type date.*schema_evolution is evolve"):
        written(sink, [grown(described, {"new": "int64"}, (1, 2))])
    database.run("UPDATE acme.things SET mine = 1", "ALTER TABLE acme.things DROP COLUMN new")
    written(sink, [grown(described, {"new": "int64"}, (1, 2))])
    database.run("UPDATE acme.things SET mine = 1")
    written(sink, [things(described, (1,))])
    assert database.rows("SELECT id, new, mine FROM acme.things") == [(1, None, 1)]


def event(number: int, **row: Any) -> str:
    """Return a line as Debezium writes one."""
    source = {"connector": "postgresql", "name": "shop", "schema": "public", "table": "things"}
    source |= {"ts_ms": 1000 + number, "sequence": f'["{number}","{number}"]'}
    return json.dumps({"op": "u", "before": None, "after": row, "source": source})


@pytest.mark.parametrize("policy", ["evolve", "discard_value", "discard_row"])
def test_a_column_added_in_mid_stream_reaches_the_warehouse(
    database: Database, tmp_path: Path, policy: str
) -> None:
    """Under `evolve` it is a column of the table from the first row on that has it, also after a restart."""
    database.run("DROP SCHEMA IF EXISTS shop CASCADE")
    path = tmp_path / "in.jsonl"
    things_of = {
        "topic": "shop.public.things",
        "key": ["id"],
        "contract": {"id": "int64"},
        "sinks": ["warehouse"],
    }
    client = ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": [str(path)]}},
            "entities": {"things": things_of},
            "sinks": {"warehouse": database.model().model_dump(by_alias=True)},
            "schema_evolution": {"columns": policy},
        }
    )
    lines = [event(1, id=1), event(2, id=2, promo="summer"), event(3, id=3, promo=None, tags=["a"])]
    path.write_text("\n".join(lines) + "\n")
    direct.run(client)
    path.write_text("\n".join([event(4, id=1, promo="winter"), event(5, id=2)]) + "\n")
    direct.run(client)
    if policy == "evolve":
        found = database.rows("SELECT id, promo, tags FROM shop.things ORDER BY id")
        assert found == [(1, "winter", None), (2, None, None), (3, None, ["a"])]
        return
    kept = {"discard_value": [1, 2, 3], "discard_row": [1, 2]}[policy]
    assert database.rows("SELECT * FROM shop.things ORDER BY 1") != []
    assert [row[0] for row in database.rows("SELECT id FROM shop.things ORDER BY id")] == kept
    reasons = database.rows("SELECT DISTINCT reason FROM shop.tillstream_dead_letters")
    assert reasons == ([("schema",)] if policy == "discard_row" else [])
