"""Schema files become models, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs.contract import text_of
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.contracts.models import columns_of_model, field
from tillstream.transforms.contracts.schemas import model_from_avro, model_from_json_schema

from .test_models import Order, model_of

JSON_SCHEMA = {
    "title": "Order",
    "type": "object",
    "required": ["id", "total", "gift"],
    "additionalProperties": False,
    "$defs": {"status": {"enum": ["open", "paid"]}},
    "properties": {
        "id": {"type": "integer", "format": "int32", "minimum": 1, "x-tillstream": {"key": True}},
        "total": {"type": "number", "x-tillstream": {"type": "decimal(12,2)", "unit": "EUR"}},
        "gift": {"type": ["boolean", "null"]},
        "status": {"$ref": "#/$defs/status", "default": "open"},
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "mail": {
            "type": "string",
            "format": "email",
            "description": "Where to.",
            "x-tillstream": {"pii": "email"},
        },
        "raw": {"type": "string", "contentEncoding": "base64", "maxLength": 9},
        "json": {"type": "object"},
    },
}
AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long", "x-tillstream": {"key": True}},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "n", "type": "int", "default": 0, "doc": "How many."},
        {"name": "status", "type": {"type": "enum", "name": "s", "symbols": ["open", "paid"]}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "x-tillstream": {"type": "json"}},
        {"name": "sizes", "type": {"type": "array", "items": ["null", "long"]}},
    ],
}


def shown(columns: Any) -> list[tuple[str, str, bool]]:
    """Return name, type and nullability of columns."""
    return [(column.name, text_of(column), column.nullable) for column in columns]


def test_a_json_schema_becomes_a_model(tmp_path: Path) -> None:
    """Types, formats, requirements, rules and what stands under x-tillstream are taken over."""
    path = tmp_path / "order.json"
    path.write_text(json.dumps(JSON_SCHEMA))
    columns = {column.name: column for column in columns_of_model(model_from_json_schema(path))}
    assert shown(columns.values()) == [
        ("id", "int32", False),
        ("total", "decimal(12,2)", False),
        ("gift", "bool", True),
        ("status", "string", False),
        ("at", "timestamptz", True),
        ("mail", "string", True),
        ("raw", "bytes", True),
        ("json", "json", True),
    ]
    assert columns["id"].key
    assert columns["id"].rules is not None
    assert columns["id"].rules.ge == 1
    assert columns["status"].default == "open"
    assert (columns["mail"].pii, columns["mail"].description) == ("email", "Where to.")
    assert columns["total"].unit == "EUR"


def test_an_avro_schema_becomes_a_model(tmp_path: Path) -> None:
    """Types, logical types, unions with null, enums and defaults are taken over."""
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(AVRO))
    columns = columns_of_model(model_from_avro(path))
    assert shown(columns) == [
        ("id", "int64", False),
        ("total", "decimal(12,2)", False),
        ("n", "int32", False),
        ("status", "string", False),
        ("at", "timestamptz", True),
        ("tags", "json", False),
        ("sizes", "array(int64)", False),
    ]
    assert columns[6].element is not None
    assert columns[6].element.kind == "int64"
    assert (columns[2].default, columns[2].description) == (0, "How many.")
    assert columns[3].rules is not None
    assert columns[3].rules.one_of == ("open", "paid")


def test_a_models_own_schema_gives_the_model_back() -> None:
    """Pydantic's JSON Schema of a model carries what `field` was told."""
    model = model_of(
        int | None, field(None, type="int32", unit="kg", pii="weight", ge=1, description="How heavy.")
    )
    assert columns_of_model(model_from_json_schema(model.model_json_schema())) == columns_of_model(model)
    found = {column.name: column for column in columns_of_model(Order)}
    again = {
        column.name: column for column in columns_of_model(model_from_json_schema(Order.model_json_schema()))
    }
    assert [again[name] for name in ("order_id", "email", "size")] == [
        found[name] for name in ("order_id", "email", "size")
    ]


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ({"type": "object", "properties": {"a": {}}}, "x-tillstream: {type: json}"),
        ({"type": "array", "items": {"type": "string"}}, "x-tillstream: {type: json}"),
        ({"type": "string", "not": {"const": "a"}}, "'not', which no column is checked for"),
        ({"type": "string", "minimum": 1}, "found rule ge on type string"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "expected one of string"),
        ({"$ref": "other.json"}, "found \\$ref 'other.json'"),
        ({"$ref": "#/properties/v"}, r"property 'v': found \$ref '#/properties/v' that leads to itself"),
        ({"anyOf": [{"type": "null"}, {"$ref": "#/properties/v"}]}, "that leads to itself"),
        ({"type": ["string", "integer"]}, "property 'v': found type .*expected one of string"),
        ({"type": "string", "x-tillstream": {"type": "text"}}, "field 'v': expected one of bool"),
    ],
)
def test_what_a_json_schema_asks_for_in_vain_is_refused(node: Any, told: str) -> None:
    """Nothing in a schema is left unchecked in silence."""
    with pytest.raises(TransformError, match=told):
        model_from_json_schema({"type": "object", "properties": {"v": node}})


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"type": {"type": "map", "values": "int"}}, "x-tillstream: {type: json}"),
        ({"type": ["int", "string"]}, "expected one of boolean"),
        ({"type": "int", "aliases": ["w"]}, "found aliases"),
        ({}, "schema: field 'v': found no 'type'"),
        ({"type": {"type": "bytes", "logicalType": "decimal"}}, "field 'v': found no 'precision'"),
        ({"type": {"type": "bytes", "logicalType": "decimal", "precision": "9"}}, "found 'precision' '9'"),
        ({"type": {"type": "enum", "name": "s"}}, "field 'v': found no 'symbols'"),
    ],
)
def test_what_an_avro_schema_asks_for_in_vain_is_refused(about: Any, told: str) -> None:
    """Nothing in a schema is left unchecked in silence."""
    with pytest.raises(TransformError, match=told):
        model_from_avro({"type": "record", "name": "R", "fields": [{"name": "v", **about}]})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "schema: found no 'fields'"),
        ({"fields": {}}, "schema: found 'fields' {}, expected a list"),
        ({"fields": ["v"]}, "field number 1: found 'v', expected a mapping with 'name'"),
        ({"fields": [{"name": "v", "type": "int"}, {"type": "int"}]}, "field number 2: found no 'name'"),
    ],
)
def test_an_avro_record_that_lacks_a_part_is_told_which(fields: Any, told: str) -> None:
    """What is missing, and where."""
    with pytest.raises(TransformError, match=told):
        model_from_avro({"type": "record", "name": "R", **fields})


def test_a_file_that_is_no_schema_is_named(tmp_path: Path) -> None:
    """The path stands in the message."""
    path = tmp_path / "x.json"
    path.write_text("[]")
    with pytest.raises(TransformError, match=r"x\.json: found a list"):
        model_from_json_schema(path)
    with pytest.raises(TransformError, match=r"y\.avsc"):
        model_from_avro(tmp_path / "y.avsc")
