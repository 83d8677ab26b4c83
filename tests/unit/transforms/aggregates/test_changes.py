"""Aggregates end in what the final rows add up to, whatever came between."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.pipelines.records import Operation
from tillstream.transforms.aggregates.aggregate import Window
from tillstream.transforms.api import transform

from .rig import (
    START,
    Event,
    Hour,
    Hours,
    Order,
    Run,
    config,
    expected_bests,
    expected_hours,
    order,
)

STORES = st.sampled_from(["a", "b", "c", None])
TOTALS = st.decimals("-100", "100", places=2).map(str)
ROWS = st.builds(lambda store, total, minute: (store, total, minute), STORES, TOTALS, st.integers(0, 150))
CHANGES = st.lists(st.tuples(st.integers(1, 5), st.none() | ROWS), max_size=25)


def events(changes: list[tuple[int, Any]]) -> tuple[list[Event], list[dict[str, Any]]]:
    """Return the changes of some rows, and the rows that are left."""
    found, rows = [], {}
    for offset, (key, row) in enumerate(changes, 1):
        made = None if row is None else order(key, *row)
        found.append(Event(offset, key, made))
        rows[key] = made
    return found, [row for row in rows.values() if row is not None]


@settings(max_examples=150, deadline=None)
@given(CHANGES, st.data())
def test_any_changes_end_in_the_aggregate_of_the_final_rows(
    changes: list[tuple[int, Any]], data: st.DataObject
) -> None:
    """Batch splits, events read twice, restarts that lose memory and roll-backs change nothing."""
    stream, rows = events(changes)
    # A restart takes back what it replays; a launch from an older savepoint finds it written already, and has
    # a new generation. At-least-once has neither.
    way = data.draw(st.sampled_from(["restart", "launch", "at least once"]))
    generation = None if way == "at least once" else 1
    run = Run(generation=generation)
    checkpoint, at, place, back = run.checkpoint(), 0, 0, 2
    while place < len(stream):
        step = data.draw(st.sampled_from(["read", "read", "read", "read twice", "checkpoint", "roll back"]))
        if step == "checkpoint":
            checkpoint, at = run.checkpoint(), place
        elif step == "roll back" and back:
            generation = generation + 1 if generation is not None and way == "launch" else generation
            run.roll_back(checkpoint, generation, undo=way == "restart")
            place, back = at, back - 1
        else:
            count = data.draw(st.integers(1, 6))
            read = stream[place : place + count]
            run.feed(*(read + read if step == "read twice" else read))
            place += count
    assert run.table("hours") == expected_hours(rows)
    if way == "restart":
        assert run.table("bests") == expected_bests(rows)
    assert run.letters == []


def test_a_row_moves_between_groups_and_windows() -> None:
    """What a row contributed is taken back where it was; a group that is left empty loses its row."""
    run = Run()
    run.feed(Event(1, 1, order(1, "a", "10.00")), Event(2, 2, order(2, "a", "5.00")))
    run.feed(Event(3, 1, order(1, "b", "10.00")))
    assert {key[0]: values[2:4] for key, values in run.table("hours").items()} == {
        "a": (1, 5),
        "b": (1, 10),
    }
    run.feed(Event(4, 2, order(2, "a", "5.00", minute=90)), Event(5, 1, None))
    assert list(run.table("hours")) == [("a", START + dt.timedelta(hours=1))]


def test_a_batch_writes_each_group_once_and_what_stays_not_at_all() -> None:
    """Ten orders of one hour are one upsert; a change that contributes the same is none."""
    run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
    run.feed(*[Event(key, key, order(key, "a", "1.00")) for key in range(1, 11)])
    assert [len(batch.records) for batch in run.delivered] == [1]
    run.feed(Event(11, 1, {**order(1, "a", "1.00"), "note": "changed"}))
    assert len(run.delivered) == 1


def test_batches_say_what_caused_them_and_that_they_are_derived() -> None:
    """Rows carry the place and time of the last change that touched them, a rising position, and a number."""
    run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
    for offset in (7, 9):
        run.feed(Event(offset, offset, order(offset, "a", "1.00")))
    first, second = run.delivered
    assert [(each.sequence, each.generation, each.derived) for each in run.delivered] == [
        (1, 1, True),
        (2, 1, True),
    ]
    assert (second.topic, second.partition, second.records[0].offset) == ("shop.public.orders", 0, 9)
    assert first.records[0].position < second.records[0].position


def test_positions_rise_over_launches() -> None:
    """A launch from an older savepoint has lower versions, but a higher generation."""
    run = Run()
    checkpoint = run.checkpoint()
    run.feed(Event(1, 1, order(1, "a", "1.00")))
    run.feed(Event(2, 1, order(1, "a", "2.00")))
    run.roll_back(checkpoint, 2, undo=False)
    run.feed(Event(1, 1, order(1, "a", "1.00")))
    positions = [
        record.position for each in run.delivered for record in each.records if each.entity == "hours"
    ]
    assert positions == sorted(positions)
    assert len(set(positions)) == 3


@pytest.mark.parametrize("generation", [2, None], ids=["exactly once", "at least once"])
def test_what_was_written_after_an_older_savepoint_is_overwritten(generation: int | None) -> None:
    """A row that ends as the savepoint knew it is written again: between, it was written otherwise."""
    run = Run(generation=1 if generation else None)
    run.feed(Event(1, 1, order(1, "a", "1.00")))
    checkpoint = run.checkpoint()
    later = Event(2, 1, order(1, "a", "2.00")), Event(3, 2, order(2, "b", "3.00"))
    run.feed(*later)
    run.roll_back(checkpoint, generation, undo=False)
    run.feed(*later, Event(4, 1, order(1, "a", "1.00")), Event(5, 2, None))
    assert [(key[0], values[3]) for key, values in run.table("hours").items()] == [("a", 1)]


def test_rows_that_vanish_from_a_group_are_deleted() -> None:
    """The third best moves up when the best goes; with one store left the second place goes."""
    run = Run()
    run.feed(
        *[Event(key, key, order(key, store, f"{key}.00")) for key, store in ((1, "a"), (2, "b"), (3, "c"))]
    )
    run.feed(Event(4, 3, None))
    assert [values[1:3] for values in run.table("bests").values()] == [(1, "b"), (2, "a")]
    run.feed(Event(5, 2, None))
    assert [values[1:3] for values in run.table("bests").values()] == [(1, "a")]


def test_a_change_that_is_refused_counts_as_before() -> None:
    """A raise and a row that breaks the input's contract leave letters, and what the row said before."""
    run = Run()
    run.feed(Event(1, 1, order(1, "a", "5.00")), Event(2, 2, order(2, "a", "6.00")))
    run.feed(Event(3, 1, order(1, "a", "666")), Event(4, 2, {**order(2, "a", "1.00"), "total": "much"}))
    refused = sorted((each.entity, each.offset, each.reason, each.transform) for each in run.letters)
    assert refused == [
        ("bests", 4, "contract", "acme.bests@1.0.0"),
        ("hours", 3, "transform_failed", "acme.hours@1.0.0"),
        ("hours", 4, "contract", "acme.hours@1.0.0"),
    ]
    assert [values[2:4] for values in run.table("hours").values()] == [(2, 11)]


@transform("acme.hours@1.1.0", input=Order, output=Hour)
class Picky(Hours):
    """Make no rows of three orders, one that breaks its contract of four, and none that ends of five."""

    def rows(
        self, group: tuple[Any, ...], window: Window | None, totals: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Make one row, mostly."""
        if totals["orders"] == 3:
            raise ValueError("three orders")
        made = [
            {**row, "orders": "four"} if totals["orders"] == 4 else row
            for row in super().rows(group, window, totals)
        ]
        yield from itertools.cycle(made) if totals["orders"] == 5 else made


def test_rows_that_cannot_be_made_leave_the_last_ones() -> None:
    """A raise, a broken contract and a generator without end are letters; the next rows are right again."""
    client = config({"hours": "acme.hours@1.1.0"}, shards=1, limits={"mutations_per_record_max": 100})
    run = Run(client, classes=[Picky])
    counts = []
    for key in range(1, 7):
        run.feed(Event(key, key, order(key, "a", "1.00")))
        counts.append(run.table("hours")["a", START][2])
    assert counts == [1, 2, 2, 2, 2, 6]
    assert [(each.offset, each.reason, each.transform) for each in run.letters] == [
        (3, "transform_failed", "acme.hours@1.1.0"),
        (4, "contract", "acme.hours@1.1.0"),
        (5, "too_many_mutations", "acme.hours@1.1.0"),
    ]
    assert all("of the window from 2026-03-01T00:00:00+00:00" in each.detail for each in run.letters)


class TestLateness:
    """Windows close when the newest event time is past their end and what is allowed."""

    DAY = 24 * 60

    def test_what_comes_too_late_is_a_letter_and_changes_nothing(self) -> None:
        """An order for an hour that ended more than a day ago is refused; one within the day counts."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        run.feed(Event(1, 1, order(1, "a", "5.00")))
        run.feed(Event(2, 2, order(2, "a", "1.00", minute=60 + self.DAY)))
        run.feed(Event(3, 3, order(3, "a", "2.00")))
        assert run.table("hours")["a", START][2] == 2
        run.feed(Event(4, 4, order(4, "a", "1.00", minute=60.1 + self.DAY)))
        run.feed(Event(5, 5, order(5, "a", "4.00")))
        assert run.table("hours")["a", START][2] == 2
        (letter,) = run.letters
        assert (letter.step, letter.reason, letter.offset, letter.key) == (
            "transform",
            "late",
            5,
            b'{"order_id":5}',
        )
        assert "expected it within 86400 s" in letter.detail
        assert json.loads(letter.payload or b"") == {
            "op": "u",
            "before": None,
            "after": order(5, "a", "4.00"),
        }

    def test_a_closed_window_stays_as_it_is(self) -> None:
        """A row that changes or goes after its window closed still counts there; a new claim is a letter."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        run.feed(Event(1, 1, order(1, "a", "5.00")), Event(2, 2, order(2, "a", "6.00")))
        run.feed(Event(3, 3, order(3, "b", "1.00", minute=2 * self.DAY)))
        run.feed(Event(4, 1, None), Event(5, 2, order(2, "a", "7.00")))
        assert run.table("hours")["a", START][2:4] == (2, 11)
        assert [(each.reason, each.offset) for each in run.letters] == [("late", 5)]
        run.feed(Event(6, 2, order(2, "a", "6.00", minute=2 * self.DAY)))
        assert run.table("hours")["a", START + dt.timedelta(days=2)][2:4] == (1, 6)
        assert run.table("hours")["a", START][2] == 2

    @pytest.mark.parametrize("apart", [False, True], ids=["one batch", "a batch each"])
    def test_what_is_late_does_not_depend_on_batches(self, *, apart: bool) -> None:
        """The clock moves change by change, not batch by batch."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        minutes = (0, self.DAY + 70, 0, 2, self.DAY + 10, 3 * self.DAY, self.DAY)
        stream = [Event(n, n, order(n, "a", "1.00", minute=each)) for n, each in enumerate(minutes)]
        for part in [[each] for each in stream] if apart else [stream]:
            run.feed(*part)
        assert [each.offset for each in run.letters] == [2, 3, 6]

    def test_a_row_of_a_closed_window_is_forgotten(self) -> None:
        """Whether it was swept yet makes no difference: what it claims again is late, changed or not."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        run.feed(Event(1, 1, order(1, "a", "5.00")))
        run.feed(Event(2, 2, order(2, "b", "1.00", minute=70 + self.DAY)))
        run.feed(Event(3, 1, order(1, "a", "5.00")))
        assert [(each.reason, each.offset) for each in run.letters] == [("late", 3)]

    def test_the_clock_of_a_rows_shard_closes_windows_of_all_groups(self) -> None:
        """A late order is late for each store, whichever shard the store's figures lie in."""
        for store in "abcdefgh":
            run = Run(config({"hours": "acme.hours@1.0.0"}, shards=4))
            run.feed(Event(1, 1, order(1, "a", "1.00", minute=70 + self.DAY)))
            run.feed(Event(2, 1, order(1, store, "1.00")))
            assert [each.offset for each in run.letters] == [2], store

    def test_neither_snapshots_nor_the_future_move_the_clock(self) -> None:
        """A table's history comes in any order; a row dated ahead of its commit does not close windows."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        far = order(1, "a", "1.00", minute=30 * self.DAY)
        run.feed(Event(1, 1, far, Operation.SNAPSHOT), Event(2, 2, far, source_time=START))
        run.feed(Event(3, 3, order(3, "a", "1.00")))
        assert run.letters == []
        assert run.table("hours")["a", START][2] == 1

    def test_nothing_is_late_in_a_bounded_run(self) -> None:
        """Files and back-fills are read shard by shard, so order says nothing there."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1), None, bounded=True)
        run.feed(Event(1, 1, order(1, "a", "1.00", minute=90 * self.DAY)), Event(2, 2, order(2, "a", "1.00")))
        run.feed(Event(3, 2, order(2, "a", "3.00")))
        assert run.letters == []
        assert run.table("hours")["a", START][3] == 3

    def test_state_is_bounded_by_open_windows(self) -> None:
        """Over sixty days of orders rows and groups of closed windows are forgotten."""
        run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
        sizes = []
        for day in range(60):
            run.feed(
                *[
                    Event(100 * day + n, 100 * day + n, order(100 * day + n, "a", "1.00", day * self.DAY + n))
                    for n in range(4)
                ]
            )
            sizes.append(run.state_entries())
        assert max(sizes) <= 5 * 3
        assert len(run.table("hours")) == 60


def test_sums_are_exact() -> None:
    """Ten tenths are one, and taking all back leaves nothing, not a rest."""
    run = Run(config({"hours": "acme.hours@1.0.0"}, shards=1))
    run.feed(*[Event(key, key, order(key, "a", "0.1")) for key in range(1, 11)])
    (row,) = run.table("hours").values()
    assert row[3] == 1
    big = "12345678901234567890123456789.123456789"
    run.feed(Event(11, 11, order(11, "a", big)))
    run.feed(Event(12, 11, None))
    (row,) = run.table("hours").values()
    assert row[3] == 1
