"""Rows that waited in a savepoint are written under the contract of the launch that writes them."""

from __future__ import annotations

import msgspec

from tillstream.configs import Entity
from tillstream.io.sinks.older_contract import ContractOfNow

from .builders import batch, delete, entity, upsert


def now(*, evolving: bool = False) -> ContractOfNow:
    """Return a contract of id, name and note."""
    things = entity(id="int64", name="string", note="string")
    if evolving:
        things = Entity.model_validate(
            {
                **things.model_dump(by_alias=True, exclude_unset=True),
                "schema_evolution": {"columns": "evolve"},
            }
        )
    return ContractOfNow({"things": things, "free": entity()})


def test_what_this_launch_made_is_left_alone() -> None:
    """It is the same object, and so is what has no contract, or columns beyond it that evolved."""
    own = batch("id name note", upsert(1, "a", "b"))
    assert now().of(own) is own
    free = batch("id more", upsert(1, "a"), entity="free")
    assert now().of(free) is free
    evolved = batch("id name note more", upsert(1, "a", "b", "c"))
    assert now(evolving=True).of(evolved) is evolved


def test_a_column_that_is_new_is_null() -> None:
    """As in all rows from before; deletes have no columns."""
    older = batch("id name", upsert(1, "a"), delete(2))
    assert now().of(older) == batch("id name note", upsert(1, "a", None), delete(2))


def test_a_column_that_is_gone_is_left_out() -> None:
    """Though the row has it."""
    older = batch("id old name note", upsert(1, "x", "a", "b"))
    assert now().of(older) == batch("id name note", upsert(1, "a", "b"))


def test_values_follow_their_columns() -> None:
    """A contract in another order takes each value by its name: by its place it would be another one's."""
    older = batch("note id name", upsert("b", 1, "a"))
    (record,) = now().of(older).records
    assert record.values == (1, "a", "b")


def test_what_evolved_stays_behind_the_contract() -> None:
    """Unless the contract has it now."""
    older = batch("id name more note", upsert(1, "a", "c", "b"))
    older = msgspec.structs.replace(older, evolved=(("more", "string"), ("note", "string")))
    found = now(evolving=True).of(older)
    assert (found.columns, found.records[0].values) == (("id", "name", "note", "more"), (1, "a", "b", "c"))
