"""Rows are checked and take their wire form in one pass."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.configs import Column, ColumnModel
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract


def contract(**types: str) -> CompiledContract:
    """Return a contract of nullable columns after the key `id`."""
    columns = [Column("id", "int64", nullable=False)]
    columns += [ColumnModel(type=kind).column(name, is_key=False) for name, kind in types.items()]
    return CompiledContract("orders", columns, ["id"])


@pytest.mark.parametrize(
    ("kind", "json_text", "wire"),
    [
        ("bool", "true", True),
        ("int16", "-32768", -32768),
        ("int64", "9223372036854775807", 9223372036854775807),
        ("float64", "1.5", 1.5),
        ("float64", '"Infinity"', float("inf")),
        ("decimal(12,2)", '"129.90"', "129.90"),
        ("decimal(38,4)", "12345678901234567890.1234", "12345678901234567890.1234"),
        ("decimal(12,2)", "129.9", "129.90"),
        ("decimal(12,2)", '"1.5000"', "1.50"),
        ("decimal(12,2)", '"-0.05"', "-0.05"),
        ("decimal(12,2)", "1e2", "100.00"),
        ("decimal(4,2)", '"99.99"', "99.99"),
        ("decimal(2,2)", '"-0.99"', "-0.99"),
        ("decimal(5,0)", "99999", "99999"),
        ("decimal(12,2)", '"NaN"', "NaN"),
        ("string", '"a\\u0000\\n\\\\"', "a\0\n\\"),
        ("bytes", '"AAH/"', b"\0\1\xff"),
        ("date", '"2026-02-28"', "2026-02-28"),
        ("date", '"2026-02-28Z"', "2026-02-28"),
        ("time", '"23:59:59.000001"', "23:59:59.000001"),
        ("time", '"23:59:59Z"', "23:59:59"),
        ("timestamp", '"2026-02-28T01:02:03.000004Z"', "2026-02-28T01:02:03.000004"),
        ("timestamp", '"2026-02-28T01:02:03"', "2026-02-28T01:02:03"),
        (
            "timestamptz",
            '"2026-02-28T01:02:03+02:00"',
            dt.datetime(2026, 2, 27, 23, 2, 3, tzinfo=dt.timezone.utc),
        ),
        ("uuid", '"6F9619FF-8B86-D011-B42D-00CF4FC964FF"', "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("json", '"{\\"a\\":1}"', '{"a":1}'),
        ("json", '{"a":1}', '{"a":1}'),
        ("string", "null", None),
        ("decimal(12,2)", "null", None),
    ],
)
def test_each_type_has_a_wire_form(kind: str, json_text: str, wire: Any) -> None:
    """What Debezium writes for a type becomes the value that sinks expect."""
    assert contract(v=kind).decode(f'{{"id":1,"v":{json_text}}}'.encode()) == (1, wire)


@pytest.mark.parametrize(
    ("kind", "json_text", "told"),
    [
        ("int16", "32768", "$.v"),
        ("int64", '"7"', "Expected `int | null`, got `str` - at `$.v`"),
        ("decimal(12,2)", '"abc"', "$.v"),
        ("decimal(12,2)", '"1.505"', "Expected `decimal(12,2)`, got `1.505` - at `$.v`"),
        ("decimal(12,2)", "1.505", "Expected `decimal(12,2)`, got `1.505` - at `$.v`"),
        ("decimal(12,2)", "0.30000000000000004", "Expected `decimal(12,2)`"),
        ("decimal(4,2)", '"100.00"', "Expected `decimal(4,2)`, got `100.00`"),
        ("decimal(4,2)", "100", "Expected `decimal(4,2)`, got `100`"),
        ("decimal(4,2)", '"99.995"', "Expected `decimal(4,2)`, got `99.995`"),
        ("decimal(5,0)", '"0.5"', "Expected `decimal(5,0)`"),
        ("decimal(12,2)", '"Infinity"', "Expected `decimal(12,2)`, got `Infinity`"),
        ("decimal(12,2)", '"1E+999999999"', "Expected `decimal(12,2)`"),
        ("decimal(12,2)", '"1E-999999999"', "Expected `decimal(12,2)`"),
        ("date", '"2026-02-30"', "$.v"),
        ("date", "20000", "Expected `date`, got `int` - at `$.v`"),
        ("timestamptz", '"2026-02-28T01:02:03"', "Expected an instant with its zone"),
        ("uuid", '"x"', "$.v"),
        ("bool", "1", "$.v"),
    ],
)
def test_a_value_that_does_not_fit_names_its_column_and_rule(kind: str, json_text: str, told: str) -> None:
    """A violation says where, what was found and what was expected."""
    with pytest.raises(RecordError) as caught:
        contract(v=kind).decode(f'{{"id":1,"v":{json_text}}}'.encode())
    assert caught.value.reason == "contract"
    assert told in caught.value.detail


@pytest.mark.parametrize(
    ("kind", "row", "reason"),
    [
        ("string", b'{"id":1,"v":"\xff"}', "malformed"),
        ("timestamptz", b'{"id":1,"v":"0001-01-01T00:00:00+05:00"}', "contract"),
        ("json", b'{"id":1,"v":' + b"[" * 5000 + b"]" * 5000 + b"}", "malformed"),
        ("int64", b'{"id":1,"v":99999999999999999999}', "contract"),
    ],
)
def test_what_no_parser_takes_is_a_record_error(kind: str, row: bytes, reason: str) -> None:
    """Bytes that are no text, times before time, bottomless nesting: data, never a crash."""
    with pytest.raises(RecordError) as caught:
        contract(v=kind).decode(row)
    assert caught.value.reason == reason


def test_a_decimal_without_digits_is_free() -> None:
    """Where the contract names no digits, none are too many."""
    columns = [Column("id", "decimal", nullable=False)]
    value = "12345678901234567890.12345678901234567890"
    assert CompiledContract("t", columns, ["id"]).decode(f'{{"id":"{value}"}}'.encode()) == (value,)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(1, 40), st.integers(0, 40))
def test_a_decimal_arrives_whole_or_not_at_all(value: Decimal, precision: int, scale: int) -> None:
    """What passes equals what came in, and has no more digits than the column."""
    scale = min(scale, precision)
    compiled = contract(v=f"decimal({precision},{scale})")
    scaled = Fraction(value) * 10**scale
    if scaled.denominator == 1 and abs(scaled) < 10**precision:
        (_, wire) = compiled.convert({"id": 1, "v": value})
        assert Decimal(wire) == value
        assert Decimal(wire).as_tuple().exponent == -scale
    else:
        with pytest.raises(RecordError, match="contract"):
            compiled.convert({"id": 1, "v": value})


def test_columns_come_in_the_contracts_order_and_others_are_left_out() -> None:
    """The order of a row's JSON does not matter; a missing nullable column is null."""
    assert contract(a="string", b="string").decode(b'{"z":1,"b":"B","id":1}') == (1, None, "B")


def test_a_key_may_not_be_null() -> None:
    """Columns of the key are required."""
    with pytest.raises(RecordError):
        contract().decode(b'{"id":null}')


def test_python_values_convert_like_json() -> None:
    """Rows that a DoFn makes take the same wire form."""
    row = {
        "id": 1,
        "a": Decimal("1.50"),
        "b": dt.date(2026, 1, 2),
        "c": dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc),
    }
    values = contract(a="decimal(4,2)", b="date", c="timestamptz").convert(row)
    assert values == (1, "1.50", "2026-01-02", dt.datetime(2026, 1, 2, tzinfo=dt.timezone.utc))


def test_names_need_not_be_python_identifiers() -> None:
    """Databases name columns as they like."""
    columns = [Column("order id", "int64", nullable=False), Column("class", "string", nullable=True)]
    compiled = CompiledContract("t", columns, ["order id"])
    assert compiled.decode(b'{"order id":1,"class":"x"}') == (1, "x")
    assert compiled.convert_key({"order id": 3}) == (3,)
