"""Transactions stay whole whatever comes when, and whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from .test_gatherer import Event, Stage, end, share

SHARDS, PARTITIONS = 3, 2


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
            # Rows of other columns make another batch.
            events = self.places[place][at : at + count]
            self._note(self.stage.take(share(place, events, 1 + choice % 2)))
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
