"""Send what a shard cannot decide alone to a later stage, keyed by something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import apache_beam as beam

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.pipelines.records import ChangeBatch, DeadLetter
from tillstream.transforms.flows import Flow, Kind
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.shard_state import Shard

__all__ = ["MAIN", "Launch", "Message", "Outputs", "Router", "Stage", "typed"]

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


class Launch(NamedTuple):
    """Say what stages must know of a launch.

    Attributes:
        generation: as of `TransformChanges`.
        bounded: whether the run ends; then a shard gets its batches in any order.
        gathers: whether rows wait for their transactions before they are written.
    """

    generation: int | None
    bounded: bool
    gathers: bool = False


class Outputs(Protocol):
    """Be what a ParDo or a PTransform of several outputs returns: a dict, or Beam's own tuple."""

    def __getitem__(self, tag: str, /) -> beam.PCollection:
        """Return the output of a tag."""
        ...


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

    def remembered(self, entity: str, state: Shard[StateEntry]) -> Iterable[tuple[Any, ...]]:
        """Return the keys of an entity's rows that the router remembers, for a truncate to delete."""
        ...

    def truncate(self, batch: ChangeBatch, state: Shard[StateEntry]) -> Sequence[Message]:
        """Return what goes to later stages behind the deletes of the rows that a truncate is known to delete.

        Args:
            batch: of the one truncate.
            state: as of `route`.
        """
        ...


class Stage(Protocol):
    """Be what takes the changes of flows of one kind behind TransformChanges.

    One such object stands for the kind; `transforms/stages.py` lists them all.
    """

    @property
    def kind(self) -> Kind:
        """Return the kind of flows that it takes."""
        ...

    def routers(
        self, config: ClientConfig, flows: Sequence[Flow], launch: Launch
    ) -> Mapping[str, Sequence[Router]]:
        """Return the routers of the entities whose changes it needs.

        Args:
            config: the client's.
            flows: all of the kind; at least one.
            launch: what is known of this one.
        """
        ...

    def tags(self, flows: Sequence[Flow]) -> Sequence[str]:
        """Return the tags of the outputs that the routers send to."""
        ...

    def add(
        self,
        config: ClientConfig,
        flows: Sequence[Flow],
        transformed: Outputs,
        launch: Launch,
    ) -> Iterator[Outputs]:
        """Add what takes those outputs; yield `MAIN` and dead letters, of each part that has them.

        Args:
            config: the client's.
            flows: all of the kind; at least one.
            transformed: outputs of TransformChanges by tag.
            launch: what is known of this one.
        """
        ...


def typed(outputs: beam.pvalue.DoOutputsTuple, *tags: str) -> beam.pvalue.DoOutputsTuple:
    """Give the outputs of one ParDo their types: (key, frame) for `MAIN` and the tags, bytes for letters.

    Python has no other way to give them different ones, and without them Beam would pickle every element.
    """
    for tag in (MAIN, *tags):
        outputs[tag].element_type = beam.typehints.Tuple[bytes, bytes]
    outputs[DEAD_LETTERS].element_type = bytes
    return outputs
