"""Rows that outgrow a contract are treated as the policy says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.configs import ColumnModel
from tillstream.configs.schema_evolution import EntityEvolution, EvolutionPolicy, SchemaEvolution, policy_of
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.evolving import EvolvingContract, contract_for

TYPES = {"id": "int64", "n": "int16", "price": "decimal(4,2)", "name": {"type": "string", "nullable": False}}
COLUMNS = [ColumnModel.model_validate(kind).column(name, is_key=name == "id") for name, kind in TYPES.items()]
ROW = {"id": 1, "n": 2, "price": "1.50", "name": "a"}


def contract(**policy: Any) -> EvolvingContract:
    """Return a contract under a policy."""
    return EvolvingContract("things", COLUMNS, ["id"], EvolutionPolicy(**policy))


def decoded(found: CompiledContract, **changes: Any) -> dict[str, Any]:
    """Return the wire form of a row, by column."""
    values = found.decode(json.dumps({**ROW, **changes}).encode())
    return dict(zip(found.shape, values, strict=True))


def test_the_default_is_a_plain_contract() -> None:
    """Nothing is looked for where nothing unusual is asked for."""
    policy = policy_of(SchemaEvolution(), None)
    assert type(contract_for("things", COLUMNS, ["id"], policy)) is CompiledContract
    own = EntityEvolution(columns="evolve", by_column={"a": "freeze"})
    client = SchemaEvolution(types="freeze", by_column={"a": "evolve", "b": "evolve"})
    assert policy_of(client, own) == EvolutionPolicy("evolve", "freeze", {"a": "freeze", "b": "evolve"})


def test_a_new_column_is_typed_by_its_first_value() -> None:
    """Null tells no type; rows that lack the column later have null in its place."""
    found = contract(columns="evolve")
    assert "new" not in decoded(found, new=None)
    assert decoded(found, new=True)["new"] is True
    assert found.evolved == (("new", "bool"),)
    assert decoded(found)["new"] is None
    assert found.columns == tuple(TYPES)


@pytest.mark.parametrize(
    ("values", "kind", "last"),
    [
        ([1, 2], "int64", 2),
        ([1, 1.5], "float64", 1.5),
        ([1.5, 1], "float64", 1.0),
        (["a", 1], "json", "1"),
        ([1, "a"], "json", '"a"'),
        ([True, 1], "json", "1"),
        ([{"a": [1]}], "json", '{"a":[1]}'),
        ([1 << 70], "json", str(1 << 70)),
        (["1"], "string", "1"),
    ],
)
def test_values_of_other_types_widen_it(values: list[Any], kind: str, last: Any) -> None:
    """The type that holds all of them is the narrowest; json holds everything."""
    found = contract(columns="evolve")
    wires = [decoded(found, new=value)["new"] for value in values]
    assert found.evolved == (("new", kind),)
    assert wires[-1] == last
    many = found.decode_many([json.dumps({**ROW, "new": values[-1]}).encode()])
    assert many == [(1, 2, "1.50", "a", last)]


def test_learnt_columns_are_fast() -> None:
    """What was seen once is compiled: rows then pass in one go, until another thing is new."""
    found = contract(columns="evolve")
    rows = [json.dumps({**ROW, "new": number}).encode() for number in range(3)]
    assert found.decode_many(rows) is None
    found.decode(rows[0])
    assert found.decode_many(rows) == [(1, 2, "1.50", "a", number) for number in range(3)]
    assert found.decode_many([*rows, b'{"id":1,"name":"a","newer":1}']) is None


def test_columns_that_are_left_out_are_learnt_too() -> None:
    """Those whose every value is null, and those that the policy leaves out: rows pass in one go."""
    found = contract(columns="evolve", by_column={"noise": "discard_value"})
    row = json.dumps({**ROW, "empty": None, "noise": [1]}).encode()
    assert found.decode_many([row]) is None
    assert found.decode(row) == (1, 2, "1.50", "a")
    assert found.decode_many([row, row]) == [(1, 2, "1.50", "a")] * 2
    assert found.typed(row)["name"] == "a"
    assert decoded(found, empty=1) == {**ROW, "empty": 1}


@pytest.mark.parametrize(
    ("changes", "evolved", "wire"),
    [
        ({"n": 40_000}, (("n", "int32"),), {"n": 40_000}),
        ({"n": 1 << 40}, (("n", "int64"),), {"n": 1 << 40}),
        ({"price": "123.45"}, (("price", "decimal(5,2)"),), {"price": "123.45"}),
        ({"price": "0.125"}, (("price", "decimal(5,3)"),), {"price": "0.125"}),
        ({"price": 12345.678}, (("price", "decimal(8,3)"),), {"price": "12345.678"}),
        ({"price": "1E+3"}, (("price", "decimal(6,2)"),), {"price": "1000.00"}),
    ],
)
def test_types_evolve_where_no_value_changes(changes: Any, evolved: Any, wire: Any) -> None:
    """Whole numbers get more bits, decimals more digits."""
    found = contract(types="evolve")
    assert decoded(found, **changes) == {**ROW, **wire}
    assert found.evolved == evolved


@pytest.mark.parametrize(
    "changes", [{"n": 1.5}, {"n": "2"}, {"n": 1 << 64}, {"price": "abc"}, {"name": 7}, {"id": 1 << 64}]
)
@pytest.mark.parametrize("policy", ["evolve", "discard_row"])
def test_other_values_are_refused_as_ever(changes: Any, policy: str) -> None:
    """A float for whole numbers would lose digits, a text for numbers sorts otherwise."""
    found = contract(types=policy, columns="evolve")
    with pytest.raises(RecordError) as caught:
        decoded(found, **changes)
    assert caught.value.reason == "contract"


def test_values_are_discarded_where_null_fits() -> None:
    """Where it does not, the row is refused."""
    found = contract(types="discard_value")
    assert decoded(found, n="x", price="y") == {**ROW, "n": None, "price": None}
    assert found.evolved == ()
    with pytest.raises(RecordError, match=r"got `int` - at `\$\.name`"):
        decoded(found, name=7)


def test_rows_with_new_columns_can_be_discarded() -> None:
    """The dead letter's reason is the schema; single columns have policies of their own."""
    found = contract(columns="discard_row", by_column={"noise": "discard_value", "promo": "evolve"})
    assert decoded(found, noise=1) == ROW
    assert decoded(found, promo="x") == {**ROW, "promo": "x"}
    with pytest.raises(RecordError) as caught:
        decoded(found, other=1)
    assert caught.value.reason == "schema"
    assert "'other'" in caught.value.detail


def test_a_frozen_contract_stops_the_job() -> None:
    """The error names entity, column and what to do."""
    for found, changes in ((contract(columns="freeze"), {"new": 1}), (contract(types="freeze"), {"n": "x"})):
        assert decoded(found) == ROW
        with pytest.raises(SchemaFrozenError, match=r"entity 'things': found .*freeze: write .*by_column"):
            decoded(found, **changes)
    assert decoded(contract(types="freeze", by_column={"n": "discard_value"}), n="x") == {**ROW, "n": None}


@pytest.mark.parametrize("name", ["", "_op", "a b", "x" * 64, 'a"; --'])
def test_names_that_no_sink_takes_are_refused(name: str) -> None:
    """A source's names never reach a statement unlooked at."""
    with pytest.raises(RecordError) as caught:
        decoded(contract(columns="evolve"), **{name: 1})
    assert caught.value.reason == "schema"


def test_columns_are_bounded() -> None:
    """A source that writes data into names does not fill a table with columns."""
    found = contract(columns="evolve")
    decoded(found, **{f"c{number}": 1 for number in range(500)})
    with pytest.raises(RecordError, match="beside 500"):
        decoded(found, one_more=1)


def test_a_transforms_input_has_what_evolved() -> None:
    """Columns that have a value, with what JSON they hold; digits of numbers are kept."""
    found = contract(columns="evolve", types="evolve")
    row = b'{"id":1,"price":12345678901234567890.12,"name":"a","new":{"a":1}}'
    typed = found.typed(row)
    assert typed["new"] == {"a": 1}
    assert str(typed["price"]) == "12345678901234567890.12"
    assert "new" not in found.typed(json.dumps(ROW).encode())


_VALUES = (
    st.none() | st.booleans() | st.integers(-(1 << 40), 1 << 40) | st.floats(-9, 9) | st.text(max_size=3)
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(["a", "b"]), _VALUES), max_size=6))
def test_no_order_of_rows_loses_a_value(rows: list[dict[str, Any]]) -> None:
    """Each value is delivered, as itself or as the JSON that it is; nulls are null."""
    found = contract(columns="evolve")
    for row in rows:
        wire = decoded(found, **row)
        kinds = dict(found.evolved)
        for name, value in row.items():
            if value is None:
                assert wire.get(name) is None
            else:
                assert (json.loads(wire[name]) if kinds[name] == "json" else wire[name]) == value
