"""Each type is read from what Debezium writes, at its ends too."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from tillstream.configs import Column, ColumnModel
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract

MOMENT = dt.datetime(2026, 2, 28, 10, 34, 56, tzinfo=dt.timezone.utc)


def contract(**types: str) -> CompiledContract:
    """Return a contract of nullable columns after the key `id`."""
    columns = [Column("id", "int64", nullable=False)]
    columns += [ColumnModel(type=kind).column(name, is_key=False) for name, kind in types.items()]
    return CompiledContract("orders", columns, ["id"])


def decoded(kind: str, value: Any) -> Any:
    """Return the wire form of one value."""
    return contract(v=kind).decode(json.dumps({"id": 1, "v": value}).encode())[1]


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        ("interval", "P1Y2M-3DT4H5M6.789S", "P1Y2M-3DT4H5M6.789S"),
        ("interval", "P0Y0M0DT0H0M0S", "P0Y0M0DT0H0M0S"),
        ("interval", "P-1Y-2M3DT0H0M-0.000001S", "P-1Y-2M3DT0H0M-0.000001S"),
        ("timetz", "10:34:56.123456Z", "10:34:56.123456+00:00"),
        ("timetz", "10:34:56+02:00", "10:34:56+02:00"),
        ("decimal", "123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
        ("decimal", "NAN", "NaN"),
        ("decimal", "POSITIVE_INFINITY", "Infinity"),
        ("decimal", "NEGATIVE_INFINITY", "-Infinity"),
        ("decimal", "-Infinity", "-Infinity"),
        ("float64", "-Infinity", float("-inf")),
        ("int64", 9223372036854775807, 9223372036854775807),
        ("date", "+292278994-08-16Z", "infinity"),
        ("date", "+292269055-12-02Z", "-infinity"),
        ("date", "infinity", "infinity"),
        ("timestamp", "+294247-01-10T04:00:25.2Z", "infinity"),
        ("timestamp", "-290308-12-21T19:59:27.6Z", "-infinity"),
        ("timestamptz", "infinity", "infinity"),
        ("timestamptz", "-infinity", "-infinity"),
        ("string", "c    ", "c    "),
        ("bytes", "Fg==", b"\x16"),
        ("array(int32)", [1, None, 3], [1, None, 3]),
        ("array(string)", ['a"b', None, "c,d{}\\", "", "NULL"], ['a"b', None, "c,d{}\\", "", "NULL"]),
        ("array(decimal(10,2))", ["1.5", None], ["1.50", None]),
        ("array(decimal)", ["1.50", 2], ["1.50", "2"]),
        ("array(date)", ["2026-02-28Z"], ["2026-02-28"]),
        ("array(time)", ["12:34:56Z"], ["12:34:56"]),
        ("array(timestamp)", ["2026-02-28T12:34:56Z"], ["2026-02-28T12:34:56"]),
        ("array(timestamptz)", ["2026-02-28T10:34:56.000000Z"], [MOMENT]),
        ("array(bytes)", ["AP8="], [b"\0\xff"]),
        ("array(float64)", [1.5, "NaN", None], [1.5, "NaN", None]),
        ("array(json)", ['{"a": 1}', {"b": [1]}], ['{"a": 1}', '{"b":[1]}']),
        ("array(json)", [[1, 2], [3]], ["[1,2]", "[3]"]),
        ("array(bool)", [], []),
    ],
)
def test_each_type_has_a_wire_form(kind: str, value: Any, wire: Any) -> None:
    """What Debezium 3.3 writes for a value of Postgres becomes what sinks expect; null stays null."""
    assert repr(decoded(kind, value)) == repr(wire)
    assert decoded(kind, None) is None


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("date", "+12026-03-15Z", "of the years 1 to 9999, or infinity, got `+12026-03-15Z` - at `$.v`"),
        ("date", "-0043-03-15Z", "of the years 1 to 9999, or infinity"),
        ("timestamp", "+12026-03-15T12:00:00Z", "Expected `timestamp` of the years 1 to 9999, or infinity"),
        ("timestamptz", "-0043-03-13T12:00:00.000000Z", "Expected `timestamptz` of the years 1 to 9999"),
        ("timestamptz", "soon", "Invalid RFC3339"),
        ("timestamptz", 5, "Expected `datetime"),
        (
            "decimal(10,2)",
            "POSITIVE_INFINITY",
            "Expected `decimal(10,2)`, got `POSITIVE_INFINITY` - at `$.v`",
        ),
        ("decimal", "many", "Expected `decimal`, got `many`"),
        ("interval", "1 day", "Expected `interval` in ISO 8601, such as P1DT2H, got `1 day` - at `$.v`"),
        ("interval", "P", "Expected `interval`"),
        ("interval", 36572706789000, "Expected `interval`"),
        ("timetz", "10:34:56", "Expected a time with its zone"),
        ("array(int32)", [1, "x"], "$.v"),
        ("array(int32)", [[1, 2], [3, 4]], "Expected `int | null`, got `array` - at `$.v[0]`"),
        ("array(int32)", "{1,2}", "Expected `array | null`, got `str` - at `$.v`"),
        ("array(decimal(4,2))", ["100.00"], "Expected `decimal(4,2)`, got `100.00` - at `$.v`"),
        ("int64", 1 << 63, "$.v"),
    ],
)
def test_what_cannot_be_held_is_refused_with_a_sentence(kind: str, value: Any, told: str) -> None:
    """The dead letter names the column, what was found and what was expected."""
    with pytest.raises(RecordError) as caught:
        decoded(kind, value)
    assert caught.value.reason == "contract"
    assert told in caught.value.detail


def test_rows_with_words_for_numbers_stand_beside_others() -> None:
    """One infinite value neither hides nor spoils the rest of its row; a missing key is still missing."""
    found = contract(a="decimal", b="timestamptz", c="int64")
    row = b'{"id":1,"a":"POSITIVE_INFINITY","b":"infinity","c":7}'
    assert found.decode(row) == (1, "Infinity", "infinity", 7)
    assert found.decode_many([row]) is None
    with pytest.raises(RecordError, match="missing required field `id`"):
        found.decode(b'{"a":"POSITIVE_INFINITY"}')


def test_transforms_see_python_values() -> None:
    """Intervals stay ISO 8601, elements of arrays have the types of columns."""
    found = contract(a="array(date)", i="interval", t="timetz").typed(
        b'{"id":1,"a":["2026-02-28Z",null],"i":"P1D","t":"10:00:00Z"}'
    )
    assert found["a"] == [dt.date(2026, 2, 28), None]
    assert found["i"] == "P1D"
    assert found["t"] == dt.time(10, tzinfo=dt.timezone.utc)


def test_transforms_return_python_values() -> None:
    """What a transform returns takes the same form as what a source sends."""
    row = {
        "id": 1,
        "i": dt.timedelta(days=1, hours=2),
        "t": dt.time(1, tzinfo=dt.timezone.utc),
        "a": ["x", None],
    }
    found = contract(i="interval", t="timetz", a="array(string)").convert(row)
    assert found == (1, "P1DT7200S", "01:00:00+00:00", ["x", None])


@pytest.mark.parametrize("kind", ["array", "array(", "array(array(int32))", "array(ints)", "timetz(3)"])
def test_types_that_are_none_are_refused(kind: str) -> None:
    """The message says how a type is spelt."""
    with pytest.raises(ValueError, match="expected"):
        ColumnModel(type=kind)


def test_an_array_has_no_default() -> None:
    """A config spells none, so that nothing could be made of it when the job starts."""
    with pytest.raises(ValueError, match="found a default on an array"):
        ColumnModel(type="array(string)", default="{}")
