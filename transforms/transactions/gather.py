"""Be the stage between TransformChanges and WriteSinks for clients whose transactions arrive whole."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import TimerSpec, on_timer
from apache_beam.utils.timestamp import Timestamp

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import MutationBatch
from tillstream.pipelines.transactions import GATHERED, MutationUnit, Share
from tillstream.transforms.output import numbered
from tillstream.transforms.shard_state import FOREVER_US, Shard, ShardMemory, shared_memory, specs
from tillstream.transforms.transactions.gatherer import Gathered, Gatherer
from tillstream.transforms.transactions.held import Entry, Numbers, ReleasedEntry
from tillstream.transforms.transactions.units import units

__all__ = ["GatherTransactions", "gather"]

_KEYED = beam.typehints.Tuple[bytes, bytes]


class GatherTransactions(beam.DoFn):
    """Hold rows back until their transactions are whole, then let these go in the order of commits.

    Input: (GATHERED, Share frame) of TransformChanges and of the reading stage. Output: (GATHERED,
    MutationUnit frame), numbered here; a unit holds whole transactions, and what belongs to none.

    Delivery guarantees:
        Exactly-once within the job: what is held, what was let go and the numbers given out lie in the same
        checkpoint as the read offsets. Each transaction that is complete within `transaction_wait_s_max`
        and fits `transaction_events_max` goes whole, once, behind those that committed before; order within
        a key is kept in any case. Others go as far as they have come, are counted in the metric
        `transactions_incomplete` and named in the log; nothing is lost or waits for ever. State: the rows
        that are held, at most as many again in the log, and the names of the last 100,000 transactions.
        It would break where a source uses a name again within those.

    Args:
        config: the client's.
        generation: of this launch, as of `TransformChanges`.
    """

    HEAD, LOG = specs("gather")
    GONE_HEAD, GONE_LOG = specs("released")
    EXPIRY = TimerSpec("expiry", TimeDomain.REAL_TIME)

    def __init__(self, config: ClientConfig, generation: int) -> None:
        self._config = config
        self._generation = generation
        self._whole = Metrics.counter("tillstream", "transactions_whole")
        self._incomplete = Metrics.counter("tillstream", "transactions_incomplete")

    def setup(self) -> None:
        """Join the process's memory."""
        delivery, client = self._config.delivery, self._config.client
        self._gatherer = Gatherer(
            delivery.transaction_events_max, delivery.transaction_wait_s_max, time.monotonic
        )
        self._memory: ShardMemory[Entry] = shared_memory(f"{client}/gather", None, Entry)
        self._gone: ShardMemory[ReleasedEntry] = shared_memory(f"{client}/released", None, ReleasedEntry)
        self._timer_s: float | None = None

    def process(  # noqa: PLR0917  (Beam gives each cell as a parameter)
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
        gone_head: Any = beam.DoFn.StateParam(GONE_HEAD),
        gone_log: Any = beam.DoFn.StateParam(GONE_LOG),
        timer: Any = beam.DoFn.TimerParam(EXPIRY),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Take one share."""
        state, gone = self._memory.open(GATHERED, head, log), self._gone.open(GATHERED, gone_head, gone_log)
        gathered = self._gatherer.take(Share.decode(element[1]), state, gone)
        yield from self._close(gathered, state, gone, timer)

    @on_timer(EXPIRY)  # type: ignore[untyped-decorator]  # Beam has no types
    def expire(
        self,
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
        gone_head: Any = beam.DoFn.StateParam(GONE_HEAD),
        gone_log: Any = beam.DoFn.StateParam(GONE_LOG),
        timer: Any = beam.DoFn.TimerParam(EXPIRY),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Let go what was waited for long enough."""
        self._timer_s = None
        state, gone = self._memory.open(GATHERED, head, log), self._gone.open(GATHERED, gone_head, gone_log)
        gathered = self._gatherer.expire(state, gone)
        yield from self._close(gathered, state, gone, timer)

    def _close(
        self, gathered: Gathered, state: Shard[Entry], gone: Shard[ReleasedEntry], timer: Any
    ) -> list[tuple[bytes, bytes]]:
        frames = [
            (GATHERED, MutationUnit(tuple([self._numbered(each, state) for each in unit])).encode())
            for unit in units(gathered.groups)
        ]
        wait_s = self._gatherer.wait_s(state)
        state.commit()
        gone.commit()
        # One timer is enough: where it fires too early, it is set anew. Another instance may have met it.
        now_s = time.time()
        if wait_s is not None and (self._timer_s is None or self._timer_s <= now_s):
            self._timer_s = now_s + wait_s
            timer.set(Timestamp(self._timer_s))
        self._whole.inc(gathered.whole)
        self._incomplete.inc(len(gathered.incomplete))
        return frames

    def _numbered(self, batch: MutationBatch, state: Shard[Entry]) -> MutationBatch:
        key = ("n", batch.shard)
        found = state.index.get(key, (0, None))[1]
        counters = dict(found.counters) if isinstance(found, Numbers) else {}
        made = numbered(batch, counters, self._generation)
        state.update({key: (FOREVER_US, Numbers(counters))})
        return made


class _WrapBatches(beam.DoFn):
    """Turn (shard key, MutationBatch frame) into (GATHERED, MutationUnit frame).

    For what is made of rows of several transactions: it passes the gatherer by, and meets the same writer.
    """

    def process(self, element: tuple[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Wrap one batch."""
        yield GATHERED, MutationUnit((MutationBatch.decode(element[1]),)).encode()


def gather(
    config: ClientConfig, generation: int, batches: Sequence[beam.PCollection], told: beam.PCollection
) -> list[beam.PCollection]:
    """Add the stage; return what goes to the sinks, (GATHERED, MutationUnit frame) pairs.

    The labels are part of every savepoint.

    Args:
        config: the client's.
        generation: of this launch.
        batches: shares of TransformChanges; then (shard key, MutationBatch frame) pairs of later stages.
        told: shares of the reading stage.
    """
    shares, *others = batches
    gathered = (
        (shares, told)
        | "CollectShares" >> beam.Flatten()
        | "GatherTransactions" >> beam.ParDo(GatherTransactions(config, generation)).with_output_types(_KEYED)
    )
    wrapped = [
        each | f"WrapBatches{n}" >> beam.ParDo(_WrapBatches()).with_output_types(_KEYED)
        for n, each in enumerate(others)
    ]
    return [gathered, *wrapped]
