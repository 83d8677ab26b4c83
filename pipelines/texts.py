"""Spell values as Postgres casts them to text, so that rows written before and after such a cast are alike.

Source: PostgreSQL 16 documentation, "Data Types" and "JSON Functions" (`to_jsonb`); its EncodeInterval, for
the signs of intervals; with TimeZone UTC, DateStyle ISO and IntervalStyle postgres.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tillstream.configs.contract import column_of, text_of

__all__ = ["element_text", "text_form"]

# Powers of ten between which Postgres spells floats without an exponent ("Floating-Point Types").
_PLAIN_POWERS = range(-4, 15)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_INTERVAL = re.compile(
    r"([+-]?)P(?:([+-]?\d+)Y)?(?:([+-]?\d+)M)?(?:([+-]?\d+)W)?(?:([+-]?\d+)D)?"
    r"(?:T(?:([+-]?\d+)H)?(?:([+-]?\d+)M)?(?:([+-]?[\d.]+)S)?)?"
)
_ZONED = re.compile(r"(.+)([+-]\d\d)(:\d\d)?(:\d\d)?")
_MONTHS, _DAYS_OF_WEEK, _MINUTE_S, _HOUR_S = 12, 7, 60, 3600


def text_form(value: Any, kind: str) -> str:
    """Return a value as text, as Postgres casts it, but bytes as base64 and arrays as JSON.

    Args:
        value: in its wire form, not null.
        kind: its type, as a config spells it.
    """
    if isinstance(value, list | tuple):
        element = column_of("", kind).element
        return f"[{', '.join([_in_json(each, text_of(element) if element else '') for each in value])}]"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return element_text(value, kind)


def element_text(value: Any, kind: str) -> str:
    """Return an array's element as text, as Postgres casts it; arguments are those of `text_form`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, dt.datetime):
        return _trimmed(value.replace(tzinfo=None).isoformat(" ")) + "+00"
    spell = _SPELLINGS.get(kind)
    return str(value) if spell is None else spell(str(value))


def _in_json(value: Any, kind: str) -> str:
    """Return an array's element as `to_jsonb` spells it."""
    if value is None:
        return "null"
    if kind == "json":
        return str(value)
    text = element_text(value, kind)
    if isinstance(value, bool):
        return text
    if isinstance(value, int | float) or kind.startswith("decimal"):
        # JSON's numbers are numerics there: without an exponent, and zero has no sign.
        return _numeral(text) if _NUMBER.fullmatch(text) else json.dumps(text)
    if isinstance(value, dt.datetime):
        text = f"{text}:00"
    if isinstance(value, dt.datetime) or kind == "timestamp":
        text = text.replace(" ", "T")
    return json.dumps(text, ensure_ascii=False)


def _numeral(text: str) -> str:
    number = Decimal(text)
    return f"{number or abs(number):f}"


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


def _trimmed(text: str) -> str:
    return text.rstrip("0").removesuffix(".") if "." in text else text


def _zoned(text: str) -> str:
    match = _ZONED.fullmatch(text)
    if match is None:
        return text
    time, hours, minutes, seconds = match.groups()
    zone = "".join([hours, minutes or ":00", seconds or ":00"])
    return _trimmed(time) + zone.removesuffix(":00").removesuffix(":00")


def _interval(text: str) -> str:
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return text
    sign = -1 if match[1] == "-" else 1
    years, months, weeks, days, hours, minutes = [sign * int(match[place] or 0) for place in range(2, 8)]
    seconds = sign * Decimal(match[8] or 0) + hours * _HOUR_S + minutes * _MINUTE_S
    months += years * _MONTHS
    # Both parts have the sign of the whole.
    years, months = (part if months >= 0 else -part for part in divmod(abs(months), _MONTHS))
    parts: list[str] = []
    is_before = False
    for number, unit in ((years, "year"), (months, "mon"), (days + weeks * _DAYS_OF_WEEK, "day")):
        if number:
            plus = "+" if is_before and number > 0 else ""
            parts.append(f"{plus}{number} {unit}{'' if number == 1 else 's'}")
            is_before = number < 0
    if seconds or not parts:
        whole, fraction = divmod(abs(seconds), 1)
        plus = "-" if seconds < 0 else "+" if is_before else ""
        hours, rest = divmod(int(whole), _HOUR_S)
        time = f"{plus}{hours:02}:{rest // _MINUTE_S:02}:{rest % _MINUTE_S:02}"
        parts.append(time + _trimmed(f"{fraction:f}").removeprefix("0") if fraction else time)
    return " ".join(parts)


_SPELLINGS: dict[str, Callable[[str], str]] = {
    "interval": _interval,
    "time": _trimmed,
    "timestamp": lambda text: _trimmed(text.replace("T", " ")),
    "timetz": _zoned,
}
