"""Each kind of difference is found, and only what a dead letter accounts for is excused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.differential.compare import Letter, Side, differences

TYPES = {"id": "bigint", "version": "bigint", "name": "text"}


def side(*rows: tuple[str, str, str | None], types: dict[str, str] | None = None) -> Side:
    """Return a table with the columns id, version and name."""
    return Side(
        TYPES if types is None else types, {(row[0],): dict(zip(TYPES, row, strict=True)) for row in rows}
    )


def found(source: Side, warehouse: Side | None, *letters: Letter, stray: tuple[str, ...] = ()) -> list[str]:
    """Return the differences as lines."""
    return [str(each) for each in differences("t", source, warehouse, letters, stray)]


def refused(**changes: Any) -> Letter:
    """Return the letter of the change that wrote row 1 last."""
    fields = {
        "table": "t",
        "key": ("1",),
        "version": "5",
        "reason": "contract",
        "detail": "Expected int - at `$.name`",
    }
    return Letter(**{**fields, **changes})


ROW = ("1", "5", "x")


def test_equal_tables_have_no_difference() -> None:
    """Also where one of them has nulls."""
    assert found(side(ROW, ("2", "6", None)), side(("2", "6", None), ROW)) == []


@pytest.mark.parametrize(
    ("warehouse", "line"),
    [
        (None, "table t: missing table: source 1 rows, warehouse null"),
        (side(), "table t, key (1): missing row: source id=1, version=5, name=x, warehouse null"),
        (side(("1", "5", "y")), "table t, key (1), column name: value: source x, warehouse y"),
        (side(("1", "5", None)), "table t, key (1), column name: value: source x, warehouse null"),
        (
            side(ROW, types={**TYPES, "id": "integer"}),
            "table t, column id: type: source bigint, warehouse integer",
        ),
        (
            side(ROW, ("3", "6", "z")),
            "table t, key (3): row too many: source null, warehouse id=3, version=6, name=z",
        ),
    ],
)
def test_each_kind_of_difference_is_found(warehouse: Side | None, line: str) -> None:
    """With table, key, column and both values."""
    assert found(side(ROW), warehouse) == [line]


def test_a_column_that_the_warehouse_lacks_holds_nulls() -> None:
    """Its first value makes it; until then there is nothing to be told apart."""
    bare = Side({"id": "bigint", "version": "bigint"}, {("1",): {"id": "1", "version": "5"}})
    assert found(side(("1", "5", None)), bare) == []
    assert found(side(ROW), bare) == ["table t, key (1), column name: value: source x, warehouse null"]


def test_an_empty_table_need_not_be_there() -> None:
    """The job has heard nothing of it."""
    assert found(side(), None) == []


def test_a_refused_change_is_accounted_for() -> None:
    """Where the table may have such, and the letter is of the change that wrote the row last."""
    assert found(side(ROW), side(), refused(), stray=("name",)) == []
    assert found(side(ROW), side(("1", "4", "w")), refused(), stray=("name",)) == []


@pytest.mark.parametrize(
    "letter",
    [
        refused(version="4"),
        refused(key=("2",)),
        refused(table="other"),
        refused(reason="malformed"),
        refused(reason="unavailable_value"),
        refused(detail="Expected int - at `$.id`"),
    ],
    ids=[
        "of an older change",
        "of another row",
        "of another table",
        "of what no policy refuses",
        "of a large value",
        "of another column",
    ],
)
def test_another_letter_excuses_nothing(letter: Letter) -> None:
    """No blanket excuses."""
    assert found(side(ROW), side(), letter, stray=("name",)) != []


def test_a_large_value_that_is_not_told_is_accounted_for() -> None:
    """Where the table may have such; of other reasons a letter is a difference there too."""
    for reason, count in (("unavailable_value", 0), ("contract", 2)):
        letter = refused(reason=reason)
        assert len(list(differences("t", side(ROW), side(), [letter], unavailable=True))) == count


def test_a_letter_without_a_sentence_is_a_difference() -> None:
    """Who reads it must learn what to do."""
    assert len(found(side(ROW), side(ROW), refused(detail="name"), stray=("name",))) == 1


def test_only_the_type_of_a_stray_column_may_differ() -> None:
    """By policy the warehouse keeps its own type."""
    other = side(ROW, types={**TYPES, "name": "integer"})
    assert found(side(ROW), other, stray=("name",)) == []
    assert len(found(side(ROW), other, stray=("version",))) == 1


def test_a_letter_that_nothing_explains_is_a_difference() -> None:
    """Where all changes can be followed, none may be refused, also when rows are equal."""
    assert found(side(ROW), side(ROW), refused(detail="no int")) == [
        "table t, key (1): dead letter contract: no int: source null, warehouse null"
    ]
