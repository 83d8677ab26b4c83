"""Let snapshot reads through while a table is read again, and sweep what it no longer has.

The messages that begin and end a resync are those of `io/controls.py`. A shard notes the beginning under the
entity's name: from which position on, and how far it had read the entity's partitions by then. The note stays
until the sweep, or until the next resync where one was given up: there is one for each entity. No horizon
drops it, because nobody knows how long a table takes to read, and one change dated ahead moves the horizon.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.io.controls import starts_of
from tillstream.pipelines.records import ChangeBatch, MutationBatch, Position
from tillstream.transforms.shard_state import FOREVER_US, Key, Shard

if TYPE_CHECKING:
    from tillstream.transforms.deduplicate import Entry
    from tillstream.transforms.flows import Flow

__all__ = ["Resyncs", "passed_from"]

_log = logging.getLogger(__name__)
_replace = msgspec.structs.replace


def passed_from(shard: Shard[Entry], entity: str) -> Position:
    """Return from which position on snapshot reads of an entity pass though their rows are known; else ()."""
    known = shard.get(_place(entity))
    return () if known is None else known[1]


class Resyncs:
    """Apply the messages of resyncs to shards.

    Args:
        config: the client's.
        flows: of each entity that has a topic.
    """

    def __init__(self, config: ClientConfig, flows: Mapping[str, Sequence[Flow]]) -> None:
        self._topics = {name: entity.topic for name, entity in config.entities.items()}
        # What such a DoFn makes of a row that has not changed may be nothing, so its older rows must stay.
        self._remembering = {
            flow.target for each in flows.values() for flow in each if flow.parameters.states
        }
        self._skipped = Metrics.counter("tillstream", "resync_sweeps_skipped")

    def settle(self, batch: ChangeBatch, shard: Shard[Entry]) -> ChangeBatch | None:
        """Take note of the beginning of a resync, or return the truncate that ends it; else None.

        Args:
            batch: with a control message as its `replay`.
            shard: what the shard has seen.
        """
        replay = batch.replay
        assert replay is not None  # what this is for
        (record,) = batch.records
        starts, places = starts_of(replay), (_place(batch.entity), _read_place(batch.entity))
        if replay.action == "resync":
            read = [self._read_until(batch.entity, partition, shard) for partition in range(len(starts))]
            shard.update(
                {places[0]: (FOREVER_US, record.position, 0), places[1]: (FOREVER_US, tuple(read), 0)}
            )
            return None
        known, read_until = (shard.get(place) for place in places)
        if known is not None and read_until is not None:
            for place in places:
                shard.delete(place)
            # Two offsets a partition: how far the shard had read, and from where on it had to pass reads.
            fits = all(int(until) < start for until, start in zip(read_until[1], starts, strict=False))
            if known[1] == record.position and fits:
                return _replace(batch, replay=None)
        self._skipped.inc()
        _log.warning(
            "client %s: entity %s, shard %d: rows that the source no longer has are not swept, because the "
            "resync began before the savepoint that this job was launched from: run it again",
            batch.client,
            batch.entity,
            batch.shard,
        )
        return None

    def sifted(self, mutations: Sequence[MutationBatch]) -> list[MutationBatch]:
        """Return what a sweep has made, without truncates of what is made of rows and of state."""
        return [each for each in mutations if not (each.truncates and each.entity in self._remembering)]

    def _read_until(self, entity: str, partition: int, shard: Shard[Entry]) -> int:
        known = shard.index.get(("", self._topics[entity], partition))
        return -1 if known is None else int(known[1][0])


def _place(entity: str) -> Key:
    # Neither an entity nor a topic is named so.
    return ("", "resync:", entity)


def _read_place(entity: str) -> Key:
    return ("", "resync, read:", entity)
