"""Types that evolve form a lattice, and values follow their types without loss."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest

from tillstream.configs.contract import ColumnModel, column_of
from tillstream.pipelines.conversions import converted
from tillstream.pipelines.evolution import join, plain, wider

MOMENT = dt.datetime(2026, 2, 28, 12, 0, 0, 500_000, tzinfo=dt.timezone.utc)

DECLARED = [
    "bool",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "decimal",
    "decimal(10,2)",
    "decimal(5,4)",
    "decimal(1000,999)",
    "string",
    "date",
    "timestamp",
    "timestamptz",
    "json",
    "bytes",
    "array(int32)",
    "array(string)",
    "array(date)",
]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ("int16", "int64", "int64"),
        ("int32", "decimal(10,2)", "decimal(12,2)"),
        ("int64", "decimal(10,2)", "decimal(21,2)"),
        ("decimal(10,2)", "decimal(8,4)", "decimal(12,4)"),
        ("decimal(10,2)", "decimal", "decimal"),
        ("decimal(1000,999)", "int64", "decimal"),
        ("float32", "float64", "float64"),
        ("int32", "float64", "float64"),
        ("int64", "float64", "string"),
        ("date", "timestamp", "timestamp"),
        ("timestamp", "timestamptz", "string"),
        ("int32", "string", "string"),
        ("json", "int32", "string"),
        ("array(int16)", "array(int64)", "array(int64)"),
        ("array(int16)", "int16", "string"),
    ],
)
def test_declared_types_widen_where_no_value_is_lost(first: str, second: str, both: str) -> None:
    """Anything else is text, as the source's own ALTER TYPE makes it."""
    assert plain(join(f"{first} declared", f"{second} declared")) == both
    # A column that was typed by its values before its messages declared it.
    assert plain(join(first, f"{second} declared")) == both


def test_writers_agree_whatever_they_see_first() -> None:
    """Joining is commutative, associative and idempotent."""
    kinds = [f"{kind} declared" for kind in DECLARED]
    for one, two in itertools.product(kinds, repeat=2):
        assert join(one, two) == join(two, one)
        assert join(join(one, two), two) == join(one, two)
    for one, two, three in itertools.product(kinds, repeat=3):
        assert join(join(one, two), three) == join(one, join(two, three)), (one, two, three)


def test_types_of_values_keep_their_own_lattice() -> None:
    """Without declared types json holds what differs, as itself."""
    assert join("int64", "string") == "json"
    assert join("int64", "float64") == "float64"
    assert join("int32 null", "int64") == "int64 null"
    for one, two, three in itertools.product(["bool", "int64", "float64", "string", "json"], repeat=3):
        assert join(join(one, two), three) == join(one, join(two, three)), (one, two, three)


@pytest.mark.parametrize(
    ("own", "declared", "found"),
    [
        ("int32", "int64", "int64"),
        ("int64", "int32", "int64"),
        ("int64", "decimal(10,2)", "decimal(21,2)"),
        ("decimal(10,2)", "decimal(12,4)", "decimal(12,4)"),
        ("float32", "float64", "float64"),
        ("int32", "float64", None),
        ("int32", "string", None),
        ("string", "int32", None),
        ("date", "timestamp", None),
        ("bytes", "string", None),
    ],
)
def test_a_contracts_column_widens_among_numbers_only(own: str, declared: str, found: str | None) -> None:
    """What sorts or looks otherwise is not what its readers were promised."""
    column = wider(column_of("v", own), declared)
    assert column == (None if found is None else column_of("v", found))


def test_keys_keep_their_digits() -> None:
    """The spelling of a decimal key tells its shard; whole numbers have one spelling."""
    key = ColumnModel(type="decimal(10,2)").column("id", is_key=True)
    assert wider(key, "decimal(12,4)") is None
    number = ColumnModel(type="int32").column("id", is_key=True)
    assert wider(number, "decimal(12,4)") is None
    found = wider(number, "int64")
    assert found is not None
    assert found.kind == "int64"


@pytest.mark.parametrize(
    ("value", "kind", "wanted", "found"),
    [
        (5, "int32", "string", "5"),
        (True, "bool", "string", "true"),
        (1.0, "float64", "string", "1"),
        (1e300, "float64", "string", "1e+300"),
        (1.5e15, "float64", "string", "1.5e+15"),
        (-123456789012345680.0, "float64", "string", "-1.2345678901234568e+17"),
        (0.0001, "float64", "string", "0.0001"),
        (1.5e-05, "float64", "string", "1.5e-05"),
        (float("-inf"), "float64", "string", "-Infinity"),
        (1.100000023841858, "float32", "float64", 1.100000023841858),
        (1.1, "float32", "float64", 1.100000023841858),
        ("12:00:00.500000", "time", "string", "12:00:00.5"),
        ("2026-02-28T12:00:00.500000", "timestamp", "string", "2026-02-28 12:00:00.5"),
        (dt.datetime(2026, 2, 28, tzinfo=dt.timezone.utc), "timestamptz", "string", "2026-02-28 00:00:00+00"),
        (b"\0\xff", "bytes", "string", "AP8="),
        ([1, None], "array(int32)", "string", "[1, null]"),
        ([1, None], "array(int32)", "array(string)", ["1", None]),
        ([1.5, "NaN"], "array(float32)", "array(float64)", [1.5, "NaN"]),
        (["ä", 'a"b', None], "array(string)", "string", '["ä", "a\\"b", null]'),
        (["1.50", "NaN"], "array(decimal(5,2))", "string", '[1.50, "NaN"]'),
        (
            [1.0, 1.5e-05, 1e20, -0.0, "NaN"],
            "array(float64)",
            "string",
            "[1, 0.000015, 1" + "0" * 20 + ', 0, "NaN"]',
        ),
        (["2026-02-28T12:00:00.500000"], "array(timestamp)", "string", '["2026-02-28T12:00:00.5"]'),
        ([MOMENT], "array(timestamptz)", "string", '["2026-02-28T12:00:00.5+00:00"]'),
        ([b"ab"], "array(bytes)", "string", '["\\\\x6162"]'),
        (['{"a":1}', None], "array(json)", "string", '[{"a":1}, null]'),
        ([True, False], "array(bool)", "string", "[true, false]"),
        ([b"ab", None], "array(bytes)", "array(string)", ["\\x6162", None]),
        ([MOMENT], "array(timestamptz)", "array(string)", ["2026-02-28 12:00:00.5+00"]),
        (["2026-02-28T12:00:00.500000"], "array(timestamp)", "array(string)", ["2026-02-28 12:00:00.5"]),
        (["P1DT2H"], "array(interval)", "array(string)", ["1 day 02:00:00"]),
        ("2026-02-28", "date", "timestamp", "2026-02-28T00:00:00"),
        (5, "int64", "decimal(21,2)", "5"),
        (5, "int64", "json", "5"),
    ],
)
def test_values_follow_their_column(value: Any, kind: str, wanted: str, found: Any) -> None:
    """As Postgres casts them, so that rows written before and after a change are alike."""
    assert converted(value, kind, wanted) == found


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("a", "string", "a"),
        ("P1Y2M-3DT4H5M6.789000S", "interval", "1 year 2 mons -3 days +04:05:06.789"),
        ("P1DT7200S", "interval", "1 day 02:00:00"),
        ("P0Y0M0DT0H0M0S", "interval", "00:00:00"),
        ("P-1Y-2M3DT0H0M-0.000001S", "interval", "-1 years -2 mons +3 days -00:00:00.000001"),
        ("P1Y-2M", "interval", "10 mons"),
        ("P1M1W", "interval", "1 mon 7 days"),
        ("PT100H-1M", "interval", "99:59:00"),
        ("P2Y-1D", "interval", "2 years -1 days"),
        ("10:34:56.120000+00:00", "timetz", "10:34:56.12+00"),
        ("10:34:56+05:30", "timetz", "10:34:56+05:30"),
        ("10:34:56-03:00", "timetz", "10:34:56-03"),
        ("10:34:56+00:19:32", "timetz", "10:34:56+00:19:32"),
        ("infinity", "timestamp", "infinity"),
    ],
)
def test_text_is_as_postgres_spells_it(value: str, kind: str, text: str) -> None:
    """Rows that a server casts and rows that come later look alike; texts stay what they are."""
    assert converted(value, kind, "string") == text
