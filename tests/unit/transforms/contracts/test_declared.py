"""Columns have the types that messages declare, whatever their values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs import ColumnModel
from tillstream.configs.schema_evolution import EvolutionPolicy
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.evolving import EvolvingContract

EVOLVE = EvolutionPolicy("evolve", "evolve")
TYPES: dict[str, Any] = {
    "id": "int64",
    "n": "int16",
    "price": "decimal(4,2)",
    "name": {"type": "string", "nullable": False},
    "note": {"type": "string", "nullable": False, "default": "none"},
}
ROW = {"id": 1, "n": 2, "price": "1.50", "name": "a", "note": "b"}
SCHEMA = (("id", "int64"), ("n", "int16"), ("price", "decimal(4,2)"), ("name", "string"), ("note", "string"))


def contract(policy: EvolutionPolicy = EVOLVE, *names: str) -> EvolvingContract:
    """Return a contract of all columns, or of some."""
    columns = [
        ColumnModel.model_validate(kind).column(name, is_key=name == "id")
        for name, kind in TYPES.items()
        if not names or name in names
    ]
    return EvolvingContract("things", columns, ["id"], policy)


def decoded(found: CompiledContract, row: dict[str, Any]) -> dict[str, Any]:
    """Return the wire form of a row, by column."""
    values = found.decode(json.dumps(row).encode())  # which may change the shape
    return dict(zip(found.shape, values, strict=True))


@pytest.mark.parametrize(
    ("kind", "value", "wire"),
    [
        ("decimal(10,2)", "1.5", "1.50"),
        ("decimal", "1.5", "1.5"),
        ("int16", 5, 5),
        ("float64", 5, 5.0),
        ("date", "2026-02-28Z", "2026-02-28"),
        ("uuid", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        ("bytes", "AP8=", b"\0\xff"),
        ("json", '{"a": 1}', '{"a": 1}'),
        ("interval", "P1D", "P1D"),
        ("array(string)", ["a", None], ["a", None]),
        ("decimal(10,2)", None, None),
    ],
)
def test_a_new_column_has_its_declared_type(kind: str, value: Any, wire: Any) -> None:
    """From its first row on, a null one too, and all rows pass in one go."""
    found = contract()
    found.declare((*SCHEMA, ("new", kind)))
    row = json.dumps({**ROW, "new": value}).encode()
    assert found.evolved == (("new", f"{kind} declared"),)
    assert found.decode_many([row, row]) == [(1, 2, "1.50", "a", "b", wire)] * 2


def test_what_is_not_declared_is_typed_by_its_values_beside_what_is() -> None:
    """A field that a connector's transform adds without telling its schema changes no other column's type."""
    found = contract()
    found.declare((*SCHEMA, ("new", "decimal(10,2)")))
    assert decoded(found, {**ROW, "new": "1.5", "extra": 7}) == {**ROW, "new": "1.50", "extra": 7}
    assert found.evolved == (("new", "decimal(10,2) declared"), ("extra", "int64"))


def test_a_client_that_names_its_key_alone_gets_every_column() -> None:
    """With the types that the source has them in."""
    found = contract(EVOLVE, "id")
    found.declare(SCHEMA)
    assert decoded(found, ROW) == ROW
    assert dict(found.evolved) == {name: f"{kind} declared" for name, kind in SCHEMA[1:]}


def test_declared_columns_that_the_policy_leaves_out_cost_nothing() -> None:
    """They are known before the first row that has them."""
    found = contract(EvolutionPolicy("discard_value", "evolve"))
    found.declare((*SCHEMA, ("new", "json")))
    assert found.decode_many([json.dumps({**ROW, "new": [1]}).encode()]) == [(1, 2, "1.50", "a", "b")]
    refusing = contract(EvolutionPolicy("discard_row"))
    refusing.declare((*SCHEMA, ("new", "json")))
    with pytest.raises(RecordError, match="found column 'new', which the contract lacks"):
        decoded(refusing, {**ROW, "new": None})


def test_a_contracts_numbers_widen_by_what_is_declared() -> None:
    """Before a value asks for it; narrower declarations change nothing."""
    found = contract()
    found.declare((("id", "int32"), ("n", "int64"), ("price", "decimal(6,3)"), *SCHEMA[3:]))
    assert found.evolved == (("n", "int64 declared"), ("price", "decimal(6,3) declared"))
    assert decoded(found, {**ROW, "n": 1 << 40, "price": "123.456"})["price"] == "123.456"


def test_a_retyped_column_that_is_not_widened_is_refused_with_both_types() -> None:
    """What the contract says of it is not what the source declares: a person decides."""
    found = contract()
    found.declare((("id", "int64"), ("n", "string"), *SCHEMA[2:]))
    told = "the source declares it as string, and the contract as int16, which is not widened to it"
    with pytest.raises(RecordError, match=told) as caught:
        decoded(found, {**ROW, "n": "five"})
    assert caught.value.reason == "contract"
    assert decoded(contract(EvolutionPolicy("evolve", "discard_value")), {**ROW, "n": "five"})["n"] is None
    frozen = contract(EvolutionPolicy("evolve", "freeze"))
    with pytest.raises(SchemaFrozenError, match="column 'n' that is no int16"):
        decoded(frozen, {**ROW, "n": "five"})


def test_a_column_of_no_contract_takes_any_new_type() -> None:
    """Sinks find the type that holds both; the batch says what its own rows have."""
    found = contract(EVOLVE, "id")
    for kind, value in (("int32", 5), ("string", "five"), ("date", "2026-02-28")):
        found.declare((("id", "int64"), ("v", kind)))
        assert found.evolved == (("v", f"{kind} declared"),)
        assert decoded(found, {"id": 1, "v": value})["v"] == value


def test_a_dropped_column_is_null_from_then_on() -> None:
    """One that evolved stays, with its type, until it comes back."""
    found = contract(EVOLVE, "id")
    found.declare((("id", "int64"), ("v", "int32")))
    found.declare((("id", "int64"),))
    assert decoded(found, {"id": 1}) == {"id": 1, "v": None}
    assert found.evolved == (("v", "int32 declared"),)


def test_a_required_column_that_is_dropped_may_be_null_where_columns_evolve() -> None:
    """Sinks hear of it, until it is there again; its default goes before null."""
    found = contract()
    found.declare(SCHEMA[:3])
    assert found.decode_many([b'{"id":1,"n":2,"price":"1.50"}']) == [(1, 2, "1.50", None, "none")]
    assert decoded(found, {"id": 1, "n": 2, "price": "1.50"}) == {
        "id": 1,
        "n": 2,
        "price": "1.50",
        "name": None,
        "note": "none",
    }
    assert found.evolved == (("name", "string null"),)
    found.declare(SCHEMA)
    assert found.evolved == ()
    with pytest.raises(RecordError, match="Expected `str`, got `null`"):
        decoded(found, {**ROW, "name": None})


@pytest.mark.parametrize("declares", [True, False])
def test_a_dropped_column_is_a_matter_of_policy(*, declares: bool) -> None:
    """Without evolve the row is refused, or the job stops; with schemas and without."""
    row = {"id": 1, "n": 2, "price": "1.50", "note": "b"}
    schema = tuple(each for each in SCHEMA if each[0] != "name") if declares else ()
    for policy in (EvolutionPolicy("discard_row"), EvolutionPolicy("discard_value", "evolve")):
        found = contract(policy)
        found.declare(schema)
        with pytest.raises(RecordError, match="missing required field `name`"):
            decoded(found, row)
    frozen = contract(EvolutionPolicy("freeze"))
    frozen.declare(schema)
    with pytest.raises(SchemaFrozenError, match="found no column 'name', which the contract requires"):
        decoded(frozen, row)
    evolving = contract()
    evolving.declare(schema)
    assert decoded(evolving, row)["name"] is None


def test_a_renamed_column_is_one_that_goes_and_one_that_comes() -> None:
    """Nothing tells that they are the same."""
    found = contract(EVOLVE, "id")
    found.declare((("id", "int64"), ("old", "int32")))
    found.declare((("id", "int64"), ("new", "int32")))
    assert decoded(found, {"id": 1, "new": 5}) == {"id": 1, "old": None, "new": 5}


@pytest.mark.parametrize("name", ["_source_time", "_source_position", "_event_id", "_row_id", "_copy", "a b"])
def test_names_of_the_sinks_own_columns_are_refused(name: str) -> None:
    """With a sentence that says what to do, as a dead letter; left out, they do no harm."""
    found = contract()
    found.declare((*SCHEMA, (name, "int64")))
    with pytest.raises(RecordError, match=r"whose name no column of a sink may have, because .*: rename it"):
        decoded(found, {**ROW, name: 1})
    discarding = contract(EvolutionPolicy("discard_value", "evolve"))
    discarding.declare((*SCHEMA, (name, "int64")))
    assert decoded(discarding, {**ROW, name: 1}) == ROW


def test_schema_after_restore() -> None:
    """What was learnt is learnt again from the first batch: flink-cdc PR 3364 decoded by the older schema."""
    before = contract(EVOLVE, "id")
    before.declare((("id", "int64"), ("a", "int32")))
    before.declare((("id", "int64"), ("b", "date"), ("a", "int32")))
    restored = contract(EVOLVE, "id")
    restored.declare((("id", "int64"), ("b", "date"), ("a", "int32")))
    row = {"id": 1, "b": "2026-02-28Z", "a": 5}
    assert decoded(restored, row) == decoded(before, row)
    # The source went on while the job was down: the older schema was never seen.
    gone = contract(EVOLVE, "id")
    gone.declare((("id", "int64"), ("c", "string")))
    assert decoded(gone, {"id": 1, "c": "x"}) == {"id": 1, "c": "x"}


def test_batches_of_two_schemas_may_alternate() -> None:
    """Partitions are read at different speeds: each batch is decoded by its own schema."""
    found = contract(EVOLVE, "id")
    old, new = (("id", "int64"), ("v", "int32")), (("id", "int64"), ("v", "string"))
    for _ in range(2):
        found.declare(old)
        assert decoded(found, {"id": 1, "v": 5})["v"] == 5
        found.declare(new)
        assert decoded(found, {"id": 1, "v": "x"})["v"] == "x"


def test_without_a_schema_what_is_known_stays() -> None:
    """Dead letters come back from stores that keep no schema."""
    found = contract(EVOLVE, "id")
    found.declare((("id", "int64"), ("v", "decimal(10,2)")))
    found.declare(())
    assert decoded(found, {"id": 1, "v": "1.5"}) == {"id": 1, "v": "1.50"}


def test_columns_are_bounded() -> None:
    """A table of more columns than a sink takes keeps the first ones; a row with a further one is refused."""
    found = contract(EVOLVE, "id")
    found.declare((("id", "int64"), *((f"c{number}", "int32") for number in range(600))))
    assert len(found.evolved) == 500
    with pytest.raises(RecordError, match="beside 500 that evolved"):
        decoded(found, {"id": 1, "c599": 1})
