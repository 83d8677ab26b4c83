"""Map a contract's types to those of Postgres, and tell which of them holds all values of another."""

from __future__ import annotations

import re
from typing import NamedTuple

from tillstream.configs import Column

__all__ = ["PgType", "holds", "parse", "type_of"]

_NAMES = {
    "bool": "boolean",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float32": "real",
    "float64": "double precision",
    "decimal": "numeric",
    "string": "text",
    "bytes": "bytea",
    "date": "date",
    "time": "time without time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "timetz": "time with time zone",
    "interval": "interval",
    "uuid": "uuid",
    "json": "jsonb",
}
# Decimal digits that a value of an integer type may have.
_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
_WIDER = {
    "smallint": {"integer", "bigint"},
    "integer": {"bigint"},
    "real": {"double precision"},
    "jsonb": {"json"},
    "json": {"jsonb"},
    "character varying": {"text"},
    "text": {"character varying"},
}
_ARRAY = "[]"
_FORMATTED = re.compile(r"([a-z][a-z ]*?)(?:\((\d+)(?:,(-?\d+))?\))?( with(?:out)? time zone)?")


class PgType(NamedTuple):
    """Hold a type as Postgres formats it.

    Attributes:
        name: without its modifiers.
        size: first modifier (precision, length), or None.
        scale: second modifier, or None.
    """

    name: str
    size: int | None = None
    scale: int | None = None

    def __str__(self) -> str:
        if self.size is None:
            return self.name
        return f"{self.name}({self.size}{'' if self.scale is None else f',{self.scale}'})"


def type_of(column: Column) -> PgType:
    """Return the type that a contract's column becomes."""
    if column.element is not None:
        return PgType(f"{type_of(column.element)}{_ARRAY}")
    return PgType(_NAMES[column.kind], column.precision, column.scale)


def parse(formatted: str) -> PgType:
    """Return a type out of `format_type`'s text; types that contracts do not know keep their whole text."""
    match = _FORMATTED.fullmatch(formatted)
    if not match:
        return PgType(formatted)
    name, size, scale, zone = match.groups()
    return PgType(
        name + (zone or ""), None if size is None else int(size), None if scale is None else int(scale)
    )


def holds(wide: PgType, narrow: PgType) -> bool:
    """Tell whether every value of one type has its place in another."""
    if wide == narrow:
        return True
    if wide.name == "numeric":
        return _numeric_holds(wide, narrow)
    if wide.name.endswith(_ARRAY) and narrow.name.endswith(_ARRAY):
        return holds(parse(wide.name.removesuffix(_ARRAY)), parse(narrow.name.removesuffix(_ARRAY)))
    if wide.name in {"text", "character varying"}:
        if wide.size is not None:
            return narrow.name == wide.name and narrow.size is not None and narrow.size <= wide.size
        # As text, bytes and arrays would become a spelling of themselves.
        return narrow.name != "bytea" and not narrow.name.endswith(_ARRAY)
    return wide.name in _WIDER.get(narrow.name, ()) and wide.size is None


def _numeric_holds(wide: PgType, narrow: PgType) -> bool:
    if narrow.name == "numeric":
        size, scale = narrow.size, narrow.scale or 0
    else:
        size, scale = _DIGITS.get(narrow.name), 0
        if size is None:
            return False
    if wide.size is None:
        return True
    wide_scale = wide.scale or 0
    return size is not None and wide_scale >= scale and wide.size - wide_scale >= size - scale
