"""Keep the totals of groups, and write the rows of those that change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.pipelines.records import DeadLetterBatch
from tillstream.transforms.aggregates.groups import GroupEntry
from tillstream.transforms.aggregates.messages import Differences
from tillstream.transforms.aggregates.router import TAG, AggregateRouter
from tillstream.transforms.aggregates.work import AggregateKind, AggregateWork
from tillstream.transforms.flows import Flow, Kind, flows_of, registry_of
from tillstream.transforms.output import contracts_of, numbered, row_stages
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.routing import MAIN, Launch, Outputs, Router, typed
from tillstream.transforms.shard_state import ShardMemory, shared_memory, specs
from tillstream.transforms.writers import keys_of

__all__ = ["AGGREGATE_STAGE", "AggregateChanges"]

_VERSION = "version:"


class AggregateChanges(beam.DoFn):
    """Add up differences by group and window, and make the rows of the groups that they touch.

    Input: (shard key, Differences frame), a shard's in any order. Output: (shard key, MutationBatch frame) of
    whole rows, and dead letters for contributions that come late and groups whose rows are refused.

    Delivery guarantees:
        Exactly-once within the job: totals lie in the checkpoint that holds the read offsets, and each
        difference is added once. Differences commute, so their order matters only to what is late. Rows carry
        a position that rises with each batch and launch, so the newest state of a group wins. State is one
        entry a group and open window; what closed is swept within a quarter of the allowed lateness.
        It would break if `contributions` or `rows` answered the same arguments in two ways.

    Args:
        config: the client's.
        generation: as of `TransformChanges`.
        bounded: whether the run ends; nothing is late then.
    """

    HEAD, LOG = specs("aggregate")

    def __init__(self, config: ClientConfig, generation: int | None = None, *, bounded: bool = False) -> None:
        self._config = config
        self._generation = generation
        self._bounded = bounded
        self._late = Metrics.counter("tillstream", "contributions_late")
        self._failed = Metrics.counter("tillstream", "events_refused")

    def setup(self) -> None:
        """Compile the contracts, and make the aggregates."""
        config = self._config
        flows = flows_of(config, registry_of(config))
        keys = keys_of(config, flows, "aggregate")
        self._packer = MutationPacker(contracts_of(config), keys, row_stages(config))
        self._kinds = {
            flow.target: AggregateKind(config, flow, self._packer, self._generation, bounded=self._bounded)
            for found in flows.values()
            for flow in found
            if flow.kind == "aggregate"
        }
        self._memory: ShardMemory[GroupEntry] = shared_memory(f"{config.client}/aggregate", None, GroupEntry)

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[Any]:
        """Add up one message."""
        key, frame = element
        message = Differences.decode(frame)
        kind = self._kinds[message.target]
        shard = self._memory.open(key, head, log)
        version = shard.counters[_VERSION] = shard.counters.get(_VERSION, 0) + 1
        work = AggregateWork(kind, message, shard, (self._generation or 0, version))
        for change in message.changes:
            work.apply(change)
        work.write()
        work.sweep()
        for batch in work.flush():
            made = batch if self._generation is None else numbered(batch, shard.counters, self._generation)
            yield key, made.encode()
        shard.commit()
        if work.letters:
            self._late.inc(work.late)
            self._failed.inc(len(work.letters))
            yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(work.letters)).encode())


class _AggregateStage:
    """Take the flows whose transform is an Aggregate: all of a client's in one stage."""

    kind: Kind = "aggregate"

    def routers(
        self, config: ClientConfig, flows: Sequence[Flow], launch: Launch
    ) -> Mapping[str, Sequence[Router]]:
        """Return one router a flow."""
        found: dict[str, list[Router]] = {}
        for flow in flows:
            found.setdefault(flow.source, []).append(AggregateRouter(config, flow, bounded=launch.bounded))
        return found

    def tags(self, flows: Sequence[Flow]) -> Sequence[str]:  # noqa: ARG002  (as of `Stage`)
        """Return the one tag that all routers send to."""
        return (TAG,)

    def add(
        self,
        config: ClientConfig,
        flows: Sequence[Flow],  # noqa: ARG002  (as of `Stage`)
        transformed: Outputs,
        launch: Launch,
    ) -> Iterator[Outputs]:
        """Add the one stage."""
        aggregated = transformed[TAG] | "Aggregate" >> beam.ParDo(
            AggregateChanges(config, launch.generation, bounded=launch.bounded)
        ).with_outputs(DEAD_LETTERS, main=MAIN)
        yield typed(aggregated)


AGGREGATE_STAGE = _AggregateStage()
