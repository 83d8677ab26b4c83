"""Compile the rules of columns, so that checking them costs next to nothing.

What msgspec checks itself goes into the type that it decodes (`ruled`); rules of decimals, of which it
knows none, are checked by a function on the way to the wire (`check_of`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from tillstream.configs import Column

__all__ = ["check_of", "explained", "ruled"]

_PLACE = re.compile(r"at `\$\.(.+)`$")
_WORDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "ge": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "le": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
    "multiple_of": lambda value, bound: value % bound == 0,
}


def ruled(column: Column, kind: Any) -> Any:
    """Return the type that a column's values are decoded as, narrowed by the column's rules.

    Args:
        column: whose rules are to hold.
        kind: the type without them.
    """
    rules = {} if column.rules is None else column.rules.given()
    if not rules or column.kind == "decimal":
        return kind
    if "one_of" in rules:
        return Literal[tuple(rules["one_of"])]
    if column.kind.startswith("float"):
        kind = float
        # A bounded number is none of those that JSON has no numerals for.
        rules = {name: float(value) for name, value in rules.items()}
    if column.kind in ("int16", "int32", "int64"):
        return _whole(int(column.kind.removeprefix("int")), rules)
    return Annotated[kind, msgspec.Meta(**rules)]


def _whole(bits: int, rules: dict[str, Any]) -> Any:
    # msgspec takes one bound a side, and the type has its own.
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    least = max([least, *(int(rules[name]) + step for name, step in (("ge", 0), ("gt", 1)) if name in rules)])
    most = min([most, *(int(rules[name]) - step for name, step in (("le", 0), ("lt", 1)) if name in rules)])
    step = rules.get("multiple_of")
    return Annotated[int, msgspec.Meta(ge=least, le=most, multiple_of=None if step is None else int(step))]


def check_of(column: Column, convert: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
    """Return what checks a value by those rules that `ruled` leaves, then converts it; None for nothing.

    Args:
        column: whose rules are to hold.
        convert: what is to be done with values that keep them, or None.

    Returns:
        A function that raises ValueError with what was found and expected.
    """
    if column.kind != "decimal" or column.rules is None:
        return convert
    bounds = [(name, Decimal(str(value)), _HOLDS[name]) for name, value in column.rules.given().items()]

    def check(value: Decimal) -> Any:
        for name, bound, holds in bounds:
            if not value.is_finite() or not holds(value, bound):
                word = _WORDS.get(name)
                rule = f"{word} {bound}" if word else f"that's a multiple of {bound}"
                raise ValueError(f"Expected `decimal` {rule}, got `{value!s:.100}`")
        return value if convert is None else convert(value)

    return check


def explained(error: Exception, columns: Iterable[Column]) -> str:
    """Return what msgspec says of a row, with what it leaves out: which values there are."""
    text = str(error)
    if not text.startswith("Invalid enum value"):
        return text
    place = _PLACE.search(text)
    for column in columns:
        if place and column.name == place[1] and column.rules is not None and column.rules.one_of:
            known = ", ".join(map(repr, column.rules.one_of))
            return text.replace(" - at", f", expected one of {known} - at")
    return text
