"""Changes of one row in one transaction become one, also where some lack columns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.io.sinks.postgres_partial import NoRowError, Partial, by_unknown, histories
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord

COLUMNS = ("id", "a", "b", "c")


def step(values: tuple[Any, ...] | None, *unknown: str) -> MutationBatch:
    """Return a batch of one change of row 1."""
    kind = MutationKind.DELETE if values is None else MutationKind.UPSERT
    row = None if values is None else (1, *values)
    record = MutationRecord(kind, (1,), row, (5,), 1000, 5)
    return MutationBatch("acme", "t", 0, "t", 0, COLUMNS, ("id",), (record,), unknown=unknown)


def last(*steps: MutationBatch) -> MutationRecord:
    """Return what the row becomes."""
    return histories(steps, lambda key: key)[1,][-1][2]


@pytest.mark.parametrize(
    ("steps", "values", "unknown"),
    [
        ([step((1, 2, 3))], (1, 1, 2, 3), None),
        ([step((1, 2, 3)), step((9, None, 8), "b")], (1, 9, 2, 8), None),
        ([step((1, None, 3), "b")], (1, 1, None, 3), ("b",)),
        ([step((1, None, 3), "b"), step((2, 5, None), "c")], (1, 2, 5, 3), None),
        ([step((1, None, None), "b", "c"), step((2, None, 7), "b")], (1, 2, None, 7), ("b",)),
        ([step((1, None, 3), "b"), step((2, None, None), "b", "c")], (1, 2, None, 3), ("b",)),
        ([step((1, None, 3), "b"), step(None)], None, None),
        ([step((1, None, 3), "b"), step((4, 5, 6))], (1, 4, 5, 6), None),
        ([step(None), step((1, None, 3), "b"), step((1, 2, None), "c")], (1, 1, 2, 3), None),
    ],
)
def test_changes_fold(steps: list[MutationBatch], values: Any, unknown: Any) -> None:
    """The newest value of each column holds, and what no change brought is the table's."""
    found = last(*steps)
    assert found.values == values
    assert (found.unknown if isinstance(found, Partial) else None) == unknown


def test_a_row_that_was_deleted_before_is_not_the_tables() -> None:
    """What lacks columns after a delete can not be written over whatever the table has."""
    found = last(step(None), step((1, None, 3), "b"))
    assert isinstance(found, Partial)
    with pytest.raises(NoRowError, match="no row in the table"):
        by_unknown([found])


def table_after(start: dict[str, Any] | None, steps: list[MutationBatch]) -> dict[str, Any] | None:
    """Return the table's row as the sink leaves it: the last of the folded changes that it takes."""
    for _, _, made in reversed(histories(steps, lambda key: key).get((1,), ())):
        if made.values is None:
            return None
        row = dict(zip(COLUMNS[1:], made.values[1:], strict=True))
        if not isinstance(made, Partial):
            return row
        if not made.is_orphan and start is not None:
            return {**row, **{name: start[name] for name in made.unknown}}
    return start


_CHANGE = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(COLUMNS[1:]), st.integers(0, 9), min_size=1, max_size=3)
)


@given(is_there=st.booleans(), changes=st.lists(_CHANGE, max_size=6))
def test_a_transaction_leaves_what_its_changes_one_by_one_would(
    *, is_there: bool, changes: list[dict[str, int] | None]
) -> None:
    """The row is the last one of which all columns are known, from the table or from earlier changes."""
    start = dict.fromkeys(COLUMNS[1:], 100) if is_there else None
    row: dict[str, Any] = dict(start or {})
    expected = start
    steps = []
    for change in changes:
        row = {} if change is None else {**row, **change}
        if change is None or len(row) == len(COLUMNS) - 1:
            expected = None if change is None else dict(row)
        values = None if change is None else tuple(change.get(name) for name in COLUMNS[1:])
        steps.append(
            step(values, *(name for name in COLUMNS[1:] if change is not None and name not in change))
        )
    assert table_after(start, steps) == expected
