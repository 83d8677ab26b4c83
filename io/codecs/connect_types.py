"""Spell values of Kafka Connect's types, and of Debezium's, as rows spell them.

A connector describes each column by one of Connect's types and, where that does not say all, by the name and
the parameters of its schema: an int32 named `io.debezium.time.Date` is a day. `spelling_of` returns the type
of such a column as a config spells it, and what turns its values into the one spelling of rows: decimals as
plain digits; days, times and timestamps as Debezium's `isostring` has them (`2026-02-28Z`, `12:30:00Z`,
`2026-02-28T12:30:00.5Z`, where Z says nothing of a zone); intervals as ISO 8601 durations; bytes as base64;
geometry as bytes, its WKB; NaN and infinities as text; maps, structs and JSON as JSON in a text; arrays as
arrays of such values.

Formats give values in two forms, so a spelling has two functions: `spell` for Python's own values, as Avro's
decoder gives them, and `respell` for what Connect's JsonConverter makes of them, where bytes are base64
already.

Sources: Debezium 3 documentation, PostgreSQL connector, "Data type mappings" (temporal values, decimal types,
HSTORE, network addresses, PostGIS types); Kafka Connect's `Decimal`, `Date`, `Time`, `Timestamp` and
`JsonConverter`.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, NamedTuple, TypeAlias

import msgspec

from tillstream.io.codecs.connect_times import (
    MICROS,
    MILLIS,
    NANOS,
    day_of,
    interval_of,
    time_of,
    timestamp_of,
    whole,
)

__all__ = ["PLACEHOLDER", "Spell", "Spelling", "decimal_text", "each_of", "scaled_text", "spelling_of"]

Spell: TypeAlias = Callable[[Any], Any]

# What Debezium sends for a large value that an update did not touch; as an array, of itself or of its bytes.
PLACEHOLDER = "__debezium_unavailable_value"
_PLACEHOLDER_ARRAYS = ([PLACEHOLDER], list(PLACEHOLDER.encode()))

_SCALE_MAX = 200_000
_SMALL = 10**18
_PRECISION_MAX = 1000
_SOURCE_TYPE, _SOURCE_LENGTH = "__debezium.source.column.type", "__debezium.source.column.length"
_SOURCE_SCALE = "__debezium.source.column.scale"
# Decimals are text already where they are to be one; others are numbers of a column of JSON.
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Spelling(NamedTuple):
    """Say how the values of one column are spelt.

    Attributes:
        kind: type of the column as a config spells it.
        spell: returns the spelling of a value of Python's own types, which is not None; None where JSON's
            encoder gives it. Raises ValueError, TypeError, LookupError or OverflowError for what is no such
            value.
        respell: the same for a value out of JsonConverter's JSON, numbers with a point or exponent as
        Decimal.
    """

    kind: str
    spell: Spell | None = None
    respell: Spell | None = None


def spelling_of(
    connect_type: str,
    name: str | None = None,
    parameters: Mapping[str, str] | None = None,
    items: Spelling | None = None,
    fields: Sequence[tuple[str, Spelling]] = (),
) -> Spelling:
    """Return how the values of one of Connect's schemas are spelt; those of an unknown name by their type.

    Args:
        connect_type: int8 to int64, float32 or float (as JsonConverter calls it), float64 or double, boolean,
            string, bytes, array, map or struct.
        name: of the schema, which tells Debezium's and Connect's semantic types.
        parameters: of the schema.
        items: of an array's items or of a map's values.
        fields: names of a struct's fields, and how they are spelt.
    """
    parameters = parameters or {}
    if name == "org.apache.kafka.connect.data.Decimal":
        return _decimal(parameters)
    if name in _NAMED:
        return _NAMED[name]
    inner = items or Spelling("json")
    if inner == Spelling("string") and parameters.get(_SOURCE_TYPE, "").upper() == "_NUMERIC":
        # Digits of a Postgres array's elements stand beside the array.
        inner = Spelling(_text_kind({**parameters, _SOURCE_TYPE: "NUMERIC"}))
    composed = {"array": lambda: _array(inner), "map": lambda: _map(inner), "struct": lambda: _struct(fields)}
    if connect_type in composed:
        return composed[connect_type]()
    if connect_type == "string":
        return Spelling(_text_kind(parameters))
    return _PLAIN.get(connect_type, Spelling("json"))


def scaled_text(unscaled: int, scale: int) -> str:
    """Return the digits of a decimal, plain; the scale says how many of them stand behind the point.

    Raises:
        ValueError: for a scale beyond 200,000 digits, more than any database has.
    """
    if not -_SCALE_MAX <= scale <= _SCALE_MAX:
        raise ValueError(f"a scale of {scale}")
    if not -_SMALL < unscaled < _SMALL or scale < 0:
        # Python refuses to write integers of many digits; decimals it does not.
        return format(Decimal(unscaled).scaleb(-scale, _EXACT), "f")
    text = str(unscaled).zfill(scale + (2 if unscaled < 0 else 1))
    return f"{text[:-scale]}.{text[-scale:]}" if scale else text


def decimal_text(value: Decimal | float) -> str:
    """Return a number's digits, plain; NaN and infinities as such.

    Raises:
        ValueError: for an exponent beyond 200,000.
    """
    number = value if isinstance(value, Decimal) else Decimal(str(value))
    if number.is_finite() and not -_SCALE_MAX <= number.adjusted() <= _SCALE_MAX:
        raise ValueError(f"an exponent of {number.adjusted()}")
    return format(number, "f")


def _decimal(parameters: Mapping[str, str]) -> Spelling:
    scale = int(parameters.get("scale", "0"))
    length = parameters.get("connect.decimal.precision") or parameters.get(_SOURCE_LENGTH)

    def spell(value: Any) -> str:
        if isinstance(value, bytes):
            return scaled_text(int.from_bytes(value, "big", signed=True), scale)
        return decimal_text(value)

    def respell(value: Any) -> str:
        if isinstance(value, str):
            return spell(base64.b64decode(value, validate=True))
        # JsonConverter's decimal.format=numeric.
        return decimal_text(value)

    return Spelling(_decimal_kind(length, scale), spell, respell)


def _decimal_kind(length: str | None, scale: int) -> str:
    precision = int(length or 0)
    if not 0 < precision <= _PRECISION_MAX or abs(scale) > _PRECISION_MAX:
        # Postgres tells 131089 of a numeric without precision, and 2046 of the scale -2.
        return "decimal"
    # Postgres has numeric(2,4), which holds 0.0012, and numeric(2,-2), which holds 1200.
    precision, scale = (precision - scale, 0) if scale < 0 else (max(precision, scale), scale)
    return f"decimal({precision},{scale})"


def _text_kind(parameters: Mapping[str, str]) -> str:
    if parameters.get(_SOURCE_TYPE, "").upper() not in ("NUMERIC", "DECIMAL"):
        return "string"
    return _decimal_kind(parameters.get(_SOURCE_LENGTH), int(parameters.get(_SOURCE_SCALE) or 0))


def _variable_scale(value: Any) -> str:
    return scaled_text(int.from_bytes(value["value"], "big", signed=True), whole(value["scale"]))


def _respell_variable_scale(value: Any) -> str:
    if isinstance(value, (int, Decimal)):
        return decimal_text(value)
    return _variable_scale({**value, "value": base64.b64decode(value["value"], validate=True)})


def _float(value: Any) -> Any:
    # JSON has no numerals for the others.
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _wkb(value: Any) -> Any:
    wkb = value["wkb"]
    if not isinstance(wkb, (bytes, str)):
        raise TypeError("no bytes")
    return wkb


def _array(items: Spelling) -> Spelling:
    if items.kind.startswith("array("):
        items = Spelling("json", _texts(items.spell), _texts(items.respell))
    return Spelling(f"array({items.kind})", each_of(items.spell), each_of(items.respell))


def each_of(spell: Spell | None) -> Spell:
    """Return what spells the items of an array, given what spells one; nulls stay."""

    def spell_all(value: Any) -> Any:
        if value in _PLACEHOLDER_ARRAYS:
            return PLACEHOLDER
        if not isinstance(value, list):
            raise TypeError("no array")
        return value if spell is None else [None if item is None else spell(item) for item in value]

    return spell_all


def _map(items: Spelling) -> Spelling:
    return Spelling("json", _entries(items.spell), _entries(items.respell))


def _entries(spell: Spell | None) -> Spell:
    def spell_all(value: Any) -> str:
        # A map whose keys are no texts is an array of pairs in JSON.
        pairs = list(value.items()) if isinstance(value, dict) else value
        if pairs == [(PLACEHOLDER, PLACEHOLDER)]:
            return PLACEHOLDER
        spelt = [(key, item if spell is None or item is None else spell(item)) for key, item in pairs]
        return _text(dict(spelt) if isinstance(value, dict) else spelt)

    return spell_all


def _struct(fields: Sequence[tuple[str, Spelling]]) -> Spelling:
    spells = {name: each.spell for name, each in fields if each.spell is not None}
    respells = {name: each.respell for name, each in fields if each.respell is not None}
    return Spelling("json", _fields(spells), _fields(respells))


def _fields(spells: Mapping[str, Spell]) -> Spell:
    def spell_all(value: Any) -> str:
        found = dict(value)
        for name, spell in spells.items():
            if found.get(name) is not None:
                found[name] = spell(found[name])
        return _text(found)

    return spell_all


def _texts(spell: Spell | None) -> Spell:
    return lambda value: _text(value if spell is None else spell(value))


def _text(value: Any) -> str:
    return _encode(value).decode()


_EXACT = Context(prec=2 * _SCALE_MAX, Emax=MAX_EMAX, Emin=MIN_EMIN)

_INT_KINDS = {"int8": "int16", "int16": "int16", "int32": "int32", "int64": "int64"}
_FLOAT_KINDS = {"float": "float32", "float32": "float32", "double": "float64", "float64": "float64"}
_PLAIN = {
    **{each: Spelling(kind) for each, kind in _INT_KINDS.items()},
    **{each: Spelling(kind, _float) for each, kind in _FLOAT_KINDS.items()},
    "boolean": Spelling("bool"),
    "bytes": Spelling("bytes"),
}


def _same(kind: str, spell: Spell) -> Spelling:
    return Spelling(kind, spell, spell)


_TIMES = "io.debezium.time."
_DATA = "io.debezium.data."
_CONNECT = "org.apache.kafka.connect.data."
_NAMED = {
    _CONNECT + "Date": _same("date", day_of),
    _CONNECT + "Time": _same("time", time_of(MILLIS)),
    _CONNECT + "Timestamp": _same("timestamp", timestamp_of(MILLIS)),
    _TIMES + "Date": _same("date", day_of),
    _TIMES + "Time": _same("time", time_of(MILLIS)),
    _TIMES + "MicroTime": _same("time", time_of(MICROS)),
    _TIMES + "NanoTime": _same("time", time_of(NANOS)),
    _TIMES + "Timestamp": _same("timestamp", timestamp_of(MILLIS)),
    _TIMES + "MicroTimestamp": _same("timestamp", timestamp_of(MICROS)),
    _TIMES + "NanoTimestamp": _same("timestamp", timestamp_of(NANOS)),
    _TIMES + "MicroDuration": _same("interval", interval_of(MICROS)),
    _TIMES + "NanoDuration": _same("interval", interval_of(NANOS)),
    _TIMES + "IsoDate": Spelling("date"),
    _TIMES + "IsoTime": Spelling("time"),
    _TIMES + "IsoTimestamp": Spelling("timestamp"),
    _TIMES + "ZonedTime": Spelling("timetz"),
    _TIMES + "ZonedTimestamp": Spelling("timestamptz"),
    _TIMES + "Interval": Spelling("interval"),
    _TIMES + "Year": Spelling("int32"),
    _DATA + "Json": Spelling("json"),
    _DATA + "Uuid": Spelling("uuid"),
    _DATA + "VariableScaleDecimal": Spelling("decimal", _variable_scale, _respell_variable_scale),
    _DATA + "geometry.Geometry": _same("bytes", _wkb),
    _DATA + "geometry.Geography": _same("bytes", _wkb),
    _DATA + "geometry.Point": _same("bytes", _wkb),
}
