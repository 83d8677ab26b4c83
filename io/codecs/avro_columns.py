"""Tell how the columns of Avro rows are spelt, by what their schema says of them.

Source: Confluent's AvroData for `connect.name`, `connect.parameters`, `connect.type` and
`connect.internal.type`; Avro 1.12 specification, "Logical Types"; Debezium documentation, "Avro
serialization" and the property `field.name.adjustment.mode`.
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from tillstream.io.codecs.avro_schema import Node, SchemaError, only_branch
from tillstream.io.codecs.connect_types import Spelling, spelling_of

__all__ = ["column_spelling", "unescaped"]

_TYPES = {
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "enum": "string",
    "fixed": "bytes",
    "record": "struct",
}
_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_TIMES = "io.debezium.time."
# Debezium's names of what is counted alike.
_COUNTED = {
    "date": "Date",
    "time-millis": "Time",
    "time-micros": "MicroTime",
    "timestamp-millis": "Timestamp",
    "timestamp-micros": "MicroTimestamp",
    "timestamp-nanos": "NanoTimestamp",
}
_LOCAL = "local-"
_MAP_ENTRY = "MapEntry"
_UUID_BYTES = 16
_DURATION = struct.Struct("<III")
_ESCAPES = re.compile(r"(?:_u[0-9a-f]{3,4})+")
_encode = msgspec.json.Encoder().encode


def unescaped(name: str) -> str:
    """Return the name that Debezium's adjustment `avro_unicode` has escaped: `_u005f` is an underscore.

    Debezium writes U+0100 to U+0FFF with three digits, so `_u10da` may be U+10DA, or U+010D and an a; it is
    taken for the first.
    """

    def text(match: re.Match[str]) -> str:
        units = [int(code, 16).to_bytes(2, "big") for code in match[0].split("_u")[1:]]
        # Java's characters are halves of those beyond U+FFFF.
        return b"".join(units).decode("utf-16-be", "replace")

    return _ESCAPES.sub(text, name)


def column_spelling(node: Node) -> Spelling:
    """Return the kind of a column of this type, and what turns its values into the spelling of rows.

    Raises:
        SchemaError: for what cannot be what it says of itself.
    """
    try:
        return _spelling(only_branch(node))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise SchemaError(f"found {error!r:.100} in what the schema says of a column") from error


def _spelling(node: Node) -> Spelling:
    about = node.about
    if node.kind == "union":
        return Spelling("json", lambda value: _encode(value).decode())
    logical = about.get("logicalType")
    if "connect.name" not in about and isinstance(logical, str):
        found = _logical(node, logical)
        if found is not None:
            return found
    if node.kind == "array" and _is_entry(only_branch(node.branches[0])):
        return _map_of_entries(only_branch(node.branches[0]))
    return spelling_of(
        about.get("connect.type") or _TYPES.get(node.kind, node.kind),
        about.get("connect.name") or (_full_name(about) if node.kind == "record" else None),
        about.get("connect.parameters"),
        column_spelling(node.branches[0]) if node.branches else None,
        [(name, column_spelling(each)) for name, each in node.fields],
    )


def _full_name(about: Mapping[str, Any]) -> str:
    return ".".join([about["namespace"], about["name"]] if about.get("namespace") else [about["name"]])


def _logical(node: Node, logical: str) -> Spelling | None:
    """Return the spelling of one of Avro's own logical types; None for others."""
    about = node.about
    if logical == "decimal" and node.kind in ("bytes", "fixed"):
        parameters = {
            "scale": str(about.get("scale", 0)),
            "connect.decimal.precision": str(about["precision"]),
        }
        return spelling_of("bytes", _DECIMAL, parameters)
    counted = _COUNTED.get(logical.removeprefix(_LOCAL))
    if counted is not None and node.kind in ("int", "long"):
        found = spelling_of("int64", _TIMES + counted)
        # An instant is a point in time, whatever the zone; its spelling ends in Z as well.
        return found._replace(kind="timestamptz") if logical.startswith("timestamp") else found
    if logical == "uuid":
        fixed = node.kind == "fixed" and node.size == _UUID_BYTES
        return Spelling("uuid", (lambda value: str(uuid.UUID(bytes=value))) if fixed else None)
    if logical == "duration" and node.kind == "fixed" and node.size == _DURATION.size:
        return Spelling("interval", _interval)
    return None


def _interval(value: bytes) -> str:
    months, days, milliseconds = _DURATION.unpack(value)
    seconds = f"{milliseconds // 1000}.{milliseconds % 1000:03}".rstrip("0").rstrip(".")
    return f"P{months}M{days}DT{seconds}S"


def _is_entry(node: Node) -> bool:
    return _MAP_ENTRY in (node.about.get("connect.internal.type"), node.about.get("name"))


def _map_of_entries(entry: Node) -> Spelling:
    """Return the spelling of a map whose keys are no texts: AvroData makes it an array of records."""
    found = spelling_of("map", items=column_spelling(dict(entry.fields)["value"]))
    spell = found.spell
    assert spell is not None  # maps have one
    return Spelling(found.kind, lambda value: spell([(each["key"], each["value"]) for each in value]))
