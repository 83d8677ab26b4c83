"""Repeated and overtaken changes are dropped, everything else is kept."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.pipelines.positions import postgres_position
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation, Position
from tillstream.transforms.deduplicate import By, DeduplicateChanges, Deduplicator, Entry
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory

HORIZON_US = 1000


def change(
    offset: int,
    position: Position,
    row: bytes | None = b"{}",
    *,
    key: Any = 1,
    time_us: int = 5000,
    op: Operation = Operation.UPDATE,
) -> ChangeRecord:
    """Return a change of a row."""
    return ChangeRecord(offset, op, (key,), position, time_us, None, row)


def snapshot(offset: int, position: Position, row: bytes = b"{}", **others: Any) -> ChangeRecord:
    """Return a snapshot read."""
    return change(offset, position, row, op=Operation.SNAPSHOT, **others)


def delete(offset: int, position: Position, **others: Any) -> ChangeRecord:
    """Return a delete."""
    return change(offset, position, None, op=Operation.DELETE, **others)


def batch(*records: ChangeRecord, entity: str = "orders", partition: int = 0) -> ChangeBatch:
    """Return the batch of some changes."""
    return ChangeBatch("acme", entity, 0, f"shop.public.{entity}", partition, ("id",), records)


class Deduplication:
    """Run batches through a deduplicator whose instance is a new one each time, or always the same."""

    def __init__(self, by: By = "position", *, restart: bool = False) -> None:
        self.deduplicator = Deduplicator(by, HORIZON_US)
        self.memory: ShardMemory[Entry] = ShardMemory(HORIZON_US, Entry)
        self.state = FakeState()
        self.restart = restart
        self.dropped: dict[str, int] = {}

    def keep(self, changes: ChangeBatch) -> list[ChangeRecord]:
        """Return what is kept of a batch."""
        if self.restart:
            self.memory = ShardMemory(HORIZON_US, Entry)
        shard = self.memory.open(b"s0", self.state.cell, self.state.bag)
        result = self.deduplicator.keep(changes, shard)
        shard.commit()
        for reason, count in result.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        return result.records

    def offsets(self, *records: ChangeRecord, **others: Any) -> list[int]:
        """Return the offsets of what is kept."""
        return [record.offset for record in self.keep(batch(*records, **others))]


CASES: dict[str, tuple[list[ChangeRecord], list[int], dict[str, int]]] = {
    "newer wins": ([change(0, (1,)), change(1, (2,))], [0, 1], {}),
    "equal is a duplicate": ([change(0, (1,)), change(1, (1,))], [0], {"duplicate": 1}),
    "older is stale": ([change(0, (2,)), change(1, (1,), b"1")], [0], {"stale": 1}),
    "keys are apart": ([change(0, (2,)), change(1, (1,), key=2)], [0, 1], {}),
    "a delete is remembered": (
        [delete(0, (2,)), change(1, (1,)), delete(2, (2,)), change(3, (3,))],
        [0, 3],
        {"stale": 1, "duplicate": 1},
    ),
    "a delete and a create in one place": (
        [delete(0, (2,)), change(1, (2,)), change(2, (2,))],
        [0, 1],
        {"duplicate": 1},
    ),
    "a snapshot read never overwrites a newer event": (
        [change(0, (5, 1), b"new"), snapshot(1, (5, 0), b"old")],
        [0],
        {"stale": 1},
    ),
    "a snapshot taken again repeats nothing": (
        [snapshot(0, (5,), b"a"), change(1, (6,), b"b"), snapshot(2, (7,), b"b"), snapshot(3, (9,), b"b")],
        [0, 1],
        {"duplicate": 2},
    ),
    "a snapshot brings what an update left out, once": (
        [
            change(0, (5,), b'{"v":"old"}'),
            change(1, (6,), b'{"v":"__debezium_unavailable_value"}'),
            snapshot(2, (9,), b'{"v":"old"}'),
            snapshot(3, (12,), b'{"v":"old"}'),
        ],
        [0, 1, 2],
        {"duplicate": 1},
    ),
    "a snapshot repairs a row whose events were lost": (
        [change(0, (6,), b"b"), snapshot(1, (9,), b"c"), change(2, (8,), b"x")],
        [0, 1],
        {"stale": 1},
    ),
    "an update that changes nothing is no repeat": ([change(0, (1,)), change(1, (2,), b"{}")], [0, 1], {}),
    "without a position all pass": ([change(0, ()), change(1, ())], [0, 1], {}),
    "a late event of an unknown row passes": (
        [change(0, (9,), time_us=9000), change(1, (1,), key=2, time_us=1)],
        [0, 1],
        {},
    ),
    "a late event that is newer than its row passes": (
        [change(0, (9,), time_us=9000), change(1, (10,), time_us=1)],
        [0, 1],
        {},
    ),
    "a late event that is older than its row is late": (
        [change(0, (9,), time_us=9000), change(1, (8,), time_us=1)],
        [0],
        {"late": 1},
    ),
}


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "a batch each and restarts"])
@pytest.mark.parametrize("case", CASES)
def test_by_position(case: str, *, apart: bool) -> None:
    """The rules of the class hold within a batch, and over batches and restarts."""
    records, kept, dropped = CASES[case]
    run = Deduplication(restart=apart)
    found: list[int] = []
    for part in [[record] for record in records] if apart else [records]:
        found += run.offsets(*part)
    assert found == kept
    assert run.dropped == dropped


def test_entities_are_apart() -> None:
    """The same key of another entity is another row."""
    run = Deduplication()
    assert run.offsets(change(0, (2,))) == [0]
    assert run.offsets(change(0, (1,)), entity="items") == [0]


def test_rows_past_the_horizon_are_forgotten() -> None:
    """A key is remembered for one horizon since it was last seen, and no longer."""
    run = Deduplication()
    assert run.offsets(change(0, (5,), time_us=5000)) == [0]
    assert run.offsets(change(1, (6,), key=2, time_us=6000), change(2, (4,), time_us=6000)) == [1]
    assert run.offsets(change(3, (7,), key=2, time_us=6001), change(4, (4,), time_us=6001)) == [3, 4]


@pytest.mark.parametrize("by", ["position", "event_id"])
def test_late_offsets_that_were_read_are_late(by: By) -> None:
    """Of a row that is forgotten a late event passes once: by its offset its second reading is known."""
    run = Deduplication(by)
    old = change(7, (1,), key=2, time_us=1)
    assert run.offsets(old, change(8, (5,), time_us=5000)) == [7, 8]
    assert run.offsets(change(9, (6,), time_us=6500)) == [9]
    assert run.offsets(old) == []
    assert run.dropped == {"late": 1}
    assert run.offsets(old, partition=1) == [7]


def test_how_far_a_partition_was_read_is_forgotten_past_the_horizon() -> None:
    """Lower offsets are no proof of a second reading when nothing came from the partition for so long."""
    run = Deduplication()
    assert run.offsets(change(9, (1,), time_us=5000)) == [9]
    assert run.offsets(change(3, (2,), key=2)) == [3]
    assert run.offsets(change(0, (3,), key=3, time_us=6500)) == [0]
    assert run.offsets(change(9, (1,), time_us=1)) == []
    assert run.offsets(change(1, (9,), key=4, time_us=9000), partition=1) == [1]
    assert run.offsets(change(9, (1,), time_us=1)) == [9]
    assert run.dropped == {"late": 1}


def test_identities_past_the_horizon_are_forgotten() -> None:
    """An event's identity is remembered for one horizon, and no longer."""
    run = Deduplication("event_id")
    assert run.offsets(change(0, (1,), time_us=5000)) == [0]
    assert run.offsets(change(1, (2,), time_us=6000), change(2, (1,), time_us=6000)) == [1]
    assert run.offsets(change(3, (3,), time_us=6001), change(4, (1,), time_us=6001)) == [3, 4]


def test_an_unchanged_snapshot_read_behind_gtids_is_a_duplicate() -> None:
    """MySQL's snapshots have no GTID; by file and offset they repair a row, and repeat none."""
    run = Deduplication()
    known = change(0, (0, 1, 10, 3, 200, 1, 0), b"a")
    assert run.offsets(known, snapshot(1, (0, 0, 3, 300, 0, 0), b"a")) == [0]
    assert run.offsets(snapshot(2, (0, 0, 3, 300, 0, 0), b"b")) == [2]
    assert run.dropped == {"duplicate": 1}


def test_the_first_transaction_behind_a_snapshot_is_kept_in_its_place() -> None:
    """What the position alone would call stale is kept, with a position that later ones compare to."""
    run = Deduplication()
    read = snapshot(0, postgres_position('[null,"100"]', 100, "true"), b"a")
    first = change(1, postgres_position('[null,"90"]', 90, "false"), b"b")
    second = change(2, postgres_position('[null,"95"]', 95, "false"), b"c")
    after = change(3, postgres_position('["110","105"]', 105, "false"), b"d")
    kept = run.keep(batch(read, first, first, second, first, after))
    assert [record.offset for record in kept] == [0, 1, 2, 3]
    assert sorted(record.position for record in kept) == [record.position for record in kept]
    assert run.dropped == {"stale": 2}


def test_by_event_id_drops_repeats_alone() -> None:
    """What comes out of order is kept, what comes again is not, by source place or by offset."""
    run = Deduplication("event_id", restart=True)
    assert run.offsets(change(0, (2,)), change(1, (1,)), change(2, (2,))) == [0, 1]
    assert run.offsets(change(3, (1,)), change(4, (1,), key=2), delete(5, (1,))) == [4, 5]
    assert run.offsets(change(6, ()), change(7, ())) == [6, 7]
    assert run.offsets(change(7, ()), change(8, ())) == [8]
    assert run.dropped == {"duplicate": 3}


def test_duplicates_alone_write_nothing() -> None:
    """A batch of repeats leaves the state as it is."""
    run = Deduplication()
    run.offsets(change(0, (2,)))
    before = run.state.snapshot()
    assert run.offsets(change(0, (2,))) == []
    assert run.state.snapshot() == before


def test_what_makes_no_sense_is_refused() -> None:
    """A wrong way or horizon is told at once."""
    with pytest.raises(ValueError, match="expected position or event_id"):
        Deduplicator("offset", 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected more than 0"):
        Deduplicator("position", 0)


# A log of changes: each is (key, row); the place in the log is the position. Then what of it arrives, with
# repeats, in any order.
LOGS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"b", None])), min_size=1, max_size=12
).flatmap(
    lambda log: st.tuples(
        st.just(log),
        st.permutations(range(len(log))).flatmap(
            lambda order: st.lists(st.sampled_from(order), max_size=8).map(lambda repeats: [*order, *repeats])
        ),
        st.lists(st.integers(1, 5), min_size=20, max_size=20),
    )
)


def arrive(
    run: Deduplication, log: list[tuple[int, bytes | None]], order: list[int], sizes: list[int]
) -> list[ChangeRecord]:
    """Return what is kept of a log's changes that arrive in batches of some sizes."""
    records = [
        change(offset, (place,), log[place][1], key=log[place][0], time_us=5000 + place)
        for offset, place in enumerate(order)
    ]
    kept: list[ChangeRecord] = []
    for size in sizes:
        if records:
            kept += run.keep(batch(*records[:size]))
            records = records[size:]
    return kept


@settings(max_examples=150, deadline=None)
@given(case=LOGS, restart=st.booleans())
def test_by_position_ends_in_the_newest_rows(
    case: tuple[list[tuple[int, bytes | None]], list[int], list[int]], *, restart: bool
) -> None:
    """With repeats and in any order, each row's positions rise and end in the log's last one."""
    log, order, sizes = case
    run = Deduplication(restart=restart)
    kept = arrive(run, log, order, [*sizes, len(order)])
    newest: dict[int, int] = {}
    expected = []
    for offset, place in enumerate(order):
        if place > newest.get(log[place][0], -1):
            newest[log[place][0]] = place
            expected.append(offset)
    assert [record.offset for record in kept] == expected
    assert newest == {key: max(p for p, (k, _) in enumerate(log) if k == key) for key, _ in log}
    assert len(kept) + sum(run.dropped.values()) == len(order)


@settings(max_examples=100, deadline=None)
@given(case=LOGS, restart=st.booleans())
def test_by_event_id_keeps_each_change_once(
    case: tuple[list[tuple[int, bytes | None]], list[int], list[int]], *, restart: bool
) -> None:
    """With repeats and in any order, each change comes out once, at its first arrival."""
    log, order, sizes = case
    run = Deduplication("event_id", restart=restart)
    kept = arrive(run, log, order, [*sizes, len(order)])
    assert [record.position[0] for record in kept] == list(dict.fromkeys(order))
    assert sum(run.dropped.values()) == len(order) - len(log)


@settings(max_examples=100, deadline=None)
@given(
    log=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10_000)), max_size=15),
    by=st.sampled_from(["position", "event_id"]),
    restart=st.booleans(),
    size=st.integers(1, 5),
)
def test_nothing_of_an_ordered_log_is_dropped(
    log: list[tuple[int, int]], by: By, *, restart: bool, size: int
) -> None:
    """However wild its event times are, a log that comes once and in order comes out whole."""
    run = Deduplication(by, restart=restart)
    records = [change(place, (place,), key=key, time_us=time_us) for place, (key, time_us) in enumerate(log)]
    kept = [each for at in range(0, len(log), size) for each in run.keep(batch(*records[at : at + size]))]
    assert kept == records
    assert run.dropped == {}


def offsets_of(element: tuple[bytes, bytes]) -> list[tuple[bytes, int]]:
    """Return what matters of the transform's output."""
    return [(element[0], record.offset) for record in ChangeBatch.decode(element[1]).records]


def test_the_transform_works_alone_and_counts() -> None:
    """On DirectRunner state lasts over elements, keys are kept, and metrics tell the reasons."""
    elements = [
        (b"s0", batch(change(0, (2,)), change(1, (1,), b"1")).encode()),
        (b"s1", batch(change(2, (2,))).encode()),
        (b"s0", batch(change(3, (2,)), change(4, (9,), time_us=9000)).encode()),
        (b"s0", batch(change(5, (8,), time_us=1)).encode()),
    ]
    pipeline = TestPipeline(options=PipelineOptions([]))
    kept = (
        pipeline
        | beam.Create(elements, reshuffle=False).with_output_types(beam.typehints.Tuple[bytes, bytes])
        | DeduplicateChanges("position", HORIZON_US)
    )
    assert_that(kept | beam.FlatMap(offsets_of), equal_to([(b"s0", 0), (b"s1", 2), (b"s0", 4)]))
    result = pipeline.run()
    result.wait_until_finish()
    counted = {
        counter.key.metric.name: counter.committed
        for counter in result.metrics().query()["counters"]
        if counter.key.metric.namespace == "tillstream"
    }
    assert counted == {"events_kept": 3, "events_duplicate": 1, "events_stale": 1, "events_late": 1}
