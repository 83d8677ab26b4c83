"""Values of Connect's and Debezium's types have one spelling."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from typing import Any

import pytest

from tillstream.io.codecs.connect_types import PLACEHOLDER, Spelling, scaled_text, spelling_of

DEBEZIUM = "io.debezium."
CONNECT = "org.apache.kafka.connect.data."
NESTED = base64.b64encode(b"\x01\x02").decode()


def _bytes(unscaled: int) -> bytes:
    return unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)


def _json(value: Any) -> Any:
    """Return a plain value as JsonConverter gives it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _json(each) for name, each in value.items()}
    return [_json(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("connect_type", "name", "value", "kind", "spelt"),
    [
        ("int32", DEBEZIUM + "time.Date", 20512, "date", "2026-02-28Z"),
        ("int32", CONNECT + "Date", -1, "date", "1969-12-31Z"),
        ("int32", DEBEZIUM + "time.Time", 45_000_120, "time", "12:30:00.12Z"),
        ("int32", CONNECT + "Time", 0, "time", "00:00:00Z"),
        ("int64", DEBEZIUM + "time.MicroTime", 86_400_000_000, "time", "24:00:00Z"),
        ("int64", DEBEZIUM + "time.MicroTime", 86_399_999_999, "time", "23:59:59.999999Z"),
        ("int64", DEBEZIUM + "time.NanoTime", 1, "time", "00:00:00.000000001Z"),
        ("int64", DEBEZIUM + "time.Timestamp", 1_500, "timestamp", "1970-01-01T00:00:01.5Z"),
        ("int64", CONNECT + "Timestamp", -1, "timestamp", "1969-12-31T23:59:59.999Z"),
        ("int64", DEBEZIUM + "time.MicroTimestamp", -1, "timestamp", "1969-12-31T23:59:59.999999Z"),
        ("int64", DEBEZIUM + "time.NanoTimestamp", 10**9 + 1, "timestamp", "1970-01-01T00:00:01.000000001Z"),
        ("int32", DEBEZIUM + "time.Date", 2_932_897, "date", "+10000-01-01Z"),
        ("int32", DEBEZIUM + "time.Date", -719_529, "date", "-0001-12-31Z"),
        ("int64", DEBEZIUM + "time.MicroTimestamp", 9_223_372_036_825_200_000, "timestamp", "infinity"),
        ("int64", DEBEZIUM + "time.MicroDuration", 93_784_500_000, "interval", "PT93784.5S"),
        ("int64", DEBEZIUM + "time.MicroDuration", -500_000, "interval", "PT-0.5S"),
        ("int64", DEBEZIUM + "time.NanoDuration", 1, "interval", "PT0.000000001S"),
        (
            "struct",
            DEBEZIUM + "data.VariableScaleDecimal",
            {"scale": 2, "value": _bytes(-5)},
            "decimal",
            "-0.05",
        ),
        (
            "struct",
            DEBEZIUM + "data.VariableScaleDecimal",
            {"scale": -2, "value": _bytes(12)},
            "decimal",
            "1200",
        ),
        (
            "struct",
            DEBEZIUM + "data.geometry.Point",
            {"x": 1.0, "y": 2.0, "wkb": b"\x01\x02"},
            "bytes",
            NESTED,
        ),
        ("struct", DEBEZIUM + "data.geometry.Geometry", {"srid": 4326, "wkb": b"\x01\x02"}, "bytes", NESTED),
    ],
)
def test_semantic_types(connect_type: str, name: str, value: Any, kind: str, spelt: Any) -> None:
    """The schema's name tells what a number or struct means; both forms of it have one spelling."""
    found = spelling_of(connect_type, name)
    assert found.kind == kind
    assert found.spell is not None
    assert found.respell is not None
    assert _json(found.spell(value)) == spelt
    assert found.respell(_json(value)) == spelt


@pytest.mark.parametrize(
    ("connect_type", "name", "kind"),
    [
        ("int8", None, "int16"),
        ("int16", None, "int16"),
        ("int32", None, "int32"),
        ("int64", None, "int64"),
        ("boolean", None, "bool"),
        ("bytes", None, "bytes"),
        ("bytes", DEBEZIUM + "data.Bits", "bytes"),
        ("string", None, "string"),
        ("string", DEBEZIUM + "data.Enum", "string"),
        ("string", DEBEZIUM + "data.EnumSet", "string"),
        ("string", DEBEZIUM + "data.Ltree", "string"),
        ("string", DEBEZIUM + "data.Xml", "string"),
        ("string", DEBEZIUM + "data.Json", "json"),
        ("string", DEBEZIUM + "data.Uuid", "uuid"),
        ("string", DEBEZIUM + "time.IsoDate", "date"),
        ("string", DEBEZIUM + "time.IsoTime", "time"),
        ("string", DEBEZIUM + "time.IsoTimestamp", "timestamp"),
        ("string", DEBEZIUM + "time.ZonedTime", "timetz"),
        ("string", DEBEZIUM + "time.ZonedTimestamp", "timestamptz"),
        ("string", DEBEZIUM + "time.Interval", "interval"),
        ("int32", DEBEZIUM + "time.Year", "int32"),
    ],
)
def test_types_whose_json_is_their_spelling(connect_type: str, name: str | None, kind: str) -> None:
    """Such values stay as they are."""
    assert spelling_of(connect_type, name) == Spelling(kind)


@pytest.mark.parametrize(
    ("value", "spelt"), [(float("nan"), "NaN"), (float("-inf"), "-Infinity"), (1.5, 1.5)]
)
def test_numbers_that_json_has_no_numerals_for(value: float, spelt: Any) -> None:
    """They are text, as JsonConverter writes them."""
    for connect_type, kind in (("float", "float32"), ("double", "float64"), ("float64", "float64")):
        found = spelling_of(connect_type)
        assert (found.kind, found.respell) == (kind, None)
        assert found.spell is not None
        assert found.spell(value) == spelt


@pytest.mark.parametrize(
    ("parameters", "kind"),
    [
        ({"scale": "2", "connect.decimal.precision": "12"}, "decimal(12,2)"),
        ({"scale": "2", "__debezium.source.column.length": "9"}, "decimal(9,2)"),
        ({"scale": "4", "connect.decimal.precision": "2"}, "decimal(4,4)"),
        ({"scale": "-2", "connect.decimal.precision": "3"}, "decimal(5,0)"),
        ({"scale": "2"}, "decimal"),
        ({"scale": "0", "connect.decimal.precision": "131089"}, "decimal"),
    ],
)
def test_decimals_tell_their_digits(parameters: dict[str, str], kind: str) -> None:
    """Precision comes from the parameters that a connector adds; without them there is no bound."""
    found = spelling_of("bytes", CONNECT + "Decimal", parameters)
    assert found.kind == kind


def test_decimals_are_exact_in_all_their_forms() -> None:
    """Unscaled bytes, their base64, numbers and decimals give the same digits."""
    found = spelling_of("bytes", CONNECT + "Decimal", {"scale": "3"})
    assert found.spell is not None
    assert found.respell is not None
    unscaled = -(10**40) - 1
    text = "-1" + "0" * 36 + "0.001"
    assert found.spell(_bytes(unscaled)) == found.spell(Decimal(text)) == text
    assert found.respell(_json(_bytes(unscaled))) == found.respell(Decimal(text)) == text
    assert found.respell(Decimal("1.5E+3")) == "1500"


@pytest.mark.parametrize(
    ("unscaled", "scale", "text"),
    [
        (0, 0, "0"),
        (5, 3, "0.005"),
        (-5, 3, "-0.005"),
        (-12345, 2, "-123.45"),
        (7, -2, "700"),
        (100, 2, "1.00"),
    ],
)
def test_scaled_digits(unscaled: int, scale: int, text: str) -> None:
    """All digits of the scale are written, and no exponent."""
    assert scaled_text(unscaled, scale) == text


def test_decimals_of_many_digits() -> None:
    """Postgres has decimals of more digits than Python likes to write, and no more than so many."""
    assert scaled_text(10**6000, 6000) == "1." + "0" * 6000
    with pytest.raises(ValueError, match="a scale of 999999999"):
        scaled_text(1, 999_999_999)


@pytest.mark.parametrize(
    ("length", "scale", "kind"),
    [("12", "2", "decimal(12,2)"), (None, None, "decimal"), ("131089", "0", "decimal")],
)
def test_texts_of_decimals_tell_their_digits(length: str | None, scale: str | None, kind: str) -> None:
    """With decimal.handling.mode=string the type is in the source's own description, where it is sent."""
    given = {"type": "numeric", "length": length, "scale": scale}
    parameters = {f"__debezium.source.column.{name}": each for name, each in given.items() if each}
    assert spelling_of("string", None, parameters).kind == kind


def test_arrays_hold_what_their_items_are() -> None:
    """Items are spelt one by one; nulls stay."""
    days = spelling_of("array", None, None, spelling_of("int32", DEBEZIUM + "time.Date"))
    assert days.kind == "array(date)"
    assert days.respell is not None
    assert days.respell([0, None, 1]) == ["1970-01-01Z", None, "1970-01-02Z"]
    nested = spelling_of("array", None, None, days)
    assert nested.kind == "array(json)"
    assert nested.respell is not None
    assert nested.respell([[0], None]) == ['["1970-01-01Z"]', None]


@pytest.mark.parametrize("value", [[PLACEHOLDER], list(PLACEHOLDER.encode())])
def test_an_array_that_was_not_sent_is_its_placeholder(value: list[Any]) -> None:
    """Debezium wraps it in an array, or in an array of its bytes."""
    found = spelling_of("array", None, None, spelling_of("int64"))
    assert found.respell is not None
    assert found.respell(value) == PLACEHOLDER


def test_maps_and_structs_are_texts_of_json() -> None:
    """An hstore is one, whichever way it comes."""
    hstore = spelling_of("map", None, None, spelling_of("string"))
    assert hstore.kind == "json"
    assert hstore.respell is not None
    assert json.loads(hstore.respell({"a": "1", "b": None})) == {"a": "1", "b": None}
    assert hstore.respell({PLACEHOLDER: PLACEHOLDER}) == PLACEHOLDER
    assert json.loads(hstore.respell([[1, "x"]])) == [[1, "x"]]
    made = spelling_of("struct", "acme.Place", None, None, [("day", spelling_of("int32", CONNECT + "Date"))])
    assert made.respell is not None
    assert json.loads(made.respell({"day": 0, "share": Decimal("1.50")})) == {
        "day": "1970-01-01Z",
        "share": 1.5,
    }


@pytest.mark.parametrize(
    ("connect_type", "name", "value"),
    [
        ("int32", DEBEZIUM + "time.Date", True),
        ("int64", DEBEZIUM + "time.Timestamp", 1.5),
        ("int64", DEBEZIUM + "time.MicroDuration", {}),
        ("bytes", CONNECT + "Decimal", "no base64"),
        ("bytes", CONNECT + "Decimal", Decimal("1E+999999999")),
        ("struct", DEBEZIUM + "data.VariableScaleDecimal", {"value": NESTED}),
        ("struct", DEBEZIUM + "data.geometry.Point", {"wkb": 1}),
        ("array", None, "text"),
    ],
)
def test_what_is_no_such_value_raises(connect_type: str, name: str | None, value: Any) -> None:
    """A codec makes a dead letter of it."""
    found = spelling_of(connect_type, name)
    assert found.respell is not None
    with pytest.raises((ValueError, TypeError, LookupError, OverflowError)):
        found.respell(value)
