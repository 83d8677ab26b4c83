"""Turn values of one type into those of another that holds them, in their wire form."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import struct
from collections.abc import Callable
from typing import Any

from tillstream.configs.contract import column_of, text_of

__all__ = ["converted", "text_form"]

# Powers of ten between which Postgres spells floats without an exponent ("Floating-Point Types").
_PLAIN_POWERS = range(-4, 15)
# Stand in arrays of floats, in place of numbers.
_WORDS = ("NaN", "Infinity", "-Infinity")


def converted(value: Any, kind: str, wanted: str) -> Any:
    """Return a value in the form that a wider type has it in.

    Args:
        value: in its wire form, not null.
        kind: its type, as a config spells it.
        wanted: the wider one.
    """
    if kind == wanted:
        return value
    convert = _CONVERTERS.get(wanted.partition("(")[0])
    return value if convert is None else convert(value, kind, wanted)


def text_form(value: Any, kind: str) -> str:
    """Return a value as text, scalars as Postgres spells them; bytes as base64, arrays as JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return json.dumps(list(value), default=lambda each: text_form(each, ""))
    spell = _SPELLINGS.get(type(value))
    if spell is not None:
        return spell(value)
    if kind == "timestamp":
        return _moment(value)
    return _trimmed(value) if kind == "time" else str(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = repr(value).removesuffix(".0")
    power = int(f"{value:.16e}".partition("e")[2])
    if not value or power in _PLAIN_POWERS:
        return text
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        # Python writes fifteen digits and more before the point without one.
        digits = mantissa.lstrip("-").rstrip("0")
        mantissa = (
            mantissa[: mantissa.index(digits[0])] + digits[0] + ("." + digits[1:] if digits[1:] else "")
        )
    return f"{mantissa}e{power:+03d}"


def _moment(text: str) -> str:
    return _trimmed(text.replace("T", " "))


def _trimmed(text: str) -> str:
    return text.rstrip("0").removesuffix(".") if "." in text else text


_SPELLINGS: dict[type, Callable[[Any], str]] = {
    float: _float,
    bytes: lambda value: base64.b64encode(value).decode(),
    dt.datetime: lambda value: _moment(value.replace(tzinfo=None).isoformat()) + "+00",
}


def _to_json(value: Any, kind: str, _: str) -> str:
    return str(value) if kind == "json" else json.dumps(value, default=str)


def _to_float(value: Any, kind: str, _: str) -> float:
    # As a server that casts the column: of 24 bits those that are there.
    return float(struct.unpack("f", struct.pack("f", value))[0]) if kind == "float32" else float(value)


def _to_timestamp(value: str, _: str, __: str) -> str:
    return value if value.endswith("infinity") else f"{value}T00:00:00"


def _to_array(values: Any, kind: str, wanted: str) -> Any:
    inner, outer = (column_of("", each).element for each in (kind, wanted))
    if inner is None or outer is None:
        return values
    types = text_of(inner), text_of(outer)
    return [value if value is None or value in _WORDS else converted(value, *types) for value in values]


_CONVERTERS: dict[str, Callable[[Any, str, str], Any]] = {
    "array": _to_array,
    "decimal": lambda value, _, __: str(value),
    "float32": _to_float,
    "float64": _to_float,
    "json": _to_json,
    "string": lambda value, kind, _: text_form(value, kind),
    "timestamp": _to_timestamp,
}
