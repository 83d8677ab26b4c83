"""Tell the gatherer what a shard has consumed of each transaction, and which rows came of it."""

from __future__ import annotations

from collections.abc import Sequence

from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import ChangeBatch, MutationBatch, Operation
from tillstream.pipelines.transactions import NOBODY, Share

__all__ = ["ShareMaker"]

# Of an update of a table without a key, which may go to two shards.
_HALVES = 2
# Source: Debezium documentation, "Data change events", "message events".
_MESSAGES = ".message"


class ShareMaker:
    """Make shares of what a shard has done with change batches.

    Args:
        config: the client's.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._sources = config.transaction_topics
        self._shards = config.flink.shards
        self._without = Metrics.counter("tillstream", "events_without_transaction")

    def share(self, read: ChangeBatch, made: Sequence[MutationBatch]) -> Share | None:
        """Return what to tell; None where there is nothing.

        Args:
            read: a batch as it was read: what was dropped of it, refused or held is consumed too.
            made: what came of it, and of changes that were given back with it.
        """
        index: dict[str, int] = {}
        events: list[list[int]] = []
        parts: list[tuple[int, int, int, int]] = []
        owners: dict[int, int] = {}
        without = 0
        # Those that are no part of a transaction name one all the same, which does not end.
        is_message = read.topic.endswith(_MESSAGES)
        for record in read.records if read.replay is None else ():
            transaction = record.transaction
            if transaction is None or is_message:
                without += not is_message and record.operation is not Operation.SNAPSHOT
                continue
            name, number = transaction
            place = index.get(name)
            if place is None:
                place = index[name] = len(events)
                events.append([])
            owners[record.offset] = place
            if record.operation is Operation.TRUNCATE:
                parts.append((place, number, read.shard, self._shards))
            elif record.index:
                parts.append((place, number, record.index - 1, _HALVES))
            else:
                events[place].append(number)
        if without:
            self._without.inc(without)
        if not index and not made:
            return None
        return Share(
            self._sources.get(read.topic, read.topic),
            read.entity,
            tuple(index),
            tuple(map(tuple, events)),
            tuple(parts),
            tuple(made),
            tuple([_owners(each, owners) for each in made]),
        )


def _owners(batch: MutationBatch, owners: dict[int, int]) -> tuple[int, ...]:
    """Return whose each record is; what was given back comes long after its transaction."""
    if batch.via is not None or not owners:
        return (NOBODY,)
    find = owners.get
    found = tuple([find(record.offset, NOBODY) for record in batch.records])
    return found[:1] if len(set(found)) == 1 else found
