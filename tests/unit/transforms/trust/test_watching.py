"""Values that two rows share, and counts that drift, are found over all shards."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.configs.trust import Expectation
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory
from tillstream.transforms.trust.watching import DriftWatch, Seen, UniqueWatch

SECOND_US = 1_000_000


def batch(*rows: tuple[int, Any, int]) -> MutationBatch:
    """Return a batch of (key, value, time in s); the value None deletes."""
    records = tuple(
        MutationRecord(
            MutationKind.DELETE if value is None else MutationKind.UPSERT,
            (key,),
            None if value is None else (key, value[0] if isinstance(value, list) else value),
            (),
            time_s * SECOND_US,
            place,
        )
        for place, (key, value, time_s) in enumerate(rows)
    )
    return MutationBatch("shop", "people", 0, "t", 0, ("id", "email"), ("id",), records)


class Place:
    """Keep the state of each place, and see what batches show there; a new memory is a restart."""

    def __init__(self, watch: UniqueWatch | DriftWatch) -> None:
        self.watch = watch
        self.states: dict[int, FakeState] = {}
        self.restart()

    def restart(self) -> None:
        """Forget what is not in the state."""
        self.memory: ShardMemory[Any] = ShardMemory(self.watch.horizon_us, self.watch.entry)

    def see(self, batch: MutationBatch) -> list[str]:
        """Return what a batch breaks."""
        broken = []
        for place, seen in self.watch.sights(batch):
            state = self.states.setdefault(place, FakeState())
            shard = self.memory.open(f"{place}".encode(), state.cell, state.bag)
            broken += self.watch.see(Seen.decode(seen.encode()), shard)
            shard.commit()
        return broken


def unique(window_s: int = 60) -> Place:
    """Return where e-mails are watched."""
    fields = {"expect": "unique", "columns": ["email"], "window_s": window_s}
    return Place(UniqueWatch("people", Expectation.model_validate(fields), 4))


def drift(windows: int = 3, ratio: float = 0.5) -> Place:
    """Return where people are counted by the minute."""
    fields = {"expect": "row_count_drift", "window_s": 60, "windows": windows, "drift_ratio_max": ratio}
    return Place(DriftWatch("people", Expectation.model_validate(fields)))


def test_a_value_in_two_rows_is_found() -> None:
    """Two keys with one value break the expectation, and the message names value, key and window."""
    place = unique()
    assert place.see(batch((1, "a", 9), (1, "a", 10), (2, "b", 12))) == []
    assert place.see(batch((3, "a", 70))) == [
        'found email ["a"] in the row of key [3] within 60 s of another row\'s, expected it in one alone'
    ]


def test_what_lies_apart_is_not_compared() -> None:
    """Behind the window a value may have another owner; null and deletes own nothing."""
    place = unique()
    assert place.see(batch((1, "a", 10), (1, [None], 10), (2, [None], 10))) == []
    assert place.see(batch((2, "a", 71), (1, None, 72), (3, None, 72))) == []


def test_a_restart_forgets_nothing() -> None:
    """Owners lie in the state."""
    place = unique()
    place.see(batch((1, "a", 10)))
    place.restart()
    assert len(place.see(batch((2, "a", 20)))) == 1


def test_what_was_seen_of_an_older_release_is_read() -> None:
    """The frame's first byte is its version; one without the fields of later releases has their defaults."""
    assert Seen.decode(b"\x01\x92\xa6people\xa4rule") == Seen("people", "rule")
    with pytest.raises(ValueError, match="version 2"):
        Seen.decode(b"\x02\x90")


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(0, 120)), max_size=12),
    st.randoms(use_true_random=False),
)
def test_order_changes_nothing(rows: list[tuple[int, str, int]], chance: random.Random) -> None:
    """Whether two rows share a value does not depend on which shard or partition came first."""
    window_s = 120  # as long as anything is late
    expected = any(
        first[0] != second[0] and first[1] == second[1] and abs(first[2] - second[2]) <= window_s
        for first in rows
        for second in rows
    )
    chance.shuffle(rows)
    place, broken = unique(window_s), 0
    for row in rows:
        if chance.random() < 0.3:
            place.restart()
        broken += len(place.see(batch(row)))
    assert bool(broken) is expected


def test_state_is_bounded_by_the_window() -> None:
    """Values that nobody showed for two windows leave the state."""
    place = unique()
    for second in range(0, 60_000, 10):
        place.see(batch((second, f"v{second}", second)))
    for state in place.states.values():
        assert state.size_bytes() < 400_000


def counted(place: Place, *counts: int, first: int = 0) -> list[str]:
    """See so many rows in each minute, one after the other."""
    broken = []
    for minute, count in enumerate(counts, first):
        broken += place.see(batch(*[(each, "a", minute * 60) for each in range(count)]))
    return broken


def test_a_window_that_drifts_is_found_once() -> None:
    """It is judged when the second window after it begins, against the mean of those before."""
    place = drift()
    # The first window is seen in part, three more must be known.
    assert counted(place, 90, 10, 10, 10, 2, 10) == []
    (found,) = counted(place, 10, first=6)
    assert found == (
        "found 2 rows in the 60 s from 240000000 us on, expected 10, the mean of the last 3 windows, "
        "within a part of 0.5"
    )
    assert counted(place, 10, first=7) == []


def test_rows_that_come_late_are_counted() -> None:
    """A window is open for another one behind its end."""
    place = drift()
    assert counted(place, 90, 10, 10, 10, 2, 10) == []
    assert place.see(batch(*[(each, "a", 4 * 60) for each in range(8)])) == []
    assert counted(place, 10, first=6) == []


def test_an_empty_window_drifts_and_deletes_do_not_count() -> None:
    """No rows are a count too, once later rows come."""
    place = drift()
    assert counted(place, 9, 10, 10, 10) == []
    place.see(batch((1, None, 4 * 60)))
    assert len(counted(place, 10, 10, first=5)) == 1


def test_a_time_far_in_the_future_is_judged_in_bounded_time() -> None:
    """A wrong clock in the source makes a few judgements, not one for each minute until then."""
    place = drift()
    counted(place, 9, 10, 10, 10)
    assert len(place.see(batch((1, "a", 10**9)))) <= 5
