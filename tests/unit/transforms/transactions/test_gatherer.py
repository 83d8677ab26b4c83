"""Rows of a transaction of the source go together, whatever comes when, and whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.pipelines.transactions import NOBODY, Ended, Share
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory
from tillstream.transforms.transactions.gatherer import Gathered, Gatherer
from tillstream.transforms.transactions.held import Entry, ReleasedEntry
from tillstream.transforms.transactions.units import units

SOURCE = "acme.transaction"
SHARDS, PARTITIONS = 3, 2
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


def share(place: tuple[str, int, int], events: Sequence[Event]) -> Share:
    """Return what a shard tells of events of one place."""
    entity, partition, shard = place
    names = list(dict.fromkeys(each.transaction for each in events if each.transaction))
    made = [each for each in events if each.makes_row]
    owners = tuple(names.index(each.transaction) if each.transaction else NOBODY for each in made)
    return Share(
        SOURCE,
        entity,
        tuple(names),
        tuple(tuple(each.number for each in events if each.transaction == name) for name in names),
        (),
        (batch(entity, shard, partition, [row(each) for each in made]),) if made else (),
        (owners,) if made else (),
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


@st.composite
def logs(draw: st.DrawFn) -> tuple[dict[tuple[str, int, int], list[Event]], list[tuple[str, dict[str, int]]]]:
    """Return a source's log: the events of each place in order, and the ends in the order of commits."""
    places: dict[tuple[str, int, int], list[Event]] = {}
    ends = []
    shape = st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.booleans())
    for n, (plain, events) in enumerate(
        draw(st.lists(st.tuples(st.booleans(), st.lists(shape, min_size=1, max_size=6)), max_size=12))
    ):
        name, counts = "" if plain else str(n), {}
        for number, (entity, key, makes_row) in enumerate(events, 1):
            place = (entity, key % PARTITIONS, key % SHARDS)
            into = places.setdefault(place, [])
            into.append(Event(name, 0 if plain else number, entity, key, len(into), makes_row))
            counts[entity] = counts.get(entity, 0) + 1
        if not plain:
            ends.append((name, counts))
    return places, ends


class World:
    """Deliver a log in some order, with checkpoints, crashes and losses, and keep what comes out."""

    def __init__(self, log: Any, stage: Stage) -> None:
        self.places, self.ends = log
        self.stage = stage
        self.read = dict.fromkeys(self.places, 0)
        self.ended = 0
        self.out: list[list[tuple[str, int, int]]] = []
        self.incomplete = 0
        self.checkpoint()

    def checkpoint(self) -> None:
        """Note all there is."""
        self.kept = self.stage.snapshot(), dict(self.read), self.ended, list(self.out), self.incomplete

    def crash(self, *, forgets: bool) -> None:
        """Go back to the checkpoint; what came out since comes out again."""
        snapshot, read, self.ended, out, self.incomplete = self.kept
        self.read, self.out = dict(read), list(out)
        self.stage.restore(snapshot)
        if forgets:
            self.stage.restart()

    def step(self, choice: int, count: int, *, loses: bool = False) -> None:
        """Deliver some events of a place, or an end."""
        channels = [place for place, events in sorted(self.places.items()) if self.read[place] < len(events)]
        if choice % (len(channels) + 1) < len(channels):
            place = channels[choice % (len(channels) + 1)]
            at = self.read[place]
            self.read[place] = at + count
            self._note(self.stage.take(share(place, self.places[place][at : at + count])))
        elif self.ended < len(self.ends):
            name, counts = self.ends[self.ended]
            self.ended += 1
            if not loses:
                self._note(self.stage.take(end(name, **counts)))

    def expire(self, seconds: float) -> None:
        """Let time pass."""
        self.stage.now_s += seconds
        self._note(self.stage.expire())

    def _note(self, groups: list[list[tuple[str, int, int]]]) -> None:
        self.out += groups
        self.incomplete += len(self.stage.last.incomplete)

    def finish(self, *, ends_first: bool = False) -> None:
        """Deliver the rest."""
        while ends_first and self.ended < len(self.ends):
            # Beyond all places.
            self.step(sum(self.read[place] < len(events) for place, events in self.places.items()), 1)
        while any(self.read[place] < len(events) for place, events in self.places.items()):
            self.step(0, 3)
        while self.ended < len(self.ends):
            self.step(0, 1)

    def expected(self) -> Iterator[Event]:
        """Yield all events that make a row."""
        for events in self.places.values():
            yield from (each for each in events if each.makes_row)

    def check_rows(self) -> None:
        """Each row once, those of a key in order."""
        found = [each for group in self.out for each in group]
        assert sorted(found) == sorted((each.entity, each.key, each.offset) for each in self.expected())
        by_key: dict[Any, list[int]] = {}
        for entity, key, offset in found:
            by_key.setdefault((entity, key), []).append(offset)
        assert all(offsets == sorted(offsets) for offsets in by_key.values())

    def check_whole(self) -> None:
        """Each transaction in one group, these in the order of commits."""
        group_of = {row: n for n, group in enumerate(self.out) for row in group}
        groups: dict[str, set[int]] = {}
        for each in self.expected():
            if each.transaction:
                groups.setdefault(each.transaction, set()).add(group_of[each.entity, each.key, each.offset])
        assert all(len(found) == 1 for found in groups.values())
        order = [min(groups[name]) for name, _ in self.ends if name in groups]
        assert order == sorted(set(order))


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["step", "step", "step", "step", "checkpoint", "crash", "forget"]),
        st.integers(0, 20),
        st.integers(1, 4),
    ),
    max_size=60,
)


@given(logs(), ACTIONS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_interleaving_keeps_transactions_whole(
    log: Any, actions: list[tuple[str, int, int]], ends_first: Any
) -> None:
    """Each transaction in one piece, in the order of commits; each row once; a key's rows in order."""
    world = World(log, Stage())
    for action, choice, count in actions:
        if action == "step":
            world.step(choice, count)
        elif action == "checkpoint":
            world.checkpoint()
        else:
            world.crash(forgets=action == "forget")
    world.finish(ends_first=ends_first)
    world.check_rows()
    world.check_whole()
    assert world.incomplete == 0
    assert world.stage.wait_s is None


@given(logs(), ACTIONS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_or_stuck_whatever_goes_wrong(
    log: Any, actions: list[tuple[str, int, int]], held_max: int
) -> None:
    """Ends that get lost, waits that are too short, bounds too small: rows go once, in order, and all go."""
    world = World(log, Stage(held_max, wait_s=5.0))
    for action, choice, count in actions:
        if action == "step":
            world.step(choice, count, loses=choice % 3 == 0)
        elif action == "checkpoint":
            world.checkpoint()
        else:
            world.crash(forgets=action == "forget")
            world.expire(float(count))
    world.finish()
    world.expire(5.0)
    world.check_rows()
    assert world.stage.wait_s is None
