"""The stage numbers what it lets go, sets its timer, and reads the state of older releases."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tillstream.pipelines.transactions import GATHERED, Ended, MutationUnit, Share
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.transactions import gather
from tillstream.transforms.transactions.gather import GatherTransactions

from .test_sharing import config, made

SOURCE = "acme.transaction"


class Timer:
    """Stand in for Beam's timer."""

    def __init__(self) -> None:
        self.set_at: list[float] = []

    def set(self, at: Any) -> None:
        """Note it."""
        self.set_at.append(float(at))


class Clock:
    """Stand in for the time module."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def time(self) -> float:
        """Return the time of day."""
        return self.now_s

    def monotonic(self) -> float:
        """Return the same."""
        return self.now_s


class Rig:
    """Hold a stage, its cells and its timer."""

    def __init__(self) -> None:
        self.cells = FakeState(), FakeState()
        self.timer = Timer()
        self.restart()

    def restart(self, generation: int = 1) -> None:
        """Have another instance, in another process."""
        self.stage = GatherTransactions(config(transaction_wait_s_max=30), generation)
        self.stage.setup()

    def _cells(self) -> list[Any]:
        return [each for state in self.cells for each in (state.cell, state.bag)]

    def take(self, share: Share) -> list[MutationUnit]:
        """Give it a share."""
        return self._units(self.stage.process((GATHERED, share.encode()), *self._cells(), self.timer))

    def expire(self) -> list[MutationUnit]:
        """Let the timer fire."""
        return self._units(self.stage.expire(*self._cells(), self.timer))

    def _units(self, out: Any) -> list[MutationUnit]:
        found = list(out)
        assert all(key == GATHERED for key, _ in found)
        return [MutationUnit.decode(frame) for _, frame in found]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of the stage."""
    found = Clock()
    monkeypatch.setattr(gather, "time", found)
    return found


def rows(name: str, number: int, offset: int) -> Share:
    """Return one row of a transaction."""
    return Share(SOURCE, "orders", (name,), ((number,),), (), (made(offset),), ((0,),))


def end(name: str, count: int) -> Share:
    """Return its end."""
    return Share(SOURCE, ended=(Ended(name, {"orders": count}),))


def test_batches_are_numbered_as_they_go(clock: Clock) -> None:
    """Numbers are contiguous in a shard, also after a restart; a new launch says where it began."""
    del clock
    rig = Rig()
    assert rig.take(rows("1", 1, 0)) == []
    assert [each.sequence for unit in rig.take(end("1", 1)) for each in unit.batches] == [1]
    rig.restart(generation=2)
    rig.take(rows("2", 1, 1))
    (unit,) = rig.take(end("2", 1))
    assert [(each.sequence, each.first, each.generation) for each in unit.batches] == [(2, 2, 2)]


def test_the_timer_is_set_once_and_lets_go(clock: Clock) -> None:
    """It fires when the oldest has waited long enough; where it fires too early it is set anew."""
    rig = Rig()
    rig.take(rows("1", 1, 0))
    clock.now_s += 10
    rig.take(rows("2", 1, 1))
    assert rig.timer.set_at == [1030.0]
    clock.now_s = 1030.0
    assert [[each.offset for batch in unit.batches for each in batch.records] for unit in rig.expire()] == [
        [0]
    ]
    assert rig.timer.set_at == [1030.0, 1040.0]
    clock.now_s = 1040.0
    assert len(rig.expire()) == 1
    assert len(rig.timer.set_at) == 2


def test_a_timer_that_another_instance_met_does_not_stop_the_next(clock: Clock) -> None:
    """What an instance has set counts only until it is due."""
    rig = Rig()
    rig.take(rows("1", 1, 0))
    clock.now_s = 1100.0
    rig.take(rows("2", 1, 1))
    assert rig.timer.set_at == [1030.0, 1100.0]


# Written by the first release: one transaction with a row and its end, one that is gone.
OLD: dict[str, list[Any]] = {
    "cells": [
        "AZbEEAc7ihwZnGvXhg0aweKzPoQECADAg6ZvcGVuZWQCpGhlbGQCpGVuZHMC",
        "AZbEEL95LRvl3fYFRHUWjklLTYwBAQDAgahyZWxlYXNlZAE=",
    ],
    "bags": [
        [
            (
                "AZMAgpKhdAGSz0AAAAAAAAAAlaZvcGVuZWSSsGFjbWUudHJhbnNhY3Rpb26hMcAAAJKhZQGSz0AAAAAA"
                "AAAAlaRoZWxkkdwAEaRhY21lpm9yZGVycwKyYWNtZS5wdWJsaWMub3JkZXJzAJKiaWSmYW1vdW50kaJp"
                "ZJAAAADAkJDCkJCRkwEAkZehdZEBkgECkgAAzQPoAACRkwGmb3JkZXJzkQGQkA=="
            ),
            (
                "AZMBgZKhbgKSz0AAAAAAAAAAkqdudW1iZXJzg6tnZW5lcmF0aW9uOgGmb3JkZXJzAaxmaXJzdDpvcmRl"
                "cnMBkpKhZQGSoXQB"
            ),
            (
                "AZMCgpKhdAKSz0AAAAAAAAAAlaZvcGVuZWSSsGFjbWUudHJhbnNhY3Rpb26hMsAAAJKhZQKSz0AAAAAA"
                "AAAAlaRoZWxkkdwAEaRhY21lpm9yZGVycwKyYWNtZS5wdWJsaWMub3JkZXJzAJKiaWSmYW1vdW50kaJp"
                "ZJAAAADAkJDCkJCRkwIAkZehdZEBkgECkgABzQPoAQCRkwKmb3JkZXJzkQGQkA=="
            ),
            "AZMDgZKhdAKSz0AAAAAAAAAAlaZvcGVuZWSSsGFjbWUudHJhbnNhY3Rpb26hMoGmb3JkZXJzAgACkA==",
        ],
        [
            "AZMAgZKhcgGSz0AAAAAAAAAAkqhyZWxlYXNlZJGSsGFjbWUudHJhbnNhY3Rpb26hMZA=",
        ],
    ],
}


def test_state_of_the_first_release_stays_readable(clock: Clock) -> None:
    """A savepoint outlives releases: what it holds goes on, whole."""
    del clock
    rig = Rig()
    for state, cell, bag in zip(rig.cells, OLD["cells"], OLD["bags"], strict=True):
        state.cell.value = base64.b64decode(cell)
        state.bag.values = [base64.b64decode(each) for each in bag]
    (unit,) = rig.take(rows("2", 2, 2))
    assert [(each.sequence, [row.offset for row in each.records]) for each in unit.batches] == [(2, [1, 2])]
    assert rig.take(end("1", 1)) == []
    assert rig.timer.set_at == []
