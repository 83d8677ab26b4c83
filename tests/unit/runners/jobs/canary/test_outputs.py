"""What a side wrote is brought into the form in which sides are compared."""

from __future__ import annotations

from typing import Any

from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.runners.jobs.canary.outputs import KEPT, Output, changes_of, made_of, rows_of

UPSERT, DELETE, TRUNCATE = MutationKind.UPSERT, MutationKind.DELETE, MutationKind.TRUNCATE


def record(offset: int, key: int, amount: str | None, kind: MutationKind = UPSERT) -> MutationRecord:
    """Return a mutation whose place in the source is its offset; without an amount of no row."""
    values = None if amount is None else (key, amount)
    return MutationRecord(kind, () if kind is TRUNCATE else (key,), values, (0, offset, 1, offset), 0, offset)


def batch(*records: MutationRecord, **changes: Any) -> MutationBatch:
    """Return a batch of sales."""
    return MutationBatch("acme", "sales", 3, "t", 0, ("id", "amount"), ("id",), records, **changes)


def rows(*batches: MutationBatch) -> list[tuple[str, Any, Any]]:
    """Return operation, key and row of what each key ends as."""
    return [(each.operation, each.key, each.row) for each in rows_of(batches).values()]


def test_of_a_key_the_newest_row_stands() -> None:
    """In whatever order and in how many batches the changes come: an older one changes nothing."""
    expected = [("upsert", {"id": 7}, {"id": 7, "amount": "2"})]
    assert rows(batch(record(1, 7, "1"), record(2, 7, "2"))) == expected
    assert rows(batch(record(2, 7, "2")), batch(record(1, 7, "1"))) == expected


def test_a_delete_is_what_a_row_ends_as() -> None:
    """It is there to be compared with, though there is no row."""
    assert rows(batch(record(1, 7, "1"), record(2, 7, None, DELETE))) == [("delete", {"id": 7}, None)]


def test_a_truncate_deletes_older_rows_alone() -> None:
    """Newer ones stay, and the truncate itself is compared."""
    found = rows(batch(record(1, 7, "1"), record(9, 8, "9")), batch(record(5, 0, None, TRUNCATE)))
    assert found == [
        ("delete", {"id": 7}, None),
        ("upsert", {"id": 8}, {"id": 8, "amount": "9"}),
        ("truncate", {}, None),
    ]


def test_a_value_that_was_not_sent_is_the_one_before() -> None:
    """Where there is none in what was written the row keeps it, whatever it is."""
    later = batch(record(2, 7, "x"), unknown=("amount",))
    assert rows(later) == [("upsert", {"id": 7}, {"id": 7, "amount": KEPT})]
    assert rows(batch(record(1, 7, "1")), later) == [("upsert", {"id": 7}, {"id": 7, "amount": "1"})]


def test_each_mutation_is_one() -> None:
    """Those of one key too, and those of one identity that are written twice."""
    found = changes_of([batch(record(1, 7, "1"), record(2, 7, "2")), batch(record(2, 7, "2"))])
    assert [each.row and each.row["amount"] for each in found.values()] == ["1", "2", "2"]
    assert next(iter(found.values())) == Output(
        "upsert", {"id": 7}, {"id": 7, "amount": "1"}, ("t", 0, 1, 0), next(iter(found.values())).position
    )


def test_what_waited_in_the_savepoint_is_left_out() -> None:
    """The running version made it; what is made again of older changes is the new one's all the same."""
    batches = [batch(record(4, 7, "1"), record(5, 7, "2"))]
    assert [[each.offset for each in one.records] for one in made_of(batches, {("t", 0): 5})] == [[5]]
    again = [batch(record(4, 7, "1"), derived=True), batch(record(4, 7, "1"), via=("replay", 0, 1, 0))]
    assert list(made_of(again, {("t", 0): 5})) == again
