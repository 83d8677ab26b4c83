"""What a truncate in one transaction with rows leaves of them."""

from __future__ import annotations

import pytest

from tillstream.io.sinks.postgres_sweep import settled
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord, Position

GTID_TRUNCATE = (0, 1, 30, 7, 500, 1, 0)


def batch(kind: MutationKind, position: Position) -> MutationBatch:
    """Return a batch of one mutation."""
    values = (1,) if kind is MutationKind.UPSERT else None
    key = (1,) if values else ()
    record = MutationRecord(kind, key, values, position, 1000, 1)
    return MutationBatch("acme", "orders", 0, "t", 0, ("id",), ("id",), (record,))


@pytest.mark.parametrize(
    ("position", "truncate", "count"),
    [
        ((0, 20, 1, 20), (0, 30, 1, 30), 0),
        ((0, 40, 1, 40), (0, 30, 1, 30), 1),
        # A snapshot read of MySQL has no GTID: its place in the log tells.
        ((0, 0, 7, 600, 0, 0), GTID_TRUNCATE, 1),
        ((0, 0, 7, 400, 0, 0), GTID_TRUNCATE, 0),
    ],
)
def test_older_rows_of_the_transaction_are_left_out(
    position: Position, truncate: Position, count: int
) -> None:
    """Newer ones are written behind it."""
    parts = settled([batch(MutationKind.UPSERT, position), batch(MutationKind.TRUNCATE, truncate)])
    assert [sum(len(each.records) for each in part) for part in parts] == [count, 1]
