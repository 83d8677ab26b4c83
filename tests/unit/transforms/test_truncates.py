"""Truncates and the rows around them may come in any order, over batches, partitions and restarts."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation, Position
from tillstream.transforms.deduplicate import By, Deduplicated, Deduplicator, Entry
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import Flow
from tillstream.transforms.shard_state import ShardMemory

HORIZON_US = 1000


def at(lsn: int, kind: int = 1) -> Position:
    """Return a position as Postgres has it."""
    return (0, lsn, kind, lsn)


def change(offset: int, position: Position, key: int = 1, *, time_us: int = 5000) -> ChangeRecord:
    """Return an upsert of a row."""
    row = b'{"at":%d}' % (position[1] if position else 0)
    return ChangeRecord(offset, Operation.UPDATE, (key,), position, time_us, None, row)


def truncate(offset: int, position: Position, *, time_us: int = 5000) -> ChangeRecord:
    """Return a truncate."""
    return ChangeRecord(offset, Operation.TRUNCATE, (), position, time_us, None, None)


class Reader:
    """Give records to a deduplicator one by one, each from a partition of its own, with restarts between."""

    def __init__(self, by: By = "position") -> None:
        self.deduplicator = Deduplicator(by, HORIZON_US)
        self.state = FakeState()
        self.dropped: dict[str, int] = {}

    def keep(self, record: ChangeRecord, *, entity: str = "orders", partition: int = 0) -> Deduplicated:
        """Return what becomes of a record."""
        shard = ShardMemory[Entry](HORIZON_US, Entry).open(b"s0", self.state.cell, self.state.bag)
        batch = ChangeBatch("acme", entity, 0, f"shop.{entity}", partition, ("id",), (record,))
        result = self.deduplicator.keep(batch, shard)
        shard.commit()
        for reason, count in result.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        return result

    def readmits(self, record: ChangeRecord) -> bool:
        """Tell whether a change that a person gives back is taken."""
        shard = ShardMemory[Entry](HORIZON_US, Entry).open(b"s0", self.state.cell, self.state.bag)
        batch = ChangeBatch("acme", "orders", 0, "shop.orders", 0, ("id",), (record,))
        return self.deduplicator.readmit(batch, shard) is not None

    def standing(self, record: ChangeRecord, flows: list[Flow]) -> list[str]:
        """Return the targets that take a change which a person gives back."""
        shard = ShardMemory[Entry](HORIZON_US, Entry).open(b"s0", self.state.cell, self.state.bag)
        batch = ChangeBatch("acme", "orders", 0, "shop.orders", 0, ("id",), (record,))
        return [flow.target for flow in self.deduplicator.standing(batch, shard, flows)]


EVENTS = (
    change(0, at(10), 1),
    change(0, at(20), 2),
    truncate(0, at(30)),
    change(0, at(40), 2),
    change(0, at(50), 3),
)


@pytest.mark.parametrize("order", list(permutations(range(5))), ids=str)
def test_any_order_ends_in_the_same_rows(order: tuple[int, ...]) -> None:
    """However partitions interleave, rows from before the truncate are gone and later ones stay."""
    reader, rows = Reader(), dict[Any, bytes | None]()
    for number in order:
        result = reader.keep(EVENTS[number], partition=number)
        for record in result.records:
            if record.operation is not Operation.TRUNCATE:
                rows[record.key] = record.after
        for key in result.truncated:
            del rows[key]
    assert rows == {(2,): b'{"at":40}', (3,): b'{"at":50}'}


def test_a_row_that_nobody_knew_is_stale_behind_a_truncate() -> None:
    """A change from before a truncate is dropped, also where its key was never seen."""
    reader = Reader()
    reader.keep(truncate(0, at(30)))
    assert reader.keep(change(1, at(20), 7)).records == []
    assert reader.dropped == {"stale": 1}


def test_a_truncate_names_the_rows_that_it_deletes_in_one_order() -> None:
    """Rows that are there are named, sorted; deleted and newer ones are not."""
    reader = Reader()
    for offset, key in enumerate((9, 3, 5, 7)):
        reader.keep(change(offset, at(10 + offset), key))
    reader.keep(ChangeRecord(4, Operation.DELETE, (5,), at(20), 5000, None, None))
    reader.keep(change(5, at(40), 7))
    result = reader.keep(truncate(6, at(30)))
    assert result.truncated == [(3,), (9,)]
    assert [record.position for record in result.records] == [at(30)]


def test_a_repeated_truncate_does_nothing() -> None:
    """The same truncate again, and an older one, are dropped; a newer one is kept."""
    reader = Reader()
    kept = [
        len(reader.keep(truncate(offset, at(lsn))).records) for offset, lsn in enumerate((30, 30, 20, 40))
    ]
    assert kept == [1, 0, 0, 1]
    assert reader.dropped == {"duplicate": 1, "stale": 1}


def test_a_row_that_comes_again_is_new() -> None:
    """A snapshot read of a row that a truncate had deleted is kept, though it is as it was."""
    reader = Reader()
    reader.keep(ChangeRecord(0, Operation.SNAPSHOT, (1,), at(10, 0), 5000, None, b"{}"))
    reader.keep(truncate(1, at(30)))
    again = ChangeRecord(2, Operation.SNAPSHOT, (1,), at(40, 0), 5000, None, b"{}")
    assert reader.keep(again).records == [again]


def test_a_row_that_is_newer_by_its_place_in_the_log_gets_a_position_that_says_so() -> None:
    """MySQL's snapshots have no GTID, so they compare lower than all that has one, in sinks too."""
    reader = Reader()
    reader.keep(truncate(0, (0, 1, 30, 7, 500, 1, 0)))
    read = ChangeRecord(1, Operation.SNAPSHOT, (1,), (0, 0, 7, 600, 0, 0), 5000, None, b"{}")
    (found,) = reader.keep(read).records
    assert found.position == (0, 1, 30, 7, 600, 0, 0)
    older = ChangeRecord(2, Operation.SNAPSHOT, (2,), (0, 0, 7, 400, 0, 0), 5000, None, b"{}")
    assert reader.keep(older).records == []
    assert reader.keep(read).records == []
    assert reader.dropped == {"stale": 1, "duplicate": 1}


def test_entities_are_apart() -> None:
    """A truncate of one entity says nothing of another."""
    reader = Reader()
    reader.keep(change(0, at(10)), entity="items")
    assert reader.keep(truncate(0, at(30))).truncated == []
    assert len(reader.keep(change(1, at(20), 2), entity="items").records) == 1


def test_a_truncate_is_remembered_for_one_horizon() -> None:
    """Behind the horizon a truncate is forgotten, as rows are."""
    reader = Reader()
    reader.keep(truncate(0, at(30), time_us=5000))
    reader.keep(change(1, at(50), 2, time_us=5000 + HORIZON_US))
    assert reader.keep(change(2, at(20), 3)).records == []
    reader.keep(change(3, at(60), 2, time_us=5001 + HORIZON_US))
    assert len(reader.keep(change(4, at(20), 3)).records) == 1


def test_without_a_position_all_pass() -> None:
    """Of connectors whose order is not known, truncates and rows pass as they come."""
    reader = Reader()
    reader.keep(change(0, ()))
    for offset in (1, 2):
        result = reader.keep(truncate(offset, ()))
        assert (len(result.records), result.truncated) == (1, [])
    assert len(reader.keep(change(3, ())).records) == 1


def test_by_event_identity_changes_from_before_a_truncate_are_stale_too() -> None:
    """Each event counts, but none brings back what a truncate has deleted."""
    reader = Reader("event_id")
    reader.keep(change(0, at(10)))
    assert [len(reader.keep(truncate(offset, at(30))).records) for offset in (1, 2)] == [1, 0]
    assert reader.keep(change(3, at(20), 2)).records == []
    assert len(reader.keep(change(4, at(40), 2)).records) == 1


@pytest.mark.parametrize("by", ["position", "event_id"])
def test_what_a_truncate_has_overtaken_is_not_given_back(by: By) -> None:
    """A dead letter's change from before the truncate is superseded, one from behind it is taken."""
    reader = Reader(by)
    reader.keep(truncate(0, at(30)))
    assert not reader.readmits(change(1, at(20)))
    assert reader.readmits(change(2, at(40)))


def test_what_a_truncate_has_overtaken_is_given_back_to_those_who_keep_it() -> None:
    """The other flows of the entity do not get it."""
    reader = Reader()
    reader.deduplicator = Deduplicator("position", HORIZON_US, {"orders": frozenset({"archive"})})
    reader.keep(truncate(0, at(30)))
    flows = [Flow("orders", "orders", "copy"), Flow("orders", "archive", "copy")]
    assert reader.standing(change(1, at(20)), flows) == ["archive"]
    assert reader.standing(change(1, at(40)), flows) == ["orders", "archive"]
    assert reader.readmits(change(1, at(20)))
