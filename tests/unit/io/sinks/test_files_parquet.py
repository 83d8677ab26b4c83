"""Parquet files are typed by the contract."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from math import inf
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tillstream.io.sinks.files_parquet import Parquet

from .builders import TIME_US, batch, delete, entity, upsert

INSTANT = dt.datetime(2024, 2, 29, 1, 2, 3, 4, dt.timezone.utc)


@pytest.mark.parametrize(
    ("kind", "wire", "arrow", "found"),
    [
        ("bool", True, pa.bool_(), True),
        ("int16", -5, pa.int16(), -5),
        ("int32", 5, pa.int32(), 5),
        ("int64", 2**62, pa.int64(), 2**62),
        ("float32", 1.5, pa.float32(), 1.5),
        ("float64", float("inf"), pa.float64(), float("inf")),
        ("decimal(12,2)", "-129.90", pa.decimal128(12, 2), Decimal("-129.90")),
        ("decimal(12,2)", "7", pa.decimal128(12, 2), Decimal("7.00")),
        ("decimal(50,1)", "1.5", pa.decimal256(50, 1), Decimal("1.5")),
        ("decimal(90,1)", "1.5", pa.string(), "1.5"),
        ("string", "ż\0\n", pa.string(), "ż\0\n"),
        ("bytes", b"\0\xff", pa.binary(), b"\0\xff"),
        ("date", "2024-02-29", pa.date32(), dt.date(2024, 2, 29)),
        ("time", "23:59:59.000001", pa.time64("us"), dt.time(23, 59, 59, 1)),
        ("time", "23:59:59", pa.time64("us"), dt.time(23, 59, 59)),
        ("timestamp", "2024-02-29T01:02:03.000004", pa.timestamp("us"), INSTANT.replace(tzinfo=None)),
        ("timestamptz", INSTANT, pa.timestamp("us", "UTC"), INSTANT),
        ("uuid", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", pa.string(), "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("json", '{"a":1}', pa.string(), '{"a":1}'),
        ("interval", "P1DT2H", pa.string(), "P1DT2H"),
        ("timetz", "10:00:00+00:00", pa.string(), "10:00:00+00:00"),
        ("decimal", "1e400", pa.string(), "1e400"),
        ("array(int32)", [1, None], pa.list_(pa.int32()), [1, None]),
        ("array(string)", [], pa.list_(pa.string()), []),
        ("array(float64)", [1.5, "-Infinity"], pa.list_(pa.float64()), [1.5, -inf]),
        ("array(decimal(4,2))", ["1.50", None], pa.list_(pa.decimal128(4, 2)), [Decimal("1.50"), None]),
        ("array(date)", ["2024-02-29", None], pa.list_(pa.date32()), [dt.date(2024, 2, 29), None]),
        ("array(time)", ["23:59:59"], pa.list_(pa.time64("us")), [dt.time(23, 59, 59)]),
        (
            "array(timestamp)",
            ["2024-02-29T01:02:03.000004"],
            pa.list_(pa.timestamp("us")),
            [INSTANT.replace(tzinfo=None)],
        ),
        ("array(timestamptz)", [INSTANT], pa.list_(pa.timestamp("us", "UTC")), [INSTANT]),
        ("array(bytes)", [b"\0\xff"], pa.list_(pa.binary()), [b"\0\xff"]),
    ],
)
def test_a_type_has_its_own_in_parquet(kind: str, wire: Any, arrow: pa.DataType, found: Any) -> None:
    """Each type of a contract is written as its own, beside a null."""
    content = Parquet(entity(id="int32", value=kind)).encode(
        [batch("id value", upsert(1, wire), upsert(2, None))]
    )
    table = pq.read_table(pa.BufferReader(content))
    assert table.schema.field("value").type == arrow
    assert table.column("value").to_pylist() == [found, None]


def test_a_row_tells_where_it_comes_from() -> None:
    """Metadata stands before the columns; a delete has its key and nulls."""
    parquet = Parquet(entity(name="string", id="int32"))
    record = upsert("x", 1)
    batches = [batch("name id", record), batch("name id", delete(1, offset=4))]
    table = pq.read_table(pa.BufferReader(parquet.encode(batches)))
    place = {"_topic": "t", "_partition": 3, "_index": 0}
    assert table.to_pylist() == [
        {"_op": "upsert", "_source_time_us": TIME_US, "_offset": 0, **place, "name": "x", "id": 1},
        {"_op": "delete", "_source_time_us": TIME_US + 4, "_offset": 4, **place, "name": None, "id": 1},
    ]


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        ("int16", 99_999),
        ("decimal(5,2)", "1.234"),
        ("decimal(5,2)", "1000.00"),
        ("date", "soon"),
        ("string", 5),
        ("date", "infinity"),
        ("timestamptz", "infinity"),
        ("array(int32)", ["x"]),
        ("array(decimal(4,2))", ["many"]),
    ],
)
def test_a_value_that_does_not_fit_is_refused(kind: str, wire: Any) -> None:
    """Arrow's own errors are of the kinds that make a row a dead letter."""
    with pytest.raises((ValueError, TypeError)):
        Parquet(entity(id="int32", value=kind)).encode([batch("id value", upsert(1, wire))])
