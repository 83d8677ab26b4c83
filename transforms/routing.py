"""Send what a shard cannot decide alone to a later stage, keyed by something else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import apache_beam as beam

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.pipelines.records import ChangeBatch, DeadLetter
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.shard_state import Shard

__all__ = ["MAIN", "Message", "Router", "later_stages", "routers_of", "tags_of", "typed"]

MAIN = "batches"


class Message(NamedTuple):
    """Hold what goes to a later stage.

    Attributes:
        tag: of the output of TransformChanges that the stage reads.
        key: that the stage is keyed by: a shard's.
        frame: versioned, encoded.
    """

    tag: str
    key: bytes
    frame: bytes


class Router(Protocol):
    """Turn the changes of one entity into messages."""

    def route(
        self, batch: ChangeBatch, state: Shard[StateEntry]
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Return what goes to later stages, many changes to one message, and what is refused.

        Args:
            batch: without what was seen before.
            state: the shard's, for what the router must remember of a key, under a name of its own.
        """
        ...


def routers_of(config: ClientConfig, flows: Mapping[str, Sequence[Flow]]) -> Mapping[str, Sequence[Router]]:
    """Return the routers of each entity that has a topic."""
    return dict.fromkeys(config.topics.values(), ())


def tags_of(flows: Mapping[str, Sequence[Flow]]) -> Sequence[str]:
    """Return the tags of the outputs that a client's routers send to, in order."""
    return ()


def later_stages(
    config: ClientConfig,
    flows: Mapping[str, Sequence[Flow]],
    transformed: beam.pvalue.DoOutputsTuple,
    generation: int | None,
) -> Iterator[beam.pvalue.DoOutputsTuple]:
    """Add the stages that take what routers send; yield the outputs of each: `MAIN` and dead letters.

    Args:
        config: the client's.
        flows: its flows.
        transformed: outputs of TransformChanges, among them those of `tags_of`.
        generation: as of `TransformChanges`.
    """
    yield from ()


def typed(outputs: beam.pvalue.DoOutputsTuple, *tags: str) -> beam.pvalue.DoOutputsTuple:
    """Give the outputs of one ParDo their types: (key, frame) for `MAIN` and the tags, bytes for letters.

    Python has no other way to give them different ones, and without them Beam would pickle every element.
    """
    for tag in (MAIN, *tags):
        outputs[tag].element_type = beam.typehints.Tuple[bytes, bytes]
    outputs[DEAD_LETTERS].element_type = bytes
    return outputs
