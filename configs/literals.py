"""Turn what a config says of a column's values into those values, in the form that rows have them in."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tillstream.configs.contract import Column

__all__ = ["FLOATS", "INTEGERS", "NUMBERS", "ORDERED", "TIMES", "ordered_of", "wire_of"]

INTEGERS = ("int16", "int32", "int64")
FLOATS = ("float32", "float64")
NUMBERS = (*INTEGERS, *FLOATS, "decimal")
TIMES = ("date", "time", "timestamp", "timestamptz")
ORDERED = (*NUMBERS, *TIMES)


def wire_of(column: Column, value: Any) -> Any:
    """Return a value of a column in its wire form (see MutationBatch): decimals and dates are text.

    Args:
        column: whose value it is.
        value: as YAML has it: a number, text, or true or false.

    Raises:
        ValueError: if the column can hold no such value, with what was expected.
    """
    if column.kind == "decimal":
        # Of what makes rows, so that equal values are equal texts; it needs this package.
        from tillstream.pipelines.decimals import digits_of

        try:
            return digits_of(column.precision or 1, column.scale or 0)(_decimal(value))
        except ValueError:
            raise ValueError(f"a decimal({column.precision},{column.scale})") from None
    return ordered_of(column, value)


def ordered_of(column: Column, value: Any) -> Any:
    """Return a value of a column in a form that can be compared: as of `wire_of`, decimals as Decimal.

    Texts of dates and of times without zone stand in their own order.

    Raises:
        ValueError: as `wire_of` does.
    """
    kind = column.kind
    if kind == "decimal":
        return _decimal(value)
    if kind in INTEGERS:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("a whole number")
        return value
    if kind in FLOATS:
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError("a number")
        return float(value)
    if kind == "bool":
        if not isinstance(value, bool):
            raise ValueError("true or false")
        return value
    parse, expected = _TEXTS.get(kind, (None, f"another column: none of type {kind}"))
    if parse is None or not isinstance(value, str):
        raise ValueError(expected)
    try:
        return parse(value)
    except ValueError:
        raise ValueError(expected) from None


def _decimal(value: Any) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("a number") from None
    if isinstance(value, bool) or not found.is_finite():
        raise ValueError("a number")
    return found


def _date(text: str) -> str:
    return dt.date.fromisoformat(text).isoformat()


def _time(text: str) -> str:
    return dt.time.fromisoformat(text).replace(tzinfo=None).isoformat()


def _timestamp(text: str) -> str:
    found = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is not None:
        raise ValueError(text)
    return found.isoformat()


def _instant(text: str) -> dt.datetime:
    found = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if found.tzinfo is None:
        raise ValueError(text)
    return found.astimezone(dt.timezone.utc)


def _uuid(text: str) -> str:
    return str(uuid.UUID(text))


_TEXTS: dict[str, tuple[Callable[[str], Any], str]] = {
    "string": (str, "text"),
    "date": (_date, "a date such as '2026-02-28', in quotes"),
    "time": (_time, "a time such as '13:00:00', in quotes"),
    "timestamp": (_timestamp, "a time such as '2026-02-28T13:00:00', without zone and in quotes"),
    "timestamptz": (_instant, "a time with its zone, such as '2026-02-28T13:00:00Z', in quotes"),
    "uuid": (_uuid, "a UUID"),
}
