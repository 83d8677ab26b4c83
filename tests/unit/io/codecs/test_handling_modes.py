"""Messages without a schema are spelt by the connector's handling modes and the entity's contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs.contract import column_of
from tillstream.configs.events import Events
from tillstream.io.codecs.handling_modes import spelling_by_modes
from tillstream.pipelines.errors import RecordError


def _respelt(kind: str, value: Any, modes: dict[str, Any], hint: dict[str, Any] | None = None) -> Any:
    events = Events.model_validate({**modes, "columns": {"orders": {"c": hint or {}}}})
    spelling = spelling_by_modes("orders", [column_of("c", kind)], events)
    assert spelling is not None
    return json.loads(spelling.respell(json.dumps({"c": value, "other": 1}).encode()))["c"]


@pytest.mark.parametrize(
    ("mode", "digits", "kind", "value", "spelt"),
    [
        ("adaptive", 3, "timestamp", 1_500, "1970-01-01T00:00:01.5Z"),
        ("adaptive", 4, "timestamp", 1_500, "1970-01-01T00:00:00.0015Z"),
        ("adaptive", 7, "timestamp", 1_500, "1970-01-01T00:00:00.0000015Z"),
        ("adaptive", 0, "time", 1_500, "00:00:01.5Z"),
        ("adaptive", 6, "time", 1_500, "00:00:00.0015Z"),
        ("adaptive", None, "date", 1, "1970-01-02Z"),
        ("adaptive_time_microseconds", None, "time", 1_500, "00:00:00.0015Z"),
        ("adaptive_time_microseconds", 3, "timestamp", 1_500, "1970-01-01T00:00:01.5Z"),
        ("connect", None, "timestamp", 1_500, "1970-01-01T00:00:01.5Z"),
        ("connect", None, "time", 1_500, "00:00:01.5Z"),
        ("microseconds", None, "timestamp", 1_500, "1970-01-01T00:00:00.0015Z"),
        ("nanoseconds", None, "time", 1_500, "00:00:00.0000015Z"),
        ("connect", None, "date", "2026-02-28Z", "2026-02-28Z"),
        ("connect", None, "array(date)", [1, None], ["1970-01-02Z", None]),
    ],
)
def test_units_of_time(mode: str, digits: int | None, kind: str, value: Any, spelt: Any) -> None:
    """The mode tells the unit, or the column's digits where it is adaptive."""
    assert _respelt(kind, value, {"time_precision_mode": mode}, {"fraction_digits": digits}) == spelt


@pytest.mark.parametrize(
    ("mode", "scale", "value", "spelt"),
    [
        ("precise", 2, "AJY=", "1.50"),
        ("precise", 0, "/w==", "-1"),
        ("precise", None, {"scale": 1, "value": "Dw=="}, "1.5"),
        ("precise", 2, 1, "1"),
        ("double", None, 1.5, "1.5"),
        ("double", None, 1e21, "1000000000000000000000"),
        ("double", None, "NaN", "NaN"),
    ],
)
def test_decimals(mode: str, scale: int | None, value: Any, spelt: str) -> None:
    """Base64 needs the column's scale; objects and numbers tell theirs."""
    assert _respelt("decimal(12,2)", value, {"decimal_handling_mode": mode}, {"scale": scale}) == spelt


@pytest.mark.parametrize(("mode", "value"), [("hex", "fbff"), ("base64-url-safe", "-_8=")])
def test_bytes(mode: str, value: str) -> None:
    """They become base64 of the usual alphabet."""
    assert _respelt("bytes", value, {"binary_handling_mode": mode}) == "+/8="


def test_intervals_and_maps() -> None:
    """Microseconds become a duration, and an hstore's object a text, as JSON columns are."""
    assert _respelt("interval", 1_500_000, {"interval_handling_mode": "numeric"}) == "PT1.5S"
    assert _respelt("json", {"a": None}, {"hstore_handling_mode": "map"}) == '{"a":null}'
    assert _respelt("json", '{"a": 1}', {"hstore_handling_mode": "map"}) == '{"a": 1}'


def test_the_texts_of_debezium_need_nothing() -> None:
    """With the default modes rows are not even looked at."""
    kinds = ("decimal(12,2)", "timestamp", "bytes", "interval", "json", "date", "array(time)")
    columns = [column_of(f"c{place}", kind) for place, kind in enumerate(kinds)]
    assert spelling_by_modes("orders", columns, Events()) is None


@pytest.mark.parametrize(
    ("kind", "value", "modes"),
    [
        ("timestamp", {"a": 1}, {"time_precision_mode": "connect"}),
        ("timestamp", 1.5, {"time_precision_mode": "connect"}),
        ("bytes", "xyz", {"binary_handling_mode": "hex"}),
        ("bytes", 1, {"binary_handling_mode": "base64-url-safe"}),
        ("decimal(12,2)", [1], {"decimal_handling_mode": "double"}),
    ],
)
def test_what_does_not_fit_names_its_column(kind: str, value: Any, modes: dict[str, Any]) -> None:
    """The dead letter says what was found, where, and what was expected."""
    with pytest.raises(RecordError) as caught:
        _respelt(kind, value, modes)
    assert caught.value.reason == "malformed"
    assert f"in column c, expected {kind}" in caught.value.detail


def test_a_numbers_digits_survive() -> None:
    """Numbers of columns that are not respelt are not read at all; those that are keep all digits."""
    events = Events(decimal_handling_mode="double")
    spelling = spelling_by_modes("orders", [column_of("c", "decimal(40,20)")], events)
    assert spelling is not None
    row = b'{"c":12345678901234567890.01234567890123456789,"other":1.000000000000000000001}'
    assert spelling.respell(row) == (
        b'{"c":"12345678901234567890.01234567890123456789","other":1.000000000000000000001}'
    )
