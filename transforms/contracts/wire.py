"""Say, for each type of column, what JSON it is read from and what its wire form is (see MutationBatch).

Sources: Debezium documentation, "Data types" of the PostgreSQL connector with `time.precision.mode` isostring
and `interval.handling.mode` string; what it sends for values at the ends of Postgres's types was taken from
Debezium 3.3 itself, because no page tells.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from tillstream.configs import Column
from tillstream.configs.contract import text_of
from tillstream.pipelines.decimals import digits_of

__all__ = ["ANY_JSON", "RARE", "plain_type", "python_converter", "wire_converter"]

# A column of any JSON, texts among it, which a JSON column would take for Debezium's spelling of JSON.
ANY_JSON = "any_json"
# Stands before the name of a type whose rare values are read too: those that compiled code refuses.
RARE = "rare_"

_NON_FINITE = Literal["NaN", "Infinity", "-Infinity"]
_INTERVAL = re.compile(
    r"[+-]?P(?=[0-9T+-])([+-]?\d+Y)?([+-]?\d+M)?([+-]?\d+W)?([+-]?\d+D)?"
    r"(T(?=[0-9+-])([+-]?\d+H)?([+-]?\d+M)?([+-]?\d+(\.\d+)?S)?)?"
)
_INFINITY = "infinity"
# Debezium spells what Postgres calls infinity as a day or an instant that it takes for one, snapshots and
# stream each in their own way.
_INFINITE = {
    "infinity": _INFINITY,
    "-infinity": f"-{_INFINITY}",
    "+292278994-08-16Z": _INFINITY,
    "+292269055-12-02Z": f"-{_INFINITY}",
    "-5877611-06-21Z": _INFINITY,
    "-5877611-06-22Z": f"-{_INFINITY}",
    "+294247-01-10T04:00:25.2Z": _INFINITY,
    "-290308-12-21T19:59:27.6Z": f"-{_INFINITY}",
}
_FAR = re.compile(r"([+-])(\d{4,9})-\d\d-\d\d")
_DECIMALS = {"POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}


def _integer(bits: int) -> Any:
    bound = 1 << (bits - 1)
    return Annotated[int, msgspec.Meta(ge=-bound, le=bound - 1)]


_TYPES: dict[str, Any] = {
    "bool": bool,
    "int16": _integer(16),
    "int32": _integer(32),
    "int64": _integer(64),
    "float32": float | _NON_FINITE,
    "float64": float | _NON_FINITE,
    "decimal": Decimal,
    "string": str,
    "bytes": bytes,
    # Checked on the way to the wire.
    "date": Any,
    "time": dt.time,
    "timetz": dt.time,
    "timestamp": dt.datetime,
    "timestamptz": dt.datetime,
    "interval": Any,
    "uuid": uuid.UUID,
    "json": Any,
    ANY_JSON: Any,
}


def _to_instant(value: dt.datetime) -> dt.datetime:
    if value.tzinfo is None:
        raise ValueError(f"Expected an instant with its zone, got `{value.isoformat()}`")
    return value.astimezone(dt.timezone.utc)


def _to_date(value: Any) -> str:
    # Debezium's IsoDate puts a zone behind the day ("2026-02-28Z"), which no date parser takes.
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value.removesuffix("Z")).isoformat()
        except ValueError:
            return _infinite(value, "date")
    if type(value) is dt.date:
        return value.isoformat()
    raise ValueError(f"Expected `date`, got `{type(value).__name__}`")


def _infinite(value: Any, kind: str) -> str:
    """Return how Postgres spells infinity; raise ValueError for anything else that is no such time."""
    if isinstance(value, str):
        found = _INFINITE.get(value)
        if found is not None:
            return found
        if _FAR.match(value):
            raise ValueError(f"Expected `{kind}` of the years 1 to 9999, or infinity, got `{value:.40}`")
    raise ValueError(f"Expected `{kind}`, got `{value!s:.40}`")


def _to_local_time(value: dt.time) -> str:
    return value.replace(tzinfo=None).isoformat()


def _to_zoned_time(value: dt.time) -> str:
    if value.tzinfo is None:
        raise ValueError(f"Expected a time with its zone, got `{value.isoformat()}`")
    return value.isoformat()


def _to_local(value: dt.datetime) -> str:
    # Debezium marks timestamps without zone as UTC; the digits are the column's own.
    return value.replace(tzinfo=None).isoformat()


def _to_interval(value: Any) -> str:
    if isinstance(value, dt.timedelta):
        return str(msgspec.to_builtins(value))
    if isinstance(value, str) and _INTERVAL.fullmatch(value):
        return value
    raise ValueError(f"Expected `interval` in ISO 8601, such as P1DT2H, got `{value!s:.40}`")


def _to_any_json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _to_json_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_TO_WIRE: dict[str, Callable[[Any], Any]] = {
    "float32": float,
    "float64": float,
    "decimal": str,
    "date": _to_date,
    "time": _to_local_time,
    "timetz": _to_zoned_time,
    "timestamp": _to_local,
    "timestamptz": _to_instant,
    "interval": _to_interval,
    "uuid": str,
    "json": _to_json_text,
    ANY_JSON: _to_any_json_text,
}


def _to_day(value: Any) -> dt.date:
    return dt.date.fromisoformat(_to_date(value))


def _from_json_text(value: Any) -> Any:
    # Debezium sends a JSON column as text.
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise ValueError(f"Expected JSON text, got {error}") from error


_TO_PYTHON: dict[str, Callable[[Any], Any]] = {
    "float32": float,
    "float64": float,
    "date": _to_day,
    "time": lambda value: value.replace(tzinfo=None),
    "timestamp": lambda value: value.replace(tzinfo=None),
    "timestamptz": _to_instant,
    "interval": _to_interval,
    "json": _from_json_text,
}


def plain_type(column: Column) -> Any:
    """Return the type that a column's values are decoded as, without null and without its rules."""
    if column.kind.startswith(RARE):
        return Any
    if column.element is not None:
        inner = plain_type(column.element)
        return list[Any] if inner is Any else list[inner | None]  # type: ignore[valid-type]
    return _TYPES[column.kind]


def wire_converter(column: Column) -> Callable[[Any], Any] | None:
    """Return what turns a decoded value into its wire form, or None where it is that already.

    The function raises ValueError with what was found and expected.
    """
    if column.kind.startswith(RARE):
        return _rare_converter(replace(column, kind=column.kind.removeprefix(RARE)))
    if column.element is not None:
        return _each(_element_converter(column.element))
    if column.kind == "decimal" and column.precision is not None:
        return digits_of(column.precision, column.scale or 0)
    return _TO_WIRE.get(column.kind)


def python_converter(column: Column) -> Callable[[Any], Any] | None:
    """Return what turns a decoded value into the Python value that transforms see, or None for nothing."""
    if column.element is not None:
        return _each(_TO_PYTHON.get(column.element.kind))
    return _TO_PYTHON.get(column.kind)


def _element_converter(element: Column) -> Callable[[Any], Any] | None:
    # Floats that JSON has no numerals for stay words: lists are not looked through again.
    return None if element.kind.startswith("float") else wire_converter(element)


def _each(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    if convert is None:
        return None
    return lambda values: [None if value is None else convert(value) for value in values]


def _rare_converter(column: Column) -> Callable[[Any], Any]:
    """Return what reads also those values that the compiled type refuses; it takes them from JSON."""
    kind, usual = plain_type(column), wire_converter(column)

    def convert(value: Any) -> Any:
        try:
            if isinstance(value, msgspec.Raw):
                # A number, beside columns of JSON.
                found = msgspec.json.decode(value, type=kind)
            else:
                found = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            if column.kind == "decimal":
                return _rare_decimal(value, column)
            try:
                return _infinite(value, column.kind)
            except ValueError as told:
                raise (told if _FAR.match(str(value)) else ValueError(str(error))) from None
        return found if usual is None else usual(found)

    return convert


def _rare_decimal(value: Any, column: Column) -> str:
    found = _DECIMALS.get(value) if isinstance(value, str) else None
    if found is None or column.precision is not None:
        raise ValueError(f"Expected `{text_of(column)}`, got `{value!s:.100}`")
    return found
