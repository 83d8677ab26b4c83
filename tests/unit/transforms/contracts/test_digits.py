"""No digit of a row is lost in silence."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.unit.transforms.contracts.test_wire import MOMENT, contract, decoded
from tillstream.configs import Column
from tillstream.configs.schema_evolution import SchemaEvolution, policy_of
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.evolving import contract_for

TOLD = (
    "found nanoseconds, expected at most microseconds: make the column a `string` to keep all digits "
    "- at `$.v`"
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("time", "23:59:59.9999999Z"),
        ("timetz", "12:00:00.000000001+02:00"),
        ("timestamp", "2026-12-31T23:59:59.9999999"),
        ("timestamp", "9999-12-31T23:59:59.999999999Z"),
        ("timestamptz", "2026-02-28T10:34:56.123456700Z"),
        ("array(time)", [None, "12:00:00.0000001"]),
        ("array(timestamp)", ["2026-02-28T12:00:00", "2026-02-28T12:00:00.1234567Z"]),
        ("array(timestamptz)", ["2026-02-28T12:00:00.1234567Z"]),
    ],
)
def test_nanoseconds_are_refused_and_not_rounded(kind: str, value: Any) -> None:
    """Rounding would carry into the next second, or day; whichever way the row is read."""
    found = contract(v=kind)
    row = msgspec.json.encode({"id": 1, "v": value})
    for read in (found.decode, found.typed, found.typed_loosely):
        with pytest.raises(RecordError) as caught:
            read(row)
        assert (caught.value.reason, caught.value.detail) == ("contract", TOLD)
    assert found.decode_many([b'{"id":2}', row]) is None
    with pytest.raises(RecordError, match="found nanoseconds"):
        found.convert({"id": 1, "v": value})


def test_a_key_of_nanoseconds_is_refused() -> None:
    """Deletes find their row by it."""
    found = CompiledContract("orders", [Column("at", "timestamp", nullable=False)], ["at"])
    with pytest.raises(RecordError, match="found nanoseconds"):
        found.convert_key({"at": "2026-02-28T12:00:00.1234567"})


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        ("time", "23:59:59.999999000Z", "23:59:59.999999"),
        ("timestamp", "2026-12-31T23:59:59.9999990", "2026-12-31T23:59:59.999999"),
        ("timestamptz", "2026-02-28T10:34:56.000000000Z", MOMENT),
        ("string", "2026-12-31T23:59:59.999999999", "2026-12-31T23:59:59.999999999"),
    ],
)
def test_zeros_lose_nothing(kind: str, value: Any, wire: Any) -> None:
    """They are cut, and texts stay what they are; so do those beside a time."""
    assert decoded(kind, value) == wire
    row = msgspec.json.encode({"id": 1, "v": value, "note": "12:00:00.1234567", "at": None})
    assert contract(v=kind, note="string", at="timestamp").decode(row)[1:3] == (wire, "12:00:00.1234567")


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        ("json", b'{"a":1.23456789012345678901}', '{"a":1.23456789012345678901}'),
        ("json", b"[1.10,-0.0,1e400]", "[1.10,-0.0,1e400]"),
        ("json", b"1.00000000000000000001", "1.00000000000000000001"),
        ("json", b"123456789012345678901234567890", "123456789012345678901234567890"),
        ("array(json)", b'[{"a":0.12345678901234567890}]', ['{"a":0.12345678901234567890}']),
    ],
)
def test_numbers_inside_of_json_keep_their_digits(kind: str, value: bytes, wire: Any) -> None:
    """As a source without text for its documents sends them; beside an infinite value too."""
    row = b'{"id":1,"v":%b,"d":1.5}' % value
    found = contract(v=kind, d="decimal")
    assert found.decode(row)[1:] == (wire, "1.5")
    assert found.decode_many([row]) == [(1, wire, "1.5")]
    rare = contract(v=kind, d="decimal", e="decimal")
    assert rare.decode(row[:-1] + b',"e":"POSITIVE_INFINITY"}')[1:] == (wire, "1.5", "Infinity")


def test_transforms_see_floats_inside_of_json() -> None:
    """Python's own numbers, as before."""
    assert contract(v="json").typed(b'{"id":1,"v":[1.5]}')["v"] == [1.5]
    assert (
        contract(v="json").convert({"id": 1, "v": {"a": [1.5, Decimal("1.10")]}})[1] == '{"a":[1.5,"1.10"]}'
    )


def test_json_that_evolves_keeps_its_digits() -> None:
    """A number that is none for Python's decimals makes a dead letter at most."""
    policy = policy_of(SchemaEvolution(), SchemaEvolution.model_validate({"columns": "evolve"}))
    found = contract_for("orders", [Column("id", "int64", nullable=False)], ["id"], policy)
    assert found.decode(b'{"id":1,"v":{"a":1.23456789012345678901}}') == (1, '{"a":1.23456789012345678901}')
    with pytest.raises(RecordError):
        found.decode(b'{"id":1,"w":1e99999999999999999999}')
