"""Describe columns of all types: how connectors write each of them, with which schema.

Values are given in rows' one spelling and turned back from it here, by other means than the codecs'.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, TypeAlias

__all__ = ["COLUMNS", "Col", "Form", "Json"]

Json: TypeAlias = dict[str, Any]

_TIME, _DATA, _CONNECT = "io.debezium.time.", "io.debezium.data.", "org.apache.kafka.connect.data."
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001
_NANOS = {"ms": 10**6, "us": 10**3, "ns": 1}


class Form(NamedTuple):
    """Hold one way to write a column: its schema, and what turns a spelt value into a message's."""

    schema: Json
    write: Callable[[Any], Any] = lambda value: value


class Col(NamedTuple):
    """Hold a column: its type in a contract, and how it is written as text, exactly, and in nanoseconds."""

    kind: str
    text: Form
    exact: Form
    nanos: Form


def _col(kind: str, text: Form, exact: Form | None = None, nanos: Form | None = None) -> Col:
    return Col(kind, text, exact or text, nanos or exact or text)


def _form(
    connect_type: str, name: str | None = None, write: Callable[[Any], Any] | None = None, **more: Any
) -> Form:
    named = {"name": name, "version": 1} if name else {}
    schema = {"type": connect_type, "optional": True, **named, **more}
    return Form(schema, write) if write else Form(schema)


def _unscaled(text: str) -> str:
    number = Decimal(text)
    digits = int("".join(map(str, number.as_tuple().digits))) * (-1 if number.is_signed() else 1)
    return base64.b64encode(digits.to_bytes(digits.bit_length() // 8 + 1, "big", signed=True)).decode()


def _scale(text: str) -> int:
    return -int(Decimal(text).as_tuple().exponent)


def _decimal(precision: int, scale: int) -> Col:
    parameters = {"scale": str(scale), "connect.decimal.precision": str(precision)}
    source = {"type": "NUMERIC", "length": str(precision), "scale": str(scale)}
    told = {f"__debezium.source.column.{name}": each for name, each in source.items()}
    return _col(
        f"decimal({precision},{scale})",
        _form("string", parameters=told),
        _form("bytes", _CONNECT + "Decimal", _unscaled, parameters=parameters),
    )


def _nanos(text: str) -> int:
    """Return the nanoseconds since 1970, or since midnight, of a spelt timestamp or time."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    at = dt.datetime.fromisoformat(whole if "T" in whole else f"1970-01-01T{whole}")
    return int((at - _EPOCH).total_seconds()) * 10**9 + int(fraction.ljust(9, "0"))


def _counted(unit: str) -> Callable[[str], int]:
    return lambda text: _nanos(text) // _NANOS[unit]


def _days(text: str) -> int:
    return (dt.date.fromisoformat(text.removesuffix("Z")) - _EPOCH.date()).days


def _array(items: Form) -> Form:
    schema = {"type": "array", "items": items.schema, "optional": True}
    return Form(schema, lambda value: [None if item is None else items.write(item) for item in value])


_DAY = _col("date", _form("string", _TIME + "IsoDate"), _form("int32", _TIME + "Date", _days))
_GEOMETRY = _form(
    "struct",
    _DATA + "geometry.Geometry",
    lambda wkb: {"wkb": wkb, "srid": 4326},
    fields=[
        {"type": "bytes", "optional": False, "field": "wkb"},
        {"type": "int32", "optional": True, "field": "srid"},
    ],
)
_VARIABLE = _form(
    "struct",
    _DATA + "VariableScaleDecimal",
    lambda text: {"scale": _scale(text), "value": _unscaled(text)},
    fields=[
        {"type": "int32", "optional": False, "field": "scale"},
        {"type": "bytes", "optional": False, "field": "value"},
    ],
)
_HSTORE = {
    "type": "map",
    "optional": True,
    "keys": {"type": "string"},
    "values": {"type": "string", "optional": True},
}

COLUMNS: dict[str, Col] = {
    "id": _col("int64", _form("int64")),
    "rate": _decimal(10, 2),
    "born": _DAY,
    "flag": _col("bool", _form("boolean")),
    "small": _col("int16", _form("int16")),
    "number": _col("int32", _form("int32")),
    "big": _col("int64", _form("int64")),
    "ratio": _col("float32", _form("float")),
    "score": _col("float64", _form("double")),
    "total": _decimal(38, 9),
    "free": _col(
        "decimal", _form("string", parameters={"__debezium.source.column.type": "NUMERIC"}), _VARIABLE
    ),
    "name": _col("string", _form("string")),
    "raw": _col("bytes", _form("bytes")),
    "bits": _col("bytes", _form("bytes", _DATA + "Bits", parameters={"length": "12"})),
    "alarm": _col(
        "time",
        _form("string", _TIME + "IsoTime"),
        _form("int64", _TIME + "MicroTime", _counted("us")),
        _form("int64", _TIME + "NanoTime", _counted("ns")),
    ),
    "at": _col(
        "timestamp",
        _form("string", _TIME + "IsoTimestamp"),
        _form("int64", _TIME + "MicroTimestamp", _counted("us")),
        _form("int64", _TIME + "NanoTimestamp", _counted("ns")),
    ),
    "about": _col(
        "timestamp",
        _form("string", _TIME + "IsoTimestamp"),
        _form("int64", _TIME + "Timestamp", _counted("ms")),
        _form("int64", _TIME + "NanoTimestamp", _counted("ns")),
    ),
    "seen": _col("timestamptz", _form("string", _TIME + "ZonedTimestamp")),
    "opens": _col("timetz", _form("string", _TIME + "ZonedTime")),
    "span": _col("interval", _form("string", _TIME + "Interval")),
    "uid": _col("uuid", _form("string", _DATA + "Uuid")),
    "doc": _col("json", _form("string", _DATA + "Json")),
    "page": _col("string", _form("string", _DATA + "Xml")),
    "mood": _col("string", _form("string", _DATA + "Enum", parameters={"allowed": "sad,happy"})),
    "attrs": _col("json", _form("string", _DATA + "Json"), Form(_HSTORE, json.loads)),
    "tags": _col("array(string)", _array(_form("string"))),
    "counts": _col("array(int32)", _array(_form("int32"))),
    "days": _col("array(date)", _array(_DAY.text), _array(_DAY.exact)),
    "place": _col("bytes", _GEOMETRY),
    "address": _col("string", _form("string")),
}
