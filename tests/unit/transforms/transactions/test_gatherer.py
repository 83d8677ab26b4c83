"""Rows of a transaction of the source go together, behind what must be before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import pytest

from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.pipelines.transactions import NOBODY, Ended, Share
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory
from tillstream.transforms.transactions.gatherer import Gathered, Gatherer
from tillstream.transforms.transactions.held import Entry, ReleasedEntry

SOURCE = "acme.transaction"
MANY = 1_000_000


class Event(NamedTuple):
    """Be one event of the source; `number` is 0 outside of transactions."""

    transaction: str
    number: int
    entity: str
    key: int
    offset: int
    makes_row: bool = True


def batch(entity: str, shard: int, partition: int, records: Sequence[MutationRecord]) -> MutationBatch:
    """Return rows of one place."""
    return MutationBatch("acme", entity, shard, entity, partition, ("id",), ("id",), tuple(records))


def row(event: Event) -> MutationRecord:
    """Return the row that an event makes."""
    values = (event.key,)
    return MutationRecord(MutationKind.UPSERT, values, values, (event.offset,), event.offset, event.offset)


def share(place: tuple[str, int, int], events: Sequence[Event], rows_max: int = MANY) -> Share:
    """Return what a shard tells of events of one place, in batches of at most so many rows."""
    entity, partition, shard = place
    names = list(dict.fromkeys(each.transaction for each in events if each.transaction))
    made = [each for each in events if each.makes_row]
    parts = [made[at : at + rows_max] for at in range(0, len(made), rows_max)]
    return Share(
        SOURCE,
        entity,
        tuple(names),
        tuple(tuple(each.number for each in events if each.transaction == name) for name in names),
        (),
        tuple(batch(entity, shard, partition, [row(each) for each in part]) for part in parts),
        tuple(
            tuple(names.index(each.transaction) if each.transaction else NOBODY for each in part)
            for part in parts
        ),
    )


def end(name: str, lane: int = 0, **events: int) -> Share:
    """Return the end of a transaction."""
    return Share(SOURCE, ended=(Ended(name, events, lane),))


class Stage:
    """Be the gatherer with its state, which can be lost but for what a checkpoint holds."""

    def __init__(self, held_max: int = MANY, wait_s: float = 60.0) -> None:
        self.now_s = 0.0
        self.wait_s: float | None = None
        self.gatherer = Gatherer(held_max, wait_s, lambda: self.now_s)
        self.cells = FakeState(), FakeState()
        self.restart()

    def restart(self) -> None:
        """Lose all memory."""
        self.state: ShardMemory[Entry] = ShardMemory(None, Entry)
        self.gone: ShardMemory[ReleasedEntry] = ShardMemory(None, ReleasedEntry)

    def snapshot(self) -> Any:
        """Return what a checkpoint holds."""
        return [each.snapshot() for each in self.cells]

    def restore(self, snapshot: Any) -> None:
        """Go back to a checkpoint; memory stays, and must be found out."""
        for each, kept in zip(self.cells, snapshot, strict=True):
            each.restore(kept)

    def take(self, *shares: Share) -> list[list[tuple[str, int, int]]]:
        """Take shares; return of each group entity, key and offset of its rows."""
        found = []
        for each in shares:
            found += self._work(lambda state, gone, each=each: self.gatherer.take(each, state, gone))
        return found

    def expire(self) -> list[list[tuple[str, int, int]]]:
        """Let go what has waited for long enough."""
        return self._work(self.gatherer.expire)

    def _work(self, work: Any) -> list[list[tuple[str, int, int]]]:
        state = self.state.open(b"k", self.cells[0].cell, self.cells[0].bag)
        gone = self.gone.open(b"k", self.cells[1].cell, self.cells[1].bag)
        self.last: Gathered = work(state, gone)
        self.wait_s = self.gatherer.wait_s(state)
        state.commit()
        gone.commit()
        return [
            [(header.entity, each.key[0], each.offset) for header, records in group for each in records]
            for group in self.last.groups
        ]


PLACE = ("a", 0, 0)
OTHER = ("b", 0, 1)


def test_a_transaction_goes_once_all_of_it_is_there() -> None:
    """Two tables, and the end in between: nothing goes before the last event, then all at once."""
    stage = Stage()
    assert stage.take(share(PLACE, [Event("1", 1, "a", 7, 0)]), end("1", a=1, b=2)) == []
    assert stage.take(share(OTHER, [Event("1", 2, "b", 8, 0)])) == []
    assert stage.take(share(OTHER, [Event("1", 3, "b", 9, 1)])) == [[("a", 7, 0), ("b", 8, 0), ("b", 9, 1)]]
    assert stage.last.whole == 1
    assert stage.wait_s is None


def test_transactions_go_in_the_order_of_their_ends() -> None:
    """One that is whole waits for those that committed before."""
    stage = Stage()
    apart = share(("a", 1, 1), [Event("2", 1, "a", 2, 0)])
    first = share(PLACE, [Event("1", 1, "a", 1, 0)])
    assert stage.take(end("1", a=1, b=1), end("2", a=1), apart, first) == []
    assert stage.take(share(OTHER, [Event("1", 2, "b", 3, 0)])) == [
        [("a", 1, 0), ("b", 3, 0)],
        [("a", 2, 0)],
    ]


def test_events_without_a_row_count() -> None:
    """What a shard dropped, refused or filtered is consumed all the same, and a repeated one counts once."""
    stage = Stage()
    dropped = Event("1", 1, "a", 7, 0, makes_row=False)
    assert stage.take(end("1", a=2), share(PLACE, [dropped, dropped])) == []
    assert stage.take(share(PLACE, [Event("1", 2, "a", 8, 1)])) == [[("a", 8, 1)]]


def test_an_event_in_parts_counts_once_all_are_there() -> None:
    """A truncate comes to every shard: the transaction waits for the last one."""
    stage = Stage()
    parts = [Share(SOURCE, "a", ("1",), ((),), ((0, 1, part, 3),)) for part in range(3)]
    stage.take(end("1", a=1), *parts[:2], parts[0])
    assert stage.wait_s is not None
    stage.take(parts[2])
    assert stage.wait_s is None


def test_rows_of_no_transaction_keep_their_order() -> None:
    """They wait behind rows of their own place, and nobody else's."""
    stage = Stage()
    stage.take(share(PLACE, [Event("1", 1, "a", 7, 0), Event("", 0, "a", 7, 1), Event("2", 1, "a", 7, 2)]))
    assert stage.take(share(OTHER, [Event("", 0, "b", 1, 0)])) == [[("b", 1, 0)]]
    assert stage.take(end("1", a=1)) == [[("a", 7, 0), ("a", 7, 1)]]
    assert stage.take(end("2", a=1)) == [[("a", 7, 2)]]


def test_what_comes_again_is_ignored() -> None:
    """A connector that restarts sends ends and events again: nothing waits for what is gone."""
    stage = Stage()
    first = share(PLACE, [Event("1", 1, "a", 7, 0)])
    assert stage.take(first, end("1", a=1)) == [[("a", 7, 0)]]
    stage.restart()
    assert stage.take(end("1", a=1)) == []
    assert stage.take(share(PLACE, [Event("1", 1, "a", 7, 1)])) == [[("a", 7, 1)]]
    assert stage.wait_s is None


def test_a_lost_end_holds_nothing_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """What is behind it in its place waits too, or older rows would overtake; after the wait all goes."""
    stage = Stage(wait_s=10)
    events = [Event("1", 1, "a", 7, 0), Event("2", 1, "a", 7, 1)]
    assert stage.take(share(PLACE, events), end("2", a=1)) == []
    stage.now_s = 9.0
    assert stage.expire() == []
    assert stage.wait_s == 1.0
    stage.now_s = 10.0
    assert stage.expire() == [[("a", 7, 0)], [("a", 7, 1)]]
    assert stage.last.incomplete == ["1: its end"]
    assert "missing: 1: its end" in caplog.text


def test_missing_events_are_named() -> None:
    """A table that is captured and not read far enough: the log says how many of which entity."""
    stage = Stage(wait_s=10)
    stage.take(share(PLACE, [Event("1", 1, "a", 7, 0)]), end("1", a=1, b=2))
    stage.now_s = 10.0
    assert stage.expire() == [[("a", 7, 0)]]
    assert stage.last.incomplete == ["1: 2 of b"]


def test_the_wait_starts_anew_with_the_process() -> None:
    """While a job is down nothing arrives, so that time does not count."""
    stage = Stage(wait_s=10)
    stage.take(share(PLACE, [Event("1", 1, "a", 7, 0)]))
    stage.now_s = 1000.0
    stage.restart()
    assert stage.expire() == []
    assert stage.wait_s == 10.0


def test_a_transaction_that_is_too_large_goes_in_pieces() -> None:
    """It goes as far as it has come, behind what was before it; the rest passes; the others stay whole."""
    stage = Stage(held_max=6)
    stage.take(share(OTHER, [Event("0", 1, "b", 1, 0)]))
    large = [Event("1", n, "a", n, n) for n in range(1, 7)]
    assert stage.take(share(PLACE, large)) == [[("a", n, n) for n in range(1, 7)]]
    assert stage.last.incomplete == ["1: its end"]
    assert stage.take(share(PLACE, [Event("1", 7, "a", 7, 7)])) == [[("a", 7, 7)]]
    assert stage.take(end("0", b=1), end("1", a=7)) == [[("b", 1, 0)]]


def test_too_many_transactions_let_the_oldest_go() -> None:
    """The bound holds for all together."""
    stage = Stage(held_max=4)
    events = [Event(str(n), 1, "a", n, n) for n in range(3)]
    assert stage.take(share(PLACE, events)) == [[("a", 0, 0)]]


def test_lanes_need_not_wait_for_each_other() -> None:
    """A topic of several partitions tells of ends in several orders; places still order what must be."""
    stage = Stage()
    events = [Event("1", 1, "a", 7, 0), Event("2", 1, "a", 7, 1)]
    assert stage.take(share(PLACE, events), end("2", 1, a=1)) == []
    assert stage.take(end("1", 0, a=1)) == [[("a", 7, 0)], [("a", 7, 1)]]


def test_rows_of_one_place_keep_their_order_across_the_batches_of_a_share() -> None:
    """A row of no transaction, in a batch of other columns, waits behind the row that came before it."""
    stage = Stage()
    rows = [row(Event("", 0, "a", 7, n)) for n in range(2)]
    made = batch("a", 0, 0, rows[:1]), batch("a", 0, 0, rows[1:])
    assert stage.take(Share(SOURCE, "a", ("1",), ((1,),), (), made, ((0,), (NOBODY,)))) == []
    assert stage.take(end("1", a=1)) == [[("a", 7, 0), ("a", 7, 1)]]


def test_what_other_entities_wait_for_overtakes_nothing() -> None:
    """A share tells of one entity after another: the second one's rows lie beside the first one's."""
    stage = Stage()
    first = batch("a", 0, 0, [row(Event("", 0, "a", 7, n)) for n in (0, 3)])
    second = msgspec.structs.replace(first, entity="b", records=first.records)
    share = Share(SOURCE, "a", ("1", "2"), ((1,), (1,)), (), (first, second), ((0, 1), (NOBODY, 0)))
    assert stage.take(share) == [[("b", 7, 0)]]
