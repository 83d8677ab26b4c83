"""List the stages behind TransformChanges, and give them what is theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tillstream.configs import ClientConfig
from tillstream.transforms.aggregates.changes import AGGREGATE_STAGE
from tillstream.transforms.beam_flows import BEAM_STAGE
from tillstream.transforms.flows import Flow
from tillstream.transforms.lookups import LOOKUP_STAGE
from tillstream.transforms.routing import Launch, Outputs, Router, Stage
from tillstream.transforms.writers import keys_of

__all__ = ["later_stages", "routers_of", "tags_of"]

_STAGES: tuple[Stage, ...] = (AGGREGATE_STAGE, BEAM_STAGE, LOOKUP_STAGE)
_Flows = Mapping[str, Sequence[Flow]]


def routers_of(config: ClientConfig, flows: _Flows, launch: Launch) -> Mapping[str, Sequence[Router]]:
    """Return the routers of each entity that has a topic."""
    found: dict[str, list[Router]] = {name: [] for name in config.topics.values()}
    for stage, taken in _taken(flows):
        for name, routers in stage.routers(config, taken, launch).items():
            found[name] += routers
    return found


def tags_of(flows: _Flows) -> Sequence[str]:
    """Return the tags of the outputs that a client's routers send to, in order."""
    return [tag for stage, taken in _taken(flows) for tag in stage.tags(taken)]


def later_stages(
    config: ClientConfig, flows: _Flows, transformed: Outputs, launch: Launch
) -> Iterator[Outputs]:
    """Add the stages that take what routers send; yield the outputs of each: `MAIN` and dead letters.

    Args:
        config: the client's.
        flows: its flows.
        transformed: outputs of TransformChanges, among them those of `tags_of`.
        launch: what is known of this one.

    Raises:
        TransformError: if two stages would write one entity.
    """
    keys_of(config, flows, "copy")
    for stage, taken in _taken(flows):
        yield from stage.add(config, taken, transformed, launch)


def _taken(flows: _Flows) -> Iterator[tuple[Stage, Sequence[Flow]]]:
    """Yield each stage that has flows to take, with them."""
    for stage in _STAGES:
        taken = [flow for each in flows.values() for flow in each if flow.kind == stage.kind]
        if taken:
            yield stage, taken
