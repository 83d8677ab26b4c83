"""Parts of columnar formats carry columns that evolved."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import msgspec
import pyarrow.parquet as pq
import pytest

from tillstream.configs import Entity, FilesSink
from tillstream.io.sinks.parts import Parts
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord

THINGS = Entity.model_validate(
    {"topic": "t", "key": ["id"], "contract": {"id": "int64", "n": "int16"}, "sinks": ["sink"]}
)


def batch(columns: str, *rows: tuple[Any, ...], **evolved: str) -> MutationBatch:
    """Return a batch of `things`; a row of one value is a delete."""
    records = [
        MutationRecord(MutationKind.UPSERT, row[:1], row if len(row) > 1 else None, (offset,), 1, offset)
        for offset, row in enumerate(rows)
    ]
    names = tuple(columns.split())
    return MutationBatch(
        "acme", "things", 0, "t", 0, names, ("id",), tuple(records), evolved=tuple(evolved.items())
    )


def read(form: str, content: bytes) -> list[dict[str, Any]]:
    """Return the rows of a part without what is not theirs."""
    if form == "parquet":
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
    elif form == "avro":
        rows = list(fastavro.reader(io.BytesIO(content)))
    else:
        rows = [json.loads(line) for line in content.splitlines()]
    return [{key: value for key, value in row.items() if key[0] != "_"} for row in rows]


@pytest.mark.parametrize("form", ["parquet", "avro", "jsonl"])
def test_a_part_has_the_columns_of_all_its_rows(form: str) -> None:
    """Rows of one part share a schema; a later part keeps what was seen before it."""
    parts = Parts(
        "sink", FilesSink.model_validate({"type": "files", "path": "x", "format": form}), {"things": THINGS}
    )
    refused: list[Any] = []
    first = [
        batch("id n", (1, 1)),
        batch("id n new", (2, 2, 5), (3,), new="int64"),
        batch("id n new", (4, 70_000, "x"), new="string", n="int32"),
    ]
    _, content = parts.encode("things", first, refused.extend)
    rows = read(form, content)
    missing = {} if form == "jsonl" else {"new": None}
    assert rows[0] == {"id": 1, "n": 1, **missing}
    assert rows[1] == {"id": 2, "n": 2, "new": 5 if form == "jsonl" else "5"}
    assert rows[2]["id"] == 3
    assert rows[3] == {"id": 4, "n": 70_000, "new": "x" if form == "jsonl" else '"x"'}
    _, content = parts.encode("things", [batch("id n", (5, 5))], refused.extend)
    assert read(form, content) == [{"id": 5, "n": 5, **missing}]
    assert refused == []


def test_frames_of_earlier_releases_have_evolved_nothing() -> None:
    """The field was appended; a frame without it decodes to none."""
    frame = batch("id n", (1, 1)).encode()
    values = msgspec.msgpack.decode(frame[1:])
    older = frame[:1] + msgspec.msgpack.encode(values[:11])
    assert MutationBatch.decode(older).evolved == ()
    wide = batch("id n new", (1, 1, True), new="bool")
    assert MutationBatch.decode(wide.encode()) == wide
