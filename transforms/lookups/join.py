"""Call transforms with events and the rows that they ask for: the last stage of lookups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.pipelines.records import DeadLetterBatch
from tillstream.transforms.flow_runner import FlowRunner
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.keyed_state import StateEntry, horizon_us
from tillstream.transforms.lookups.joiner import Joiner, VersionPacker
from tillstream.transforms.lookups.messages import JoinFrame
from tillstream.transforms.lookups.rows import row_reader
from tillstream.transforms.output import contracts_of, numbered, row_stages
from tillstream.transforms.routing import Launch
from tillstream.transforms.shard_state import ShardMemory, shared_memory, specs
from tillstream.transforms.writers import keys_of

__all__ = ["JoinRows"]


class JoinRows(beam.DoFn):
    """Call each flow's DoFn with its events and the rows that they ask for.

    Input: (shard key, JoinFrame), of events and of rows. Output: as of TransformChanges.

    Delivery guarantees:
        Exactly-once within the job: events, rows and the numbers given out lie in the checkpoint that holds
        the read offsets. The versions of one row come in order, and the last one is made of the newest event
        and the newest rows, whatever came first. Versions in between may be skipped, or made of a row that
        had not come yet. State and memory are those of `ShardMemory`; see `Joiner` for what they hold.

    Args:
        config: the client's.
        launch: what is known of this one.
    """

    HEAD, LOG = specs("joined")

    def __init__(self, config: ClientConfig, launch: Launch) -> None:
        self._config = config
        self._launch = launch
        self._failed = Metrics.counter("tillstream", "events_refused")

    def setup(self) -> None:
        """Compile the contracts and set up the client's DoFns."""
        config = self._config
        every = flows_of(config, registry_of(config))
        flows = [flow for each in every.values() for flow in each if flow.kind == "lookup"]
        packer = VersionPacker(contracts_of(config), keys_of(config, every, "lookup"), row_stages(config))
        self._runners = {flow.target: FlowRunner(flow, packer, config.limits) for flow in flows}
        for runner in self._runners.values():
            runner.setup()
        asked = {each.entity for flow in flows for each in flow.parameters.lookups.values()}
        self._joiner = Joiner(
            config.client,
            self._runners,
            packer,
            {name: row_reader(config, name) for name in asked},
            {name: tuple(entity.key) for name, entity in config.entities.items()},
            ordered=not self._launch.bounded,
        )
        states = {
            f"{flow.target}/{name}": state for flow in flows for name, state in flow.parameters.states.items()
        }
        self._memory: ShardMemory[StateEntry] = shared_memory(
            f"{config.client}/joined", horizon_us(states), StateEntry
        )

    def start_bundle(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.start_bundle()

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[Any]:
        """Take one frame."""
        key, frame = element
        state = self._memory.open(key, head, log)
        generation = self._launch.generation
        for batches, letters in self._joiner.take(JoinFrame.decode(frame), state):
            for each in batches:
                made = each if generation is None else numbered(each, state.counters, generation)
                yield key, made.encode()
            if letters:
                self._failed.inc(len(letters))
                yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(letters)).encode())
        state.commit()

    def finish_bundle(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.finish_bundle()

    def teardown(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.teardown()
