"""Compile expectations about single rows into functions over whole columns."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isnan
from typing import Any, TypeAlias

from tillstream.configs.contract import Column
from tillstream.configs.expressions import Expression
from tillstream.configs.literals import FLOATS, ordered_of, wire_of
from tillstream.configs.trust import Expectation

__all__ = ["TIME", "Check", "compile_check"]

# Stands for the commit time in the source among a check's columns; no column begins with _.
TIME = "_time_us"

_DIGITS_MAX = 15
_Columns: TypeAlias = Sequence[Sequence[Any]]
_Values: TypeAlias = Sequence[Any]


@dataclass(frozen=True)
class Check:
    """Hold one expectation, compiled.

    Attributes:
        columns: names of those that it looks at, or TIME.
        expected: what it expects, in words.
        all_pass: tells of a list of values for each of the columns whether all rows pass: one fast pass.
        passes: tells the same of one row's values.
    """

    columns: tuple[str, ...]
    expected: str
    all_pass: Callable[[_Columns], bool]
    passes: Callable[[_Values], bool]


def compile_check(
    expectation: Expectation,
    columns: Mapping[str, Column],
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Check:
    """Return what checks an expectation about rows; null passes all of them but not_null.

    Args:
        expectation: of any kind but those about streams of rows.
        columns: the entity's contract, by name.
        now_us: the clock of freshness, microseconds since 1970 UTC.

    Raises:
        ValueError: if it does not fit the columns; configs that load have none such.
    """
    if expectation.expect == "freshness":
        return _freshness(expectation, now_us)
    if expectation.expect == "cross_field":
        condition = Expression(expectation.expression or "", columns)
        check = Check(condition.columns, condition.text, condition.all_pass, condition.passes)
        return _with_instants(check, columns)
    column = columns[expectation.column or ""]
    return _with_instants(_COMPILERS[expectation.expect](expectation, column), columns)


# What is text in place of an instant, and how it compares.
_INSTANTS = {
    "infinity": dt.datetime.max.replace(tzinfo=dt.timezone.utc),
    "-infinity": dt.datetime.min.replace(tzinfo=dt.timezone.utc),
}


def _with_instants(check: Check, columns: Mapping[str, Column]) -> Check:
    """Return a check that compares the infinities of a timestamptz as the ends of time."""
    if all(name not in columns or columns[name].kind != "timestamptz" for name in check.columns):
        return check

    def instants(values: _Values) -> _Values:
        return [_INSTANTS.get(value, value) if type(value) is str else value for value in values]

    return replace(
        check,
        all_pass=lambda found: check.all_pass([instants(values) for values in found]),
        passes=lambda values: check.passes(instants(values)),
    )


def _not_null(_: Expectation, column: Column) -> Check:
    return Check(
        (column.name,),
        "a value",
        lambda columns: None not in columns[0],
        lambda values: values[0] is not None,
    )


def _range(expectation: Expectation, column: Column) -> Check:
    low, high = (
        None if each is None else ordered_of(column, each) for each in (expectation.min, expectation.max)
    )
    words = [f"{word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound is not None]
    load = Decimal if column.kind == "decimal" else None

    def passes(values: _Values) -> bool:
        value = values[0]
        if value is None:
            return True
        if load is not None:
            value = load(value)
            if value.is_nan():
                return False
        return (low is None or value >= low) and (high is None or value <= high)

    suspects = _suspects(column, low, high)

    def all_pass(columns: _Columns) -> bool:
        values = columns[0]
        if None in values:
            values = [each for each in values if each is not None]
        return all(passes((each,)) for each in suspects(values))

    return Check((column.name,), " and ".join(words), all_pass, passes)


def _suspects(column: Column, low: Any, high: Any) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return what picks, in one fast pass, the values that may lie outside of bounds."""
    if column.kind == "decimal" and low == 0 and high is None:
        # The bound that most have; only a minus and NaN can break it.
        return lambda values: values if "-" in (text := "".join(values)) or "N" in text else ()
    if column.kind in ("decimal", *FLOATS):
        return _suspect_floats(column, low, high)
    if low is None:
        return lambda values: () if not values or max(values) <= high else values
    if high is None:
        return lambda values: () if not values or min(values) >= low else values
    return lambda values: () if not values or (min(values) >= low and max(values) <= high) else values


def _suspect_floats(column: Column, low: Any, high: Any) -> Callable[[Sequence[Any]], Sequence[Any]]:
    least = float("-inf") if low is None else float(low)
    most = float("inf") if high is None else float(high)
    # Rounding to floats keeps the order of decimals, and of up to 15 digits their differences too. Of more,
    # only those that lie strictly inside are known to be so.
    if column.kind == "decimal" and max(column.precision or 0, _digits(low), _digits(high)) > _DIGITS_MAX:
        return lambda values: [each for each in values if not least < float(each) < most]

    def suspects(values: Sequence[Any]) -> Sequence[Any]:
        floats = list(map(float, values))
        # NaN has no order, so least and greatest may pass it over; a sum never does.
        if not floats or (min(floats) >= least and max(floats) <= most and not isnan(sum(floats))):
            return ()
        return values

    return suspects


def _digits(bound: Any) -> int:
    if not isinstance(bound, Decimal):
        return 0
    _, digits, exponent = bound.as_tuple()
    return len(digits) + abs(int(exponent))


def _in_set(expectation: Expectation, column: Column) -> Check:
    allowed = frozenset([None, *(wire_of(column, each) for each in expectation.values or ())])
    shown = ", ".join(map(str, expectation.values or ()))
    return Check(
        (column.name,),
        f"one of {shown:.200}",
        lambda columns: allowed.issuperset(columns[0]),
        lambda values: values[0] in allowed,
    )


def _regex(expectation: Expectation, column: Column) -> Check:
    match = re.compile(expectation.pattern or "").fullmatch
    return Check(
        (column.name,),
        f"text that matches {expectation.pattern}",
        lambda columns: not [1 for each in columns[0] if each is not None and match(each) is None],
        lambda values: values[0] is None or match(values[0]) is not None,
    )


def _freshness(expectation: Expectation, now_us: Callable[[], int]) -> Check:
    age_us = (expectation.age_s_max or 0) * 1_000_000
    return Check(
        (TIME,),
        f"a commit at most {expectation.age_s_max} s ago",
        lambda columns: min(columns[0]) >= now_us() - age_us,
        lambda values: bool(values[0] >= now_us() - age_us),
    )


_COMPILERS: dict[str, Callable[[Expectation, Column], Check]] = {
    "not_null": _not_null,
    "range": _range,
    "in_set": _in_set,
    "regex": _regex,
}
