"""Watch what no single row and no single shard can tell: values that two rows share, and how many rows come.

What goes to the sinks goes past here too. Each row's values are sent to the place that sees all rows with
the same values, whatever their shard; each batch's count to the one place that counts the entity's rows.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

import apache_beam as beam
import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.trust import STREAM_KINDS, Expectation
from tillstream.pipelines.errors import ExpectationError
from tillstream.pipelines.isolation.budget import stop_job
from tillstream.pipelines.records import Framed, MutationBatch
from tillstream.pipelines.transactions import GATHERED, Share
from tillstream.transforms.shard_state import Key, Shard, ShardMemory, shared_memory, specs
from tillstream.transforms.trust.stages import MEND, Warnings, counter_of

__all__ = ["DriftWatch", "Seen", "UniqueWatch", "watch"]

_SECOND_US = 1_000_000
_WINDOWS = 7
_KEYED = beam.typehints.Tuple[bytes, bytes]
_encode = msgspec.json.Encoder().encode

# Newest time (us), then the two keys that showed the value last, each with its time.
Owners: TypeAlias = tuple[int, bytes, int, bytes, int]
# Start of the window (us), and its rows.
Rows: TypeAlias = tuple[int, int]


class Seen(Framed, frozen=True, array_like=True):
    """Carry what one batch shows to where an expectation is watched.

    Attributes:
        entity: whose rows they are.
        name: of the expectation.
        rows: for unique, of each row its values and its key as JSON, and its commit time in microseconds.
        counts: for row_count_drift, rows by number of the window.
    """

    entity: str
    name: str
    rows: tuple[tuple[bytes, bytes, int], ...] = ()
    counts: dict[int, int] = {}


class _Watch(Protocol):
    expectation: Expectation
    horizon_us: int
    entry: Any

    def sights(self, batch: MutationBatch) -> Iterator[tuple[int, Seen]]:
        """Yield what a batch shows, with the number of the place that it goes to."""
        ...

    def see(self, seen: Seen, shard: Shard[Any]) -> list[str]:
        """Take note of it, and return what breaks the expectation."""
        ...


class UniqueWatch:
    """Find values that rows of different keys show within a window of event time.

    Delivery guarantees:
        Exact, in whatever order shards and partitions come, for rows at most one window behind the newest
        one that the place of their value has seen; later ones are not looked at. State: about 120 bytes for
        each value seen within two windows.

    Args:
        entity: whose rows they are.
        expectation: of kind unique.
        places: how many there are to spread values over.
    """

    def __init__(self, entity: str, expectation: Expectation, places: int) -> None:
        self.expectation = expectation
        self._entity = entity
        self._columns = expectation.columns or []
        self._places = places
        self._window_us = (expectation.window_s or 0) * _SECOND_US
        self.horizon_us = 2 * self._window_us
        self.entry = Owners

    def sights(self, batch: MutationBatch) -> Iterator[tuple[int, Seen]]:
        """Yield the values of all upserts; null is like no other value."""
        indexes = [batch.columns.index(name) for name in self._columns if name in batch.columns]
        found: dict[int, list[tuple[bytes, bytes, int]]] = {}
        for record in batch.records if len(indexes) == len(self._columns) else ():
            if record.values is None:
                continue
            values = [record.values[index] for index in indexes]
            if None in values:
                continue
            shown = _encode(values)
            row = (shown, _encode(record.key), record.source_time_us)
            found.setdefault(zlib.crc32(shown) % self._places, []).append(row)
        for place, rows in found.items():
            yield place, Seen(self._entity, self.expectation.own_name, tuple(rows))

    def see(self, seen: Seen, shard: Shard[Owners]) -> list[str]:
        """Take note of who showed which value, and return a sentence for each second key."""
        broken, changed = [], dict[Key, Owners]()
        newest_us = max(time_us for _, _, time_us in seen.rows)
        newest_us = max(newest_us, shard.newest_us or newest_us)
        for shown, key, time_us in seen.rows:
            if time_us < newest_us - self._window_us:
                continue
            value, owner = _digest(shown), _digest(key)
            entry = changed.get(value) or shard.get(value)
            if entry is None:
                changed[value] = (time_us, owner, time_us, b"", 0)
                continue
            _, first, first_us, second, second_us = entry
            other, other_us = (second, second_us) if first == owner else (first, first_us)
            if other and abs(other_us - time_us) <= self._window_us:
                names = ", ".join(self._columns)
                broken.append(
                    f"found {names} {shown.decode():.200} in the row of key {key.decode():.200} within "
                    f"{self.expectation.window_s} s of another row's, expected it in one alone"
                )
            times = {second: second_us, first: first_us}
            times[owner] = max(time_us, times.get(owner, time_us))
            times.pop(b"", None)
            last = sorted(times.items(), key=lambda item: item[1])[-2:]
            (second, second_us), (first, first_us) = last if len(last) > 1 else ((b"", 0), last[0])
            changed[value] = (first_us, first, first_us, second, second_us)
        shard.update(changed, newest_us)
        return broken


class DriftWatch:
    """Compare the rows of each window of event time with the mean of those before.

    A window is judged once, when a row of the second window after it comes: so late ones are counted for a
    whole window. The first window is left out, because it is seen in part.

    Delivery guarantees:
        Exact for rows less than one window late; later ones count for the mean alone. State: a few bytes for
        each of twice the windows looked at.

    Args:
        entity: whose rows they are.
        expectation: of kind row_count_drift.
    """

    def __init__(self, entity: str, expectation: Expectation) -> None:
        self.expectation = expectation
        self._entity = entity
        self._window_us = (expectation.window_s or 1) * _SECOND_US
        self._windows = expectation.windows or _WINDOWS
        self._ratio_max = expectation.drift_ratio_max or 0.0
        self.horizon_us = (2 * self._windows + 6) * self._window_us
        self.entry = Rows

    def sights(self, batch: MutationBatch) -> Iterator[tuple[int, Seen]]:
        """Yield how many upserts lie in which window."""
        counts = Counter(
            record.source_time_us // self._window_us for record in batch.records if record.values is not None
        )
        if counts:
            yield 0, Seen(self._entity, self.expectation.own_name, counts=dict(counts))

    def see(self, seen: Seen, shard: Shard[Rows]) -> list[str]:
        """Count, and return a sentence for each window that is now over and drifts."""
        changed: dict[Key, Rows] = {}
        for window, count in seen.counts.items():
            known = shard.get((window,))
            changed[window,] = (window * self._window_us, count + (known[1] if known else 0))
        newest = max(seen.counts)
        counters: dict[str, int] = shard.counters
        first = counters.setdefault("first", min(seen.counts))
        shard.update(changed, newest * self._window_us)
        over = (shard.newest_us or 0) // self._window_us - 2
        # A time far in the future must not make it judge for hours.
        judged = counters.get("judged", first)
        start = max(judged + 1, over - self._windows - 2)
        counters["judged"] = max(over, judged)
        return [
            text
            for window in range(start, over + 1)
            if window - self._windows > first and (text := self._judged(window, shard))
        ]

    def _judged(self, window: int, shard: Shard[Rows]) -> str:
        count = self._count(window, shard)
        mean = sum(self._count(window - back, shard) for back in range(1, self._windows + 1)) / self._windows
        if abs(count - mean) <= self._ratio_max * mean:
            return ""
        return (
            f"found {count} rows in the {self.expectation.window_s} s from {window * self._window_us} us on, "
            f"expected {mean:.0f}, the mean of the last {self._windows} windows, within a part of "
            f"{self._ratio_max}"
        )

    def _count(self, window: int, shard: Shard[Rows]) -> int:
        known = shard.get((window,))
        return known[1] if known else 0


def _digest(value: bytes) -> bytes:
    return blake2b(value, digest_size=16).digest()


def _watches(config: ClientConfig) -> Mapping[tuple[str, str], _Watch]:
    found: dict[tuple[str, str], _Watch] = {}
    for entity, about in config.entities.items():
        for each in about.expectations:
            if each.expect == "unique":
                found[entity, each.own_name] = UniqueWatch(entity, each, config.flink.shards)
            elif each.expect in STREAM_KINDS:
                found[entity, each.own_name] = DriftWatch(entity, each)
    return found


class _Sight(beam.DoFn):
    """Turn (shard key, MutationBatch frame), or (GATHERED, Share frame), into (place, Seen frame)."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config

    def setup(self) -> None:
        """Find what is watched of each entity."""
        self._watches: dict[str, list[_Watch]] = {}
        for (entity, _), each in _watches(self._config).items():
            self._watches.setdefault(entity, []).append(each)

    def process(self, element: tuple[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Show one batch."""
        key, frame = element
        batches = Share.decode(frame).batches if key == GATHERED else (MutationBatch.decode(frame),)
        for batch in batches:
            for each in self._watches.get(batch.entity, ()):
                for place, seen in each.sights(batch):
                    yield f"{seen.entity}/{seen.name}/{place}".encode(), seen.encode()


class _Watcher(beam.DoFn):
    """Judge what comes to one place.

    Delivery guarantees:
        Exactly-once: what was seen lies in the checkpoint that holds the read offsets. With severity fail the
        job stops after the row may have been delivered.
    """

    HEAD, LOG = specs("watched")

    def __init__(self, config: ClientConfig) -> None:
        self._config = config

    def setup(self) -> None:
        """Join the process's memory of each expectation."""
        self._watches = _watches(self._config)
        self._warnings = Warnings()
        self._memories: dict[tuple[str, str], ShardMemory[Any]] = {}
        self._counters = {}
        for (entity, name), each in self._watches.items():
            memory = f"{self._config.client}/watch/{entity}/{name}"
            self._memories[entity, name] = shared_memory(memory, each.horizon_us, each.entry)
            self._counters[entity, name] = counter_of(each.expectation.own_severity, entity, name)

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Sequence[bytes]:
        """Take note of what one batch shows."""
        key, frame = element
        seen = Seen.decode(frame)
        place = (seen.entity, seen.name)
        each = self._watches.get(place)
        if each is None:  # the expectation went since the last launch
            return ()
        shard = self._memories[place].open(key, head, log)
        broken = each.see(seen, shard)
        about = f"client {self._config.client}, entity {seen.entity}: expectation {seen.name}"
        if broken and each.expectation.own_severity == "fail":
            stop_job(ExpectationError(f"{about}: {broken[0]}; {MEND}"))
        shard.commit()
        self._counters[place].inc(len(broken))
        for detail in broken:
            self._warnings.warn(about, detail)
        return ()


def watch(config: ClientConfig, batches: Sequence[beam.PCollection]) -> None:
    """Add the stages that watch unique and row_count_drift, where a client expects such.

    Args:
        config: the client's, completed by `resolve`.
        batches: (shard key, MutationBatch frame) pairs that go to the sinks, or shares of the gatherer.
    """
    if not _watches(config):
        return
    every = batches[0] if len(batches) == 1 else tuple(batches) | "CollectWatched" >> beam.Flatten()
    (
        every
        | "SightRows" >> beam.ParDo(_Sight(config)).with_output_types(_KEYED)
        | "WatchRows" >> beam.ParDo(_Watcher(config)).with_output_types(bytes)
    )
