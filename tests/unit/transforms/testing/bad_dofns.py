# ruff: noqa: D102  (what each does wrong is said of its class)
"""Transforms that a simulation must catch, each for one reason, and some that it must let pass."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import random
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.transforms.api import KeyedState

TAGS = {"red", "green", "blue"}
COUNTS = {"seen": 0}
FIRST: dict[Any, Any] = {}
NUMBERS: dict[Any, int] = {}
SEVENS: dict[Any, int] = {}
NEXT = itertools.count()


@functools.lru_cache
def numbered(_: Any) -> int:
    """Return a key's number."""
    return next(NEXT)


def remembered(key: Any, value: Any, known: dict[Any, Any] = {}) -> Any:  # noqa: B006  (what is shown)
    """Return a key's first value."""
    return known.setdefault(key, value)


def made(event: ChangeEvent, **more: Any) -> Mutation:
    """Return the row of an event with more columns, or its delete."""
    return event.delete() if event.after is None else event.upsert({**event.after, **more})


class InstanceCounter(beam.DoFn):
    """Count in an attribute."""

    def setup(self) -> None:
        self.count = 0

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        self.count += 1
        yield made(event, n=self.count)


class InstanceMemory(beam.DoFn):
    """Remember each key in an attribute, which is right until the process ends."""

    def setup(self) -> None:
        self.first: dict[Any, Any] = {}

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        key = event.key["order_id"]
        if event.after is not None:
            self.first.setdefault(key, event.after["total"])
        yield made(event, first=self.first.get(key))


class ClassCounter(beam.DoFn):
    """Count in a class attribute."""

    count = 0

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        type(self).count += 1
        yield made(event, n=self.count)


class GlobalCounter(beam.DoFn):
    """Count in a module's global."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        COUNTS["seen"] += 1
        yield made(event, n=COUNTS["seen"])


class ClassMemory(beam.DoFn):
    """Remember each key in a class attribute, which is right until the process ends."""

    first: dict[Any, Any] = {}

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.after is not None:
            self.first.setdefault(event.key["order_id"], event.after["total"])
        yield made(event, first=self.first.get(event.key["order_id"]))


class GlobalMemory(beam.DoFn):
    """Remember each key in a module's global."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if event.after is not None:
            FIRST.setdefault(event.key["order_id"], event.after["total"])
        yield made(event, first=FIRST.get(event.key["order_id"]))


class GlobalNumbers(beam.DoFn):
    """Number keys as they come."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, n=NUMBERS.setdefault(event.key["order_id"], len(NUMBERS)))


class CachedCounter(beam.DoFn):
    """Number keys by a counter behind a cache."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, n=numbered(event.key["order_id"]))


class DefaultMemory(beam.DoFn):
    """Remember each key in an argument's default."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, first=remembered(event.key["order_id"], event.after and event.after["total"]))


class BuffersABundle(beam.DoFn):
    """Hold rows back until more come, and forget them where the bundle ends."""

    def start_bundle(self) -> None:
        self.rows: list[Mutation] = []

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        self.rows.append(made(event))
        if len(self.rows) == 3:
            yield from self.rows
            self.rows = []

    def finish_bundle(self) -> None:
        self.rows = []


class OncePerBundle(beam.DoFn):
    """Make a row of the first event of each bundle alone."""

    def start_bundle(self) -> None:
        self.done = False

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if not self.done:
            self.done = True
            yield made(event)


class CountsRepeats(beam.DoFn):
    """Count a key's changes, and take a repeated one for another."""

    def process(self, event: ChangeEvent, n: Any = KeyedState()) -> Iterator[Mutation]:
        n.set(n.get(0) + 1)
        yield made(event, n=n.get())


class CountsByOffset(beam.DoFn):
    """Count a key's changes, and tell repeated ones by their offset."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState()) -> Iterator[Mutation]:
        count, last = seen.get((0, -1))
        if event.offset > last:
            count, last = count + 1, event.offset
            seen.set((count, last))
        yield made(event, n=count)


class CountsDifferences(beam.DoFn):
    """Count a key's changes, and tell repeated ones by the row before alone."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState()) -> Iterator[Mutation]:
        count, row = seen.get((0, None))
        if event.after is not None and event.after != row:
            count, row = count + 1, event.after
            seen.set((count, row))
        yield made(event, n=count)


class WallClock(beam.DoFn):
    """Stamp rows with the time of day."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, at=time.time())


class Today(beam.DoFn):
    """Stamp rows with the day, which no two runs within one tell apart."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, day=dt.date.today().isoformat())  # noqa: DTZ011


class Chance(beam.DoFn):
    """Draw a number."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, n=random.random())  # noqa: S311


class SetOrder(beam.DoFn):
    """Walk a set."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, tags=",".join({"red", "green", event.after["status"] if event.after else ""}))


class GlobalSetOrder(beam.DoFn):
    """Walk a module's set."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, tags=",".join(TAGS))


class SetCallOrder(beam.DoFn):
    """Walk a set that a call makes."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, tags=list(set("abcdef")))


class Hashed(beam.DoFn):
    """Keep a hash, which another process computes otherwise."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, part=hash(str(event.key)) % 1000)


class OtherKeys(beam.DoFn):
    """Look at the event before, of whichever key."""

    def setup(self) -> None:
        self.last: Any = None

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        last, self.last = self.last, event.key["order_id"]
        yield made(event, last=last)


class FailsAgain(beam.DoFn):
    """Raise for an event that comes again."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState()) -> Iterator[Mutation]:
        if seen.get() == event.offset:
            raise ValueError("seen already")
        seen.set(event.offset)
        yield made(event)


BAD = [
    InstanceCounter,
    InstanceMemory,
    ClassCounter,
    GlobalCounter,
    ClassMemory,
    GlobalMemory,
    GlobalNumbers,
    CachedCounter,
    DefaultMemory,
    BuffersABundle,
    OncePerBundle,
    CountsRepeats,
    CountsByOffset,
    CountsDifferences,
    WallClock,
    Today,
    Chance,
    SetOrder,
    GlobalSetOrder,
    SetCallOrder,
    Hashed,
    OtherKeys,
    FailsAgain,
]


class RaisesAlways(beam.DoFn):
    """Look for a column that is not there."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, n=event.key["nothing"])


class SkipsTheFirst(beam.DoFn):
    """Leave out the first change that an instance sees, which a later one of that key makes good."""

    def setup(self) -> None:
        self.started = False

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        if self.started or event.offset >= 30:
            yield made(event)
        self.started = True


class ForgetsAfterAMinute(beam.DoFn):
    """Remember the last status of a key, for a minute of event time."""

    def process(self, event: ChangeEvent, last: Any = KeyedState(horizon_s=60)) -> Iterator[Mutation]:
        if event.after is None:
            yield event.delete()
        else:
            place, before = last.get(([], None))
            if list(event.position) > place:
                last.set((list(event.position), event.after["status"]))
                yield made(event, before=before)


class Plain(beam.DoFn):
    """Make a row of each event."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        yield made(event, cheap=float(event.after["total"]) < 10 if event.after else None)


class CountsChanges(beam.DoFn):
    """Count a key's changes, each once."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState()) -> Iterator[Mutation]:
        count, last = seen.get((0, []))
        if list(event.position) > last:
            count, last = count + 1, list(event.position)
            seen.set((count, last))
        yield made(event, n=count)


class FirstTotal(beam.DoFn):
    """Remember a key's first total in state."""

    def process(self, event: ChangeEvent, first: Any = KeyedState()) -> Iterator[Mutation]:
        if event.after is not None and first.get() is None:
            first.set(event.after["total"])
        yield made(event, first=first.get())


class SortsItsSet(beam.DoFn):
    """Use sets, clocks and hashes as one may."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        started = time.time()
        tags = {"red", "green"} | TAGS
        known = {hash(each): each for each in tags}
        assert time.time() - started < 60
        assert isinstance(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), dt.datetime)
        yield made(event, tags=sorted(known.values()), red="red" in {"red", "green"}, count=len({1, 2}))


class CachesLookups(beam.DoFn):
    """Keep what it could compute again."""

    def setup(self) -> None:
        self.known: dict[Any, int] = {}

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        key = event.key["order_id"]
        if key not in self.known:
            self.known[key] = key * 7
        yield made(event, seven=self.known[key])


class CachesInAGlobal(beam.DoFn):
    """Keep what it could compute again in a module's global."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        key = event.key["order_id"]
        yield made(event, seven=SEVENS.setdefault(key, key * 7))


GOOD = [CachesInAGlobal, Plain, CountsChanges, FirstTotal, SortsItsSet, CachesLookups]
