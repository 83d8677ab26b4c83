"""Changes of one row in one transaction become one, also where some lack columns."""

from __future__ import annotations

from typing import Any

import pytest

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
