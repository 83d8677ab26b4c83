"""Avro files are typed by the contract."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from math import inf
from typing import Any
from uuid import UUID

import fastavro
import pytest

from tillstream.configs import Entity
from tillstream.io.sinks.files_avro import Avro

from .builders import TIME_US, batch, delete, entity, upsert

INSTANT = dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone.utc)
UUID_TEXT = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"


def avro(things: Entity, compression: str = "none") -> Avro:
    """Return an encoder of the entity `things`."""
    return Avro(things, "things", compression)


def logical(name: str, base: str, **more: int) -> dict[str, Any]:
    """Return a logical type."""
    return {"type": base, "logicalType": name, **more}


@pytest.mark.parametrize(
    ("kind", "wire", "type_", "found"),
    [
        ("bool", True, "boolean", True),
        ("int16", -5, "int", -5),
        ("int32", 5, "int", 5),
        ("int64", 2**62, "long", 2**62),
        ("float32", 1.5, "float", 1.5),
        ("float64", float("inf"), "double", float("inf")),
        ("decimal(12,2)", "-129.90", logical("decimal", "bytes", precision=12, scale=2), Decimal("-129.90")),
        ("decimal(12,2)", "7", logical("decimal", "bytes", precision=12, scale=2), Decimal("7.00")),
        ("decimal(12,2)", "-0", logical("decimal", "bytes", precision=12, scale=2), Decimal(0)),
        (
            "decimal(2,2)",
            "-0.99",
            logical("decimal", "bytes", precision=2, scale=2),
            Decimal("-0.99"),
        ),
        ("decimal(90,1)", "1.5", logical("decimal", "bytes", precision=90, scale=1), Decimal("1.5")),
        ("string", "ż\0\n", "string", "ż\0\n"),
        ("bytes", b"\0\xff", "bytes", b"\0\xff"),
        ("date", "2024-02-29", logical("date", "int"), dt.date(2024, 2, 29)),
        ("time", "23:59:59.000001", logical("time-micros", "long"), dt.time(23, 59, 59, 1)),
        ("time", "23:59:59", logical("time-micros", "long"), dt.time(23, 59, 59)),
        (
            "timestamp",
            "2024-02-29T01:02:03.000004",
            logical("local-timestamp-micros", "long"),
            INSTANT.replace(tzinfo=None),
        ),
        ("timestamptz", INSTANT, logical("timestamp-micros", "long"), INSTANT),
        ("uuid", UUID_TEXT, logical("uuid", "string"), UUID(UUID_TEXT)),
        ("json", '{"a":1}', "string", '{"a":1}'),
        ("interval", "P1DT2H", "string", "P1DT2H"),
        ("timetz", "10:00:00+00:00", "string", "10:00:00+00:00"),
        ("decimal", "1e400", "string", "1e400"),
        ("array(int32)", [1, None], {"type": "array", "items": ["null", "int"]}, [1, None]),
        ("array(float64)", [1.5, "-Infinity"], {"type": "array", "items": ["null", "double"]}, [1.5, -inf]),
        (
            "array(decimal(4,2))",
            ["1.50", None],
            {"type": "array", "items": ["null", logical("decimal", "bytes", precision=4, scale=2)]},
            [Decimal("1.50"), None],
        ),
        (
            "array(date)",
            ["2024-02-29"],
            {"type": "array", "items": ["null", logical("date", "int")]},
            [dt.date(2024, 2, 29)],
        ),
    ],
)
def test_a_type_has_its_own_in_avro(kind: str, wire: Any, type_: Any, found: Any) -> None:
    """Each type of a contract is written as its own, beside a null."""
    content = avro(entity(id="int32", value=kind)).encode(
        [batch("id value", upsert(1, wire), upsert(2, None))]
    )
    reader = fastavro.reader(io.BytesIO(content))
    (field,) = [each for each in reader.writer_schema["fields"] if each["name"] == "value"]
    assert field["type"] == ["null", type_]
    assert [row["value"] for row in reader] == [found, None]


def test_a_row_tells_where_it_comes_from() -> None:
    """Metadata stands before the columns; a delete has its key and nulls."""
    encoder = avro(entity(name="string", id="int32"))
    content = encoder.encode([batch("name id", upsert("x", 1)), batch("name id", delete(1, offset=4))])
    place = {"_topic": "t", "_partition": 3, "_index": 0}
    assert list(fastavro.reader(io.BytesIO(content))) == [
        {"_op": "upsert", "_source_time_us": TIME_US, "_offset": 0, **place, "name": "x", "id": 1},
        {"_op": "delete", "_source_time_us": TIME_US + 4, "_offset": 4, **place, "name": None, "id": 1},
    ]


@pytest.mark.parametrize(
    ("compression", "codec"), [("none", "null"), ("gzip", "deflate"), ("zstd", "zstandard")]
)
def test_blocks_are_compressed(compression: str, codec: str) -> None:
    """The header names the codec, many blocks come back, and the same rows give the same bytes."""
    rows = [upsert(i, "name" * 50, offset=i) for i in range(3000)]
    encoder = avro(entity(id="int32", name="string"), compression)
    content = encoder.encode([batch("id name", *rows)])
    assert encoder.encode([batch("id name", *rows)]) == content
    blocks = list(fastavro.block_reader(io.BytesIO(content)))
    assert len(blocks) > 1
    assert {block.codec for block in blocks} == {codec}
    assert [row["id"] for block in blocks for row in block] == list(range(3000))


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        ("int32", 2**40),
        ("int64", 2**70),
        ("int32", "5"),
        ("float64", "x"),
        ("decimal(5,2)", "1.234"),
        ("decimal(5,2)", "1000.00"),
        ("decimal(5,2)", "1e999999"),
        ("decimal(5,2)", "-Infinity"),
        ("decimal(5,2)", "NaN"),
        ("decimal(5,2)", "many"),
        ("date", "soon"),
        ("time", "25:00:00"),
        ("string", 5),
        ("string", "\ud800"),
        ("bytes", "text"),
        ("timestamptz", "2024-02-29T01:02:03Z"),
        ("timestamptz", "infinity"),
        ("date", "infinity"),
        ("array(int32)", ["x"]),
        ("array(date)", ["soon"]),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: str, wire: Any) -> None:
    """All errors are of the kinds that make a row a dead letter."""
    batches = [batch("id value", upsert(1, wire))]
    with pytest.raises((ValueError, TypeError)):
        avro(entity(id="int32", value=kind)).encode(batches)
