"""Write what Kafka Connect's JsonConverter has written, with its schema, as Confluent's AvroData writes it.

Source: io.confluent.connect.avro.AvroData (`fromConnectSchema`, `fromConnectData`), and Confluent
documentation, "Wire format".
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

from fastavro import parse_schema, schemaless_writer

__all__ = ["avro_schema", "avro_value", "body", "envelope_schema"]

_CONNECT = "org.apache.kafka.connect.data."
_PRIMITIVES = {
    "boolean": "boolean",
    "int8": "int",
    "int16": "int",
    "int32": "int",
    "int64": "long",
    "float": "float",
    "double": "double",
    "string": "string",
    "bytes": "bytes",
}
_LOGICAL = {"Date": "date", "Time": "time-millis", "Timestamp": "timestamp-millis"}
_DECIMAL_PRECISION = 64
_UNNAMED = "ConnectDefault"


def _field(connect_type: str, name: str, *, optional: bool = False) -> dict[str, Any]:
    return {"type": connect_type, "optional": optional, "field": name}


_SOURCE = {
    "type": "struct",
    "name": "io.debezium.connector.postgresql.Source",
    "field": "source",
    "fields": [
        *(_field("string", name) for name in ("version", "connector", "name")),
        _field("int64", "ts_ms"),
        _field("string", "snapshot", optional=True),
        _field("string", "db"),
        _field("string", "sequence", optional=True),
        *(_field("int64", name, optional=True) for name in ("ts_us", "ts_ns")),
        *(_field("string", name) for name in ("schema", "table")),
        *(_field("int64", name, optional=True) for name in ("txId", "lsn", "xmin")),
    ],
}
_TRANSACTION = {
    "type": "struct",
    "name": "event.block",
    "field": "transaction",
    "optional": True,
    "fields": [
        _field("string", "id"),
        *(_field("int64", name) for name in ("total_order", "data_collection_order")),
    ],
}


def envelope_schema(row: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of Debezium's envelope, as JsonConverter writes it, given that of its rows."""
    rows = [{**row, "optional": True, "field": name} for name in ("before", "after")]
    about = [_field("string", "op"), _field("int64", "ts_ms", optional=True)]
    fields = [*rows, _SOURCE, _TRANSACTION, *about]
    return {"type": "struct", "name": "acme.public.nasty.Envelope", "optional": False, "fields": fields}


def avro_schema(schema: dict[str, Any], named: dict[str, Any] | None = None, place: str = "") -> Any:
    """Return the Avro schema of a schema as JsonConverter writes it.

    Args:
        schema: with type, optional, name, parameters and so on.
        named: types that are defined already.
        place: of the schema in the whole, for names of structs that have none.
    """
    named = {} if named is None else named
    found = _plain_schema(schema, named, place)
    return ["null", found] if schema.get("optional") else found


def _plain_schema(schema: dict[str, Any], named: dict[str, Any], place: str) -> Any:
    kind, name = schema["type"], schema.get("name")
    about: dict[str, Any] = {}
    if name:
        about["connect.name"] = name
    if schema.get("version"):
        about["connect.version"] = schema["version"]
    if schema.get("parameters"):
        about["connect.parameters"] = schema["parameters"]
    if kind == "struct":
        return _record(schema, named, place, about)
    if kind == "array":
        return {"type": "array", "items": avro_schema(schema["items"], named, f"{place}_items"), **about}
    if kind == "map":
        return {"type": "map", "values": avro_schema(schema["values"], named, f"{place}_values"), **about}
    if kind in ("int8", "int16"):
        about["connect.type"] = kind
    if name == _CONNECT + "Decimal":
        parameters = schema["parameters"]
        about["logicalType"] = "decimal"
        about["scale"] = int(parameters["scale"])
        about["precision"] = int(parameters.get("connect.decimal.precision", _DECIMAL_PRECISION))
    elif name and name.removeprefix(_CONNECT) in _LOGICAL and name.startswith(_CONNECT):
        about["logicalType"] = _LOGICAL[name.removeprefix(_CONNECT)]
    return {"type": _PRIMITIVES[kind], **about} if about else _PRIMITIVES[kind]


def _record(schema: dict[str, Any], named: dict[str, Any], place: str, about: dict[str, Any]) -> Any:
    name = schema.get("name") or f"{_UNNAMED}{place}"
    if name in named:
        return name
    named[name] = True
    space, _, short = name.rpartition(".")
    fields = []
    for field in schema["fields"]:
        own = {"name": field["field"], "type": avro_schema(field, named, f"{place}_{field['field']}")}
        fields.append({**own, "default": None} if field.get("optional") else own)
    return {"type": "record", "name": short, "namespace": space, "fields": fields, **about}


def avro_value(schema: dict[str, Any], value: Any) -> Any:
    """Return what an Avro writer takes for a value out of JsonConverter's JSON."""
    if value is None:
        return None
    kind = schema["type"]
    writers: dict[str, Callable[[], Any]] = {
        "struct": lambda: {
            field["field"]: avro_value(field, value.get(field["field"])) for field in schema["fields"]
        },
        "array": lambda: [avro_value(schema["items"], item) for item in value],
        "map": lambda: {key: avro_value(schema["values"], item) for key, item in value.items()},
        "bytes": lambda: base64.b64decode(value),
        "float": lambda: float(value),
        "double": lambda: float(value),
    }
    return writers[kind]() if kind in writers else value


def body(schema: Any, value: Any) -> bytes:
    """Return a value in Avro's binary encoding; logical types are left to the caller."""
    out = io.BytesIO()
    schemaless_writer(out, parse_schema(_bare(schema)), value)
    return out.getvalue()


def _bare(schema: Any) -> Any:
    """Return a schema without logical types, whose values are written as they are."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
    return [_bare(each) for each in schema] if isinstance(schema, list) else schema
