"""Spell days, times and intervals that connectors count from 1970 or from midnight."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

__all__ = ["MICROS", "MILLIS", "NANOS", "day_of", "interval_of", "time_of", "timestamp_of", "whole"]

MILLIS, MICROS, NANOS = 10**3, 10**6, 10**9

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (of columns without zone)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_DIGITS = {MILLIS: 3, MICROS: 6, NANOS: 9}
# The calendar repeats itself.
_CYCLE_DAYS, _CYCLE_YEARS = 146_097, 400
_YEAR_MAX = 9999
# What Debezium counts where Postgres says infinity, in snapshots and in the log: taken from its events.
_INFINITE = {
    9_223_372_036_825_200_000: "infinity",
    -9_223_372_036_832_400_000: "-infinity",
}
_INFINITE_DAYS = {
    -622_191_234: "infinity",
    -625_821_272: "-infinity",
    -2_147_472_692: "infinity",
    -2_147_472_691: "-infinity",
}


def whole(value: Any) -> int:
    """Return a whole number, and raise TypeError for anything else; to Python true is one."""
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def day_of(value: Any) -> str:
    """Return the spelling of days since 1970; text is spelt already."""
    if isinstance(value, str):
        return value
    if isinstance(value, dt.date):
        return f"{value.isoformat()}Z"
    days = whole(value)
    try:
        return f"{dt.date.fromordinal(_EPOCH_DAY + days).isoformat()}Z"
    except (ValueError, OverflowError):
        return _INFINITE_DAYS.get(days) or f"{_far_day(days)}Z"


def time_of(per_second: int) -> Callable[[Any], str]:
    """Return what spells a time of day, counted from midnight; 24:00 is spelt so.

    Args:
        per_second: MILLIS, MICROS or NANOS.
    """
    digits = _DIGITS[per_second]

    def spell(value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, dt.time):
            return f"{value.isoformat()}Z"
        seconds, fraction = divmod(whole(value), per_second)
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        return f"{hour:02}:{minute:02}:{second:02}{_fraction(fraction, digits)}Z"

    return spell


def timestamp_of(per_second: int) -> Callable[[Any], str]:
    """Return what spells a timestamp without zone, counted from 1970.

    Args:
        per_second: MILLIS, MICROS or NANOS.
    """
    digits = _DIGITS[per_second]

    def spell(value: Any) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, dt.datetime):
            return f"{value.replace(tzinfo=None).isoformat()}Z"
        seconds, fraction = divmod(whole(value), per_second)
        try:
            return f"{(_EPOCH + dt.timedelta(seconds=seconds)).isoformat()}{_fraction(fraction, digits)}Z"
        except OverflowError:
            days, seconds = divmod(seconds, 86_400)
            time = (_EPOCH + dt.timedelta(seconds=seconds)).time().isoformat()
            return _INFINITE.get(value) or f"{_far_day(days)}T{time}{_fraction(fraction, digits)}Z"

    return spell


def interval_of(per_second: int) -> Callable[[Any], str]:
    """Return what spells an interval as an ISO 8601 duration; the source made seconds of its months and days.

    Args:
        per_second: MICROS or NANOS.
    """
    digits = _DIGITS[per_second]

    def spell(value: Any) -> str:
        if isinstance(value, str):
            return value
        seconds, fraction = divmod(abs(whole(value)), per_second)
        return f"PT{'-' if value < 0 else ''}{seconds}{_fraction(fraction, digits)}S"

    return spell


def _far_day(days: int) -> str:
    """Return a day outside of the years 1 to 9999 as Java writes it: with a sign, the year 0 being 1 BC."""
    cycles, rest = divmod(_EPOCH_DAY + days - 1, _CYCLE_DAYS)
    near = dt.date.fromordinal(rest + 1)
    year = near.year + cycles * _CYCLE_YEARS
    return f"{'+' if year > _YEAR_MAX else '-' if year < 0 else ''}{abs(year):04d}{near:-%m-%d}"


def _fraction(fraction: int, digits: int) -> str:
    return f".{fraction:0{digits}}".rstrip("0") if fraction else ""
