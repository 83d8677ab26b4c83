"""Turn values of one type into those of another that holds them, in their wire form."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from tillstream.configs.contract import column_of, text_of
from tillstream.pipelines.texts import element_text, text_form

__all__ = ["converted"]

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
    if outer.kind == "string":
        return [None if value is None else element_text(value, types[0]) for value in values]
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
