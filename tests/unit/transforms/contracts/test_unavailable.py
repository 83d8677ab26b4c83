"""Placeholders of values that Debezium does not send are told from data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs import Column
from tillstream.configs.schema_evolution import EvolutionPolicy
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.evolving import EvolvingContract
from tillstream.transforms.contracts.unavailable import ANYTHING, Unavailable

PLACEHOLDER = "__debezium_unavailable_value"
# What Debezium 3.3 wrote for columns of these types.
SENT = {
    "string": PLACEHOLDER,
    "bytes": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
    "hstore": '{"__debezium_unavailable_value":"__debezium_unavailable_value"}',
    "map": {PLACEHOLDER: PLACEHOLDER},
    "texts": [PLACEHOLDER],
    "bytes_list": ["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="],
    "ints": list(PLACEHOLDER.encode()),
    "uuids": ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
}


def change(after: dict[str, Any], before: dict[str, Any] | None = None, op: str = "u") -> ChangeRecord:
    """Return a change of a row."""
    rows = [
        None if each is None else json.dumps(each, separators=(",", ":")).encode() for each in (before, after)
    ]
    return ChangeRecord(1, Operation(op), (1,), (1,), 1000, *rows)


def column(name: str, kind: str, *, nullable: bool = True) -> Column:
    """Return a column."""
    return Column(name, kind, nullable)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", SENT["string"]),
        ("decimal", SENT["string"]),
        ("bytes", SENT["bytes"]),
        ("bytes", SENT["string"]),
        ("json", SENT["string"]),
        ("json", SENT["hstore"]),
        ("json", SENT["map"]),
        ("array", SENT["texts"]),
        ("array", SENT["bytes_list"]),
        ("array", SENT["ints"]),
        ("json", SENT["ints"]),
        ("array", SENT["uuids"]),
    ],
)
def test_placeholders_are_unknown(kind: str, value: Any) -> None:
    """Each form that Debezium gives the placeholder is found in a column whose type it is sent for."""
    row, unknown = Unavailable({"id": "int64", "v": kind}).settle(change({"id": 1, "v": value}))
    assert (json.loads(row), unknown) == ({"id": 1, "v": None}, ("v",))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", f"it said {PLACEHOLDER}!"),
        ("string", SENT["bytes"]),
        ("json", json.dumps({"v": PLACEHOLDER})),
        ("array", [PLACEHOLDER, PLACEHOLDER]),
        ("array", list(PLACEHOLDER.encode())[:-1]),
    ],
)
def test_what_merely_contains_one_is_data(kind: str, value: Any) -> None:
    """A placeholder is one as a whole value alone."""
    record = change({"id": 1, "v": value})
    assert Unavailable({"id": "int64", "v": kind}).settle(record) == (record.after, ())


def test_a_snapshot_has_all_values() -> None:
    """What was read from the table is data, whatever it is."""
    record = change({"id": 1, "v": PLACEHOLDER}, op="r")
    assert ANYTHING.settle(record) == (record.after, ())


@pytest.mark.parametrize(
    ("before", "row", "unknown"),
    [
        ({"id": 1, "v": "the long text"}, {"id": 1, "v": "the long text"}, ()),
        ({"id": 1, "v": ""}, {"id": 1, "v": None}, ("v",)),
        ({"id": 1, "v": None}, {"id": 1, "v": None}, ("v",)),
        ({"id": 1, "v": PLACEHOLDER}, {"id": 1, "v": None}, ("v",)),
        ({"id": 1}, {"id": 1, "v": None}, ("v",)),
    ],
)
def test_the_row_before_has_the_value(before: Any, row: Any, unknown: Any) -> None:
    """It is taken from there, unless Debezium made up what stands there."""
    found, names = Unavailable({"id": "int64", "v": "string"}).settle(
        change({"id": 1, "v": PLACEHOLDER}, before)
    )
    assert (json.loads(found), names) == (row, unknown)


def test_columns_that_nobody_asked_for_do_not_matter() -> None:
    """A column that a contract does not name is no reason to refuse a row."""
    record = change({"id": 1, "v": PLACEHOLDER})
    assert Unavailable({"id": "int64"}).known(record) == b'{"id":1,"v":null}'
    with pytest.raises(RecordError, match="found no value of v"):
        ANYTHING.known(record)


def test_numbers_keep_their_digits() -> None:
    """Those beside a placeholder pass as they were."""
    row = b'{"id":9007199254740993,"n":0.12345678901234567890,"v":"__debezium_unavailable_value"}'
    record = ChangeRecord(1, Operation.UPDATE, (1,), (1,), 1000, None, row)
    assert ANYTHING.settle(record)[0] == b'{"id":9007199254740993,"n":0.12345678901234567890,"v":null}'


def test_null_fits_a_column_that_was_not_sent() -> None:
    """Also one that is not nullable, or has rules; never one of the key."""
    contract = CompiledContract(
        "t", [column("id", "int64", nullable=False), column("v", "string", nullable=False)], ["id"]
    )
    assert contract.decode_without(b'{"id":1,"v":null}', ("v",)) == (1, None)
    with pytest.raises(RecordError, match="unavailable_value"):
        contract.decode_without(b'{"id":null,"v":"x"}', ("id",))


def test_a_column_that_evolves_may_be_unknown() -> None:
    """One that the contract lacks is unknown too, whether it was seen before or not."""
    policy = EvolutionPolicy(columns="evolve", types="evolve")
    contract = EvolvingContract("t", [column("id", "int64", nullable=False)], ["id"], policy)
    partial = change({"id": 1, "new": PLACEHOLDER})
    for shape in (("id",), ("id", "new")):
        row, unknown = contract.unavailable.settle(partial)
        values = contract.decode_without(row, unknown)
        assert (values[:1], contract.shape, unknown) == ((1,), shape, ("new",))
        assert contract.decode(b'{"id":2,"new":"text"}') == (2, "text")


def test_a_column_that_is_left_out_may_hold_one() -> None:
    """Where the policy leaves columns out, their placeholders say nothing."""
    policy = EvolutionPolicy(types="evolve")
    contract = EvolvingContract("t", [column("id", "int64", nullable=False)], ["id"], policy)
    row, unknown = contract.unavailable.settle(change({"id": 1, "new": PLACEHOLDER}))
    assert (contract.decode(row), unknown) == ((1,), ())
