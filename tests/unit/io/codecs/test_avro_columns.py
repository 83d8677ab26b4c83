"""What a schema says of a column tells its type and its spelling."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.io.codecs.avro_columns import column_spelling
from tillstream.io.codecs.avro_schema import SchemaError, parse_schema


def logical(kind: str, logical_type: str, /, **more: Any) -> dict[str, Any]:
    """Return a schema with one of Avro's own logical types."""
    return {"type": kind, "logicalType": logical_type, **more}


@pytest.mark.parametrize(
    ("schema", "kind", "value", "spelt"),
    [
        (logical("bytes", "decimal", precision=6, scale=2), "decimal(6,2)", b"\xff\x85", "-1.23"),
        (
            logical("fixed", "decimal", precision=6, scale=2, name="D", size=3),
            "decimal(6,2)",
            b"\0\0\x7b",
            "1.23",
        ),
        (logical("int", "date"), "date", 20512, "2026-02-28Z"),
        (logical("int", "time-millis"), "time", 1, "00:00:00.001Z"),
        (logical("long", "time-micros"), "time", 1, "00:00:00.000001Z"),
        (logical("long", "timestamp-millis"), "timestamptz", 1, "1970-01-01T00:00:00.001Z"),
        (logical("long", "timestamp-nanos"), "timestamptz", 1, "1970-01-01T00:00:00.000000001Z"),
        (logical("long", "local-timestamp-micros"), "timestamp", 1, "1970-01-01T00:00:00.000001Z"),
        (logical("string", "uuid"), "uuid", "u", "u"),
        (
            logical("fixed", "uuid", name="U", size=16),
            "uuid",
            bytes(range(16)),
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
        ),
        (
            logical("fixed", "duration", name="P", size=12),
            "interval",
            b"\1\0\0\0\2\0\0\0\xdc\5\0\0",
            "P1M2DT1.5S",
        ),
        (logical("int", "of-nobody"), "int32", 1, 1),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "string", "A", "A"),
        ({"type": "int", "connect.type": "int16"}, "int16", 1, 1),
        (["null", "string", "long"], "json", 7, "7"),
        (
            {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "MapEntry",
                    "fields": [{"name": "key", "type": "int"}, {"name": "value", "type": ["null", "string"]}],
                },
            },
            "json",
            [{"key": 1, "value": "a"}, {"key": 2, "value": None}],
            '[[1,"a"],[2,null]]',
        ),
    ],
)
def test_avros_own_types_are_spelt_as_rows_spell(schema: Any, kind: str, value: Any, spelt: Any) -> None:
    """Logical types need no connector."""
    found = column_spelling(parse_schema(json.dumps(schema)))
    assert (found.kind, found.spell(value) if found.spell else value) == (kind, spelt)


@pytest.mark.parametrize(
    "about",
    [
        {"connect.name": ["x"]},
        {"connect.name": "org.apache.kafka.connect.data.Decimal", "connect.parameters": {"scale": "x"}},
        {"logicalType": "decimal"},
    ],
)
def test_what_a_column_says_of_itself_may_be_anything(about: dict[str, Any]) -> None:
    """A schema that somebody wrote by hand is refused, and no more."""
    with pytest.raises(SchemaError):
        column_spelling(parse_schema(json.dumps({"type": "bytes", **about})))
