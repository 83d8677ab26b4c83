"""A config says what messages without a schema leave open."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs.handling_checks import check_handling

CONTRACT = {
    "id": "int64",
    "total": {"type": "decimal(12,2)"},
    "at": "timestamp",
    "alarm": "time",
    "rates": "array(decimal(4,2))",
}


def problems(entity: dict[str, Any] | None = None, **events: Any) -> list[str]:
    """Return what is said of a config."""
    entity = {"topic": "t", "contract": CONTRACT} if entity is None else entity
    config = {"source": {"events": events}, "entities": {"orders": entity}}
    return [f"{each.field}: {each.text}" for each in check_handling(config)]


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ({}, []),
        ({"decimal_handling_mode": "double"}, []),
        ({"decimal_handling_mode": "precise"}, ["total", "rates"]),
        ({"time_precision_mode": "connect"}, []),
        ({"time_precision_mode": "adaptive"}, ["at", "alarm"]),
        ({"time_precision_mode": "adaptive_time_microseconds"}, ["at"]),
    ],
)
def test_units_and_scales_are_asked_for(events: dict[str, Any], missing: list[str]) -> None:
    """Each column is named, with what to write."""
    found = problems(**events)
    assert [next(name for name in CONTRACT if f"orders.{name}," in text) for text in found] == missing
    assert all(text.startswith("source.events.columns: found no ") and "{orders: {" in text for text in found)


def test_what_is_given_is_enough() -> None:
    """Then nothing is said."""
    columns = {"orders": {"total": {"scale": 2}, "rates": {"scale": 2}, "at": {"fraction_digits": 0}}}
    modes = {"decimal_handling_mode": "precise", "time_precision_mode": "adaptive_time_microseconds"}
    assert problems(columns=columns, **modes) == []


def test_without_a_contract_no_value_is_known() -> None:
    """Entities that read no topic need none."""
    (found,) = problems({"topic": "t"}, binary_handling_mode="hex")
    assert found.startswith(
        "entities.orders: found no contract, expected one: with source.events.binary_handling_mode"
    )
    assert problems({"from": "others"}, binary_handling_mode="hex") == []


def test_avro_has_no_handling_modes() -> None:
    """Its types are in its schema."""
    (found,) = problems(format="avro", time_precision_mode="adaptive")
    assert (
        found
        == "source.events.time_precision_mode: found it with format avro, expected none: Avro tells its types"
    )


def test_hints_are_for_columns_that_are_there() -> None:
    """Names that are nearly right are told."""
    assert problems(columns={"order": {}}) == [
        "source.events.columns.order: found entity 'order', expected one of orders (did you mean 'orders'?)"
    ]
    (found,) = problems(columns={"orders": {"totl": {}}})
    assert found == (
        "source.events.columns.orders.totl: found column 'totl', expected one of the entity's contract "
        "(did you mean 'total'?)"
    )
