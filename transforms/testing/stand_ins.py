"""Make up values that a column's type and rules allow, out of the digest of another value."""

from __future__ import annotations

import datetime as dt
import string
import uuid
from base64 import b64encode
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from tillstream.configs import Column

__all__ = ["stand_in"]

_DAYS = 20_000
_FIRST_DAY = dt.date(1950, 1, 1)
_DAY_S = 86_400
# Debezium's schemas have no room for more.
_SIZES = {"int16": 1 << 14, "int32": 1 << 30}
_BIG = 1 << 40
_DIGITS_MAX = 15
_CENTS = 2
_TEXT_LENGTH = 12
_FLOATS = ("float32", "float64")
# Instants as numbers, in the year 5138 at most: seconds, or thousandths and so on.
_SECONDS_MAX = 10**11


def stand_in(value: Any, column: Column, digest: bytes) -> Any:
    """Return a value of the same type, which `column` takes if it took the first.

    Rules are kept but for patterns: there a text keeps its form, digits for digits and letters for letters.

    Args:
        value: as JSON has it; not null.
        column: that it is of.
        digest: 32 bytes; equal ones give equal stand-ins.
    """
    number = int.from_bytes(digest[:8], "big")
    if column.rules is not None and column.rules.one_of:
        return column.rules.one_of[number % len(column.rules.one_of)]
    if isinstance(value, bool):
        return bool(number & 1)
    if isinstance(value, int):
        return _whole(value, column, number)
    if isinstance(value, float):
        return float(_bounded(column, number, _scale(column, value), 10**8))
    if isinstance(value, dict | list):
        return type(value)()
    return _text(value, column, digest, number)


def _whole(value: int, column: Column, number: int) -> int:
    if column.kind == "date":
        return number % _DAYS + (_FIRST_DAY - dt.date(1970, 1, 1)).days
    if column.kind == "time":
        unit = next((each for each in (1_000, 10**6) if value < _DAY_S * each), 10**9)
        return number % _DAY_S * unit
    if column.kind in ("timestamp", "timestamptz"):
        units: tuple[int, ...] = (1, 1_000, 10**6, 10**9)
        unit = next((each for each in units if abs(value) < _SECONDS_MAX * each), units[-1])
        return number % (_DAYS * _DAY_S) * unit
    return int(_bounded(column, number, 0, _SIZES.get(column.kind, _BIG)))


def _scale(column: Column, value: Any) -> int:
    if column.kind != "decimal":
        return _CENTS
    if column.scale is not None:
        return column.scale
    exponent = Decimal(str(value)).as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _bounded(column: Column, number: int, scale: int, size: int) -> Decimal:
    """Return one of about `size` numbers with `scale` digits after the point, within type and rules."""
    unit = Decimal(1).scaleb(-scale)
    top: int | None = None
    if column.precision is not None:
        top = 10 ** (column.precision - (column.scale or 0) + scale) - 1
        size = min(size, top + 1)
    rules = column.rules
    low, high, step = None, None, 1
    if rules is not None:
        low = _units(rules.ge, unit, up=True) if rules.gt is None else _units(rules.gt, unit, up=False) + 1  # type: ignore[operator]
        high = _units(rules.le, unit, up=False) if rules.lt is None else _units(rules.lt, unit, up=True) - 1  # type: ignore[operator]
        step = max(int(_units(rules.multiple_of, unit, up=True) or 1), 1)
    if low is None:
        low = 0 if high is None or high >= 0 else high - size + 1
    if high is None:
        high = low + max(size, step) - 1
    if top is not None:
        low, high = max(low, -top), min(high, top)
    first = -(-low // step) * step
    count = max((high - first) // step + 1, 1)
    return Decimal(first + number % count * step) * unit


def _units(bound: float | None, unit: Decimal, *, up: bool) -> int | None:
    if bound is None:
        return None
    return int((Decimal(str(bound)) / unit).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR))


def _text(value: str, column: Column, digest: bytes, number: int) -> str:
    kind = column.kind
    if kind == "decimal":
        scale = _scale(column, value if _is_number(value) else 0)
        return f"{_bounded(column, number, scale, 10**_DIGITS_MAX):.{scale}f}"
    if kind in (*_FLOATS, *_SIZES, "int64"):
        return str(_bounded(column, number, 0, _SIZES.get(kind, _BIG)))
    if kind in ("string", ""):
        return _letters(value, column, digest)
    day = (_FIRST_DAY + dt.timedelta(days=number % _DAYS)).isoformat()
    texts = {
        "bool": "true" if number & 1 else "false",
        "date": day,
        "timestamp": f"{day}T00:00:00Z",
        "timestamptz": f"{day}T00:00:00Z",
        "time": f"{number % 24:02d}:00:00",
        "timetz": f"{number % 24:02d}:00:00Z",
        "interval": f"PT{number % _DAY_S}S",
        "uuid": str(uuid.UUID(bytes=digest[:16], version=4)),
        "bytes": b64encode(_cut(digest, column)).decode(),
        "json": "{}",
    }
    return texts.get(kind, digest.hex()[:_TEXT_LENGTH])


def _is_number(value: str) -> bool:
    try:
        return Decimal(value).is_finite()
    except ArithmeticError:
        return False


def _letters(value: str, column: Column, digest: bytes) -> str:
    if column.rules is not None and column.rules.pattern is not None:
        return "".join(_alike(each, digest[i % 32]) for i, each in enumerate(value))
    ending = "@example.com" if "@" in value else ""
    made = digest.hex()[:_TEXT_LENGTH] + ending
    fitting = _cut(digest.hex().encode(), column, len(made)).decode()
    return made if len(fitting) == len(made) else fitting


def _alike(character: str, number: int) -> str:
    for alphabet in (string.digits, string.ascii_lowercase, string.ascii_uppercase):
        if character in alphabet:
            return alphabet[number % len(alphabet)]
    return string.ascii_lowercase[number % 26] if character.isalnum() else character


def _cut(data: bytes, column: Column, length: int = _TEXT_LENGTH) -> bytes:
    rules = column.rules
    if rules is not None:
        length = max(length, rules.min_length or 0)
        length = length if rules.max_length is None else min(length, rules.max_length)
    return (data * (length // len(data) + 1))[:length]
