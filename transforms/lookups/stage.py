"""Put the stages of lookups together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import apache_beam as beam

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.transforms.flows import Flow, Kind
from tillstream.transforms.lookups.join import JoinRows
from tillstream.transforms.lookups.resolve import ResolveRows
from tillstream.transforms.lookups.routers import EVENTS, REFERENCES, EventRouter, ReferenceRouter
from tillstream.transforms.lookups.rows import row_reader
from tillstream.transforms.routing import MAIN, Launch, Outputs, Router, typed

__all__ = ["LOOKUP_STAGE", "JoinLookups"]

_KEYED = beam.typehints.Tuple[bytes, bytes]


class JoinLookups(beam.PTransform):
    """Call the DoFns that ask for rows of other entities.

    Input: the outputs `EVENTS` and `REFERENCES` of TransformChanges, by these names. Output: as of
    TransformChanges, (shard key, MutationBatch frame) under `MAIN`, and dead letters.

    Delivery guarantees:
        Exactly-once within the job; see `JoinRows` for the order of what is made. An exactly-once sink that
        writes by key ends in the join of the newest rows of both sides, whatever is killed, and from
        whichever savepoint a job is launched. One that appends gets versions, each once, and after a launch
        from an older savepoint those since then again: the last of each key holds.

    Args:
        config: the client's.
        launch: what is known of this one.
    """

    def __init__(self, config: ClientConfig, launch: Launch) -> None:
        super().__init__()
        self._config = config
        self._launch = launch

    def expand(self, sent: Mapping[str, beam.PCollection]) -> beam.pvalue.DoOutputsTuple:
        """Add both stages; their labels are part of every savepoint."""
        rows = sent[REFERENCES] | "Resolve" >> beam.ParDo(
            ResolveRows(self._config, ordered=not self._launch.bounded)
        ).with_output_types(_KEYED)
        joined = (
            (sent[EVENTS], rows)
            | "Both" >> beam.Flatten()
            | "Join" >> beam.ParDo(JoinRows(self._config, self._launch)).with_outputs(DEAD_LETTERS, main=MAIN)
        )
        return typed(joined)


class _LookupStage:
    """Be the stage of flows that ask for rows of other entities."""

    kind: Kind = "lookup"

    def routers(
        self,
        config: ClientConfig,
        flows: Sequence[Flow],
        launch: Launch,  # noqa: ARG002  (as of `Stage`)
    ) -> Mapping[str, Sequence[Router]]:
        """Return a router for each looked-up entity and for each flow."""
        found: dict[str, list[Router]] = {}
        for entity in sorted({each.entity for flow in flows for each in flow.parameters.lookups.values()}):
            found[entity] = [ReferenceRouter(config, entity, row_reader(config, entity))]
        for flow in flows:
            found.setdefault(flow.source, []).append(EventRouter(config, flow))
        return found

    def tags(self, flows: Sequence[Flow]) -> Sequence[str]:  # noqa: ARG002  (as of `Stage`)
        """Return the tags of events, and of rows with subscriptions."""
        return EVENTS, REFERENCES

    def add(
        self,
        config: ClientConfig,
        flows: Sequence[Flow],  # noqa: ARG002  (as of `Stage`)
        transformed: Outputs,
        launch: Launch,
    ) -> Iterator[Outputs]:
        """Add the stages, and yield what they put out."""
        sent = {tag: transformed[tag] for tag in (EVENTS, REFERENCES)}
        yield sent | "JoinLookups" >> JoinLookups(config, launch)


LOOKUP_STAGE = _LookupStage()
