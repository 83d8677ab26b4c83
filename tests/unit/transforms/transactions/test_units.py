"""Rows of several shares become batches that sinks take."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.io.sinks.postgres_sweep import settled
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.transforms.transactions.units import units

from .test_gatherer import Event, batch, row


def test_units_never_cut_a_group_and_join_what_fits() -> None:
    """Rows of one place and one form become one batch; what was given back stays a batch of its own."""
    one, two = (row(Event("", 0, "a", n, n)) for n in (1, 2))
    header = batch("a", 0, 0, [])
    given = batch("a", 0, 0, [])
    back = MutationBatch(*[getattr(given, name) for name in given.__struct_fields__[:8]], via=("r", 0, 1, 0))
    found = list(units([[(header, (one,))], [(header, (two,)), (back, (one,)), (header, (two,))]]))
    assert [[len(each.records) for each in unit] for unit in found] == [[2, 1, 1]]
    large = [[(header, (one,) * 6000)], [(header, (two,) * 9000)], [(header, (one,))]]
    assert [[len(each.records) for each in unit] for unit in units(large)] == [[15000], [1]]


def truncate(offset: int) -> MutationRecord:
    """Return a truncate."""
    return MutationRecord(MutationKind.TRUNCATE, (), None, (offset,), offset, offset)


@pytest.mark.parametrize("kinds", ["TR", "RT", "TRT", "RRTRRT", "TT"])
@pytest.mark.parametrize("shares_group", [True, False])
def test_a_truncate_is_alone_in_its_batch(kinds: str, shares_group: Any) -> None:
    """Sinks rely on it; rows are joined on either side of it, and none across."""
    header = batch("a", 0, 0, [])
    rows = [
        (header, (truncate(n) if kind == "T" else row(Event("", 0, "a", n, n)),))
        for n, kind in enumerate(kinds)
    ]
    (unit,) = units([rows] if shares_group else [[each] for each in rows])
    found = [[(record.kind.name[0], record.offset) for record in each.records] for each in unit]
    wanted = [[("T" if kind == "T" else "U", n)] for n, kind in enumerate(kinds)]
    for n in range(len(kinds) - 1, 0, -1):
        if kinds[n - 1 : n + 1] == "RR":
            wanted[n - 1] += wanted.pop(n)
    assert found == wanted
    left, truncates = settled(unit)
    assert len(truncates) == kinds.count("T")
    behind = kinds[kinds.rindex("T") + 1 :]
    assert sum(len(each.records) for each in left) == len(behind)
