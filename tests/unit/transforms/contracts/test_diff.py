"""Whether a contract may follow another is told by what readers do with rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.configs import Column, ColumnModel
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.diff import PLACES, compare, keyless, verdict_of


def columns(**given_: Any) -> list[Column]:
    """Return columns of config models, after the key `id`."""
    models = {name: ColumnModel.model_validate(each) for name, each in given_.items()}
    return [
        Column("id", "int64", nullable=False, key=True),
        *(model.column(name, is_key=False) for name, model in models.items()),
    ]


NEVER = {"nullable": False}


def ruled(**rules: Any) -> dict[str, Any]:
    """Return a column of whole numbers that keep rules."""
    return {"type": "int64", "rules": rules}


@pytest.mark.parametrize(
    ("old", "new", "place", "verdict"),
    [
        ({}, {"v": "string"}, "rows", "full"),
        ({}, {"v": {"type": "string", **NEVER}}, "rows", "forward"),
        ({}, {"v": {"type": "string", "default": "x", **NEVER}}, "rows", "full"),
        ({}, {"v": {"type": "string", **NEVER}}, "postgres", "full"),
        ({"v": {"type": "string", **NEVER}}, {}, "rows", "backward"),
        ({"v": "int32"}, {"v": "int64"}, "rows", "backward"),
        ({"v": "int64"}, {"v": "int32"}, "rows", "forward"),
        ({"v": "int64"}, {"v": "float64"}, "rows", "none"),
        ({"v": "int64"}, {"v": "float64"}, "avro", "backward"),
        ({"v": "int64"}, {"v": "float64"}, "postgres", "none"),
        ({"v": "int32"}, {"v": "int64"}, "postgres", "full"),
        ({"v": "uuid"}, {"v": "string"}, "rows", "backward"),
        ({"v": "uuid"}, {"v": "string"}, "avro", "full"),
        ({"v": "decimal(4,2)"}, {"v": "string"}, "rows", "none"),
        ({"v": "decimal(4,2)"}, {"v": "string"}, "kafka", "backward"),
        ({"v": "string"}, {"v": "json"}, "rows", "none"),
        ({"v": "bool"}, {"v": "json"}, "rows", "backward"),
        ({"v": "decimal(12,2)"}, {"v": "decimal(14,2)"}, "parquet", "backward"),
        ({"v": "decimal(12,2)"}, {"v": "decimal(14,3)"}, "parquet", "none"),
        ({"v": "decimal(12,2)"}, {"v": "decimal(14,3)"}, "rows", "backward"),
        ({"v": "bool"}, {"v": "int32"}, "kafka", "none"),
        ({"v": "string"}, {"v": {"type": "string", **NEVER}}, "rows", "forward"),
        ({"v": "string"}, {"v": {"type": "string", **NEVER}}, "parquet", "full"),
        ({"v": "int64"}, {"v": {"type": "int64", "rules": {"ge": 0}}}, "rows", "forward"),
        ({"v": "int64"}, {"v": {"type": "int64", "rules": {"ge": 0}}}, "avro", "full"),
        ({"v": ruled(ge=5)}, {"v": ruled(ge=0)}, "rows", "backward"),
        ({"v": ruled(gt=0)}, {"v": ruled(ge=0)}, "rows", "backward"),
        ({"v": ruled(ge=0)}, {"v": ruled(gt=0)}, "rows", "forward"),
        ({"v": ruled(lt=5)}, {"v": ruled(le=9)}, "rows", "backward"),
        ({"v": ruled(le=5)}, {"v": ruled(ge=5)}, "rows", "none"),
        ({"v": ruled(multiple_of=4)}, {"v": ruled(multiple_of=2)}, "rows", "backward"),
        ({"v": ruled(one_of=[1, 2])}, {"v": ruled(one_of=[1, 2, 3])}, "rows", "backward"),
        ({"v": {"type": "int64", "unit": "EUR"}}, {"v": {"type": "int64", "unit": "USD"}}, "rows", "none"),
        ({"v": {"type": "int64"}}, {"v": {"type": "int64", "pii": "salary"}}, "rows", "full"),
        ({"v": "int64"}, {"v": "int64"}, "rows", "full"),
    ],
)
def test_each_change_has_its_verdict(old: Any, new: Any, place: str, verdict: str) -> None:
    """Backward: new readers read old rows; forward: old readers read new ones."""
    assert str(verdict_of(compare(columns(**old), columns(**new), [place]), place)) == verdict


def test_a_change_of_the_key_is_compatible_with_nothing() -> None:
    """Rows would be told apart by something else."""
    keyed = [
        Column("id", "int64", nullable=False, key=True),
        Column("line", "int32", nullable=False, key=True),
    ]
    plain = [keyed[0], Column("line", "int32", nullable=False)]
    for place in PLACES:
        assert str(verdict_of(compare(keyed, plain, [place]), place)) == "none"
        assert str(verdict_of(compare(keyed, keyed[:1], [place]), place)) == "none"


def test_keys_are_not_compared_with_what_knows_of_none() -> None:
    """A schema file may say nothing of them."""
    assert (
        compare([Column("id", "int64", nullable=False, key=True)], [Column("id", "int64", nullable=False)])
        == []
    )


def test_a_key_column_goes_or_comes_whatever_the_other_side_marks() -> None:
    """Nobody tells rows apart without it, also where one contract knows of no keys."""
    keyed = [Column("id", "int64", nullable=False, key=True), Column("v", "string", nullable=True)]
    keyless_ = [Column("v", "string", nullable=True)]
    for place in PLACES:
        assert str(verdict_of(compare(keyed, keyless_, [place]), place)) == "none"
        assert str(verdict_of(compare(keyless_, keyed, [place]), place)) == "none"


def test_the_contract_that_marks_no_key_is_told() -> None:
    """Whoever reads the verdict knows what it leaves out."""
    keyed, plain = [Column("id", "int64", nullable=False, key=True)], [Column("id", "int64", nullable=False)]
    assert keyless(keyed, keyed) == ()
    assert keyless(keyed, plain) == ("new",)
    assert keyless(plain, plain) == ("old", "new")


_RULES = st.fixed_dictionaries(
    {},
    optional={"ge": st.integers(-3, 3), "lt": st.integers(-3, 3), "multiple_of": st.integers(1, 4)},
)
_SIDES = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["int16", "int32", "float64", "string", "decimal(4,1)", "decimal(6,2)", "bool", "json"]
        )
    },
    optional={"nullable": st.booleans()},
)


def _ruled(side: dict[str, Any], rules: dict[str, int]) -> dict[str, Any]:
    takes = side["type"].startswith("int")
    return {**side, "rules": rules} if takes and rules else side


@settings(deadline=None)
@given(st.none() | _SIDES, st.none() | _SIDES, _RULES, _RULES, st.integers(-70_000, 70_000) | st.none())
def test_no_row_belies_a_verdict(
    old: dict[str, Any] | None, new: dict[str, Any] | None, first: Any, second: Any, number: int | None
) -> None:
    """Where `backward` is told, what the old contract lets pass the new one does."""
    before = columns(**({} if old is None else {"v": _ruled(old, first)}))
    after = columns(**({} if new is None else {"v": _ruled(new, second)}))
    readers = [CompiledContract("t", each, ["id"]) for each in (before, after)]
    verdict = verdict_of(compare(before, after), "rows")
    for holds, writer, reader in ((verdict.backward, *readers), (verdict.forward, *readers[::-1])):
        for value in (
            b"null",
            b'"text"',
            b"true",
            b'"1.5"',
            b"1.5",
            b"" if number is None else b"%d" % number,
        ):
            row = b'{"id":1,"v":%b}' % value if value else b'{"id":1}'
            try:
                writer.decode(row)
            except RecordError:
                continue
            # What a contract lacks, it promises nothing of.
            if holds and "v" in writer.columns:
                reader.decode(row)
