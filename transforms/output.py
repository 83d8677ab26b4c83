"""Take what transforms make: check it, let the entity's trust stages look at it, pack and number it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, MutationBatch, MutationRecord
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.evolving import contract_for

__all__ = ["Refused", "RowStage", "contracts_of", "numbered", "row_stages"]

_GENERATION, _FIRST = "generation:", "first:"


class Refused(NamedTuple):
    """Hold one row that a stage refuses, and why."""

    record: MutationRecord
    error: RecordError


class RowStage(Protocol):
    """Look at the rows of one entity before they are written."""

    def sift(
        self, batch: ChangeBatch, columns: tuple[str, ...], records: list[MutationRecord]
    ) -> tuple[list[MutationRecord], Sequence[Refused]]:
        """Return the rows that go on, changed or not, in order, and those that become dead letters.

        Args:
            batch: whose changes the rows were made of.
            columns: names of each record's values, in order.
            records: upserts and deletes of the entity, in order; the list may be changed.
        """
        ...

    def without(self, unknown: tuple[str, ...]) -> RowStage:
        """Return the stage for rows in which some columns were not sent: it does not look at those."""
        ...


def contracts_of(config: ClientConfig) -> Mapping[str, CompiledContract | None]:
    """Return each entity's contract, compiled; None where it has none, and then rows pass as they are."""
    compiled: dict[str, CompiledContract | None] = {}
    for name, entity in config.entities.items():
        columns = entity.columns()
        policy = config.evolution_of(name)
        compiled[name] = contract_for(name, columns, entity.key, policy) if columns else None
    return compiled


def row_stages(config: ClientConfig) -> Mapping[str, Sequence[RowStage]]:
    """Return the stages that look at each entity's rows, in order; reads the client's salt where it masks.

    Raises:
        UserError: if the salt cannot be read.
    """
    # The stages know what a refused row is.
    from tillstream.transforms.trust.stages import trust_stages

    return {name: trust_stages(config, name) for name in config.entities}


def numbered(batch: MutationBatch, counters: dict[str, int], generation: int) -> MutationBatch:
    """Give a batch the next number of its entity; names of entities hold no colon.

    Args:
        batch: to number.
        counters: of the shard, out of checkpointed state; changed in place.
        generation: of this launch, milliseconds since 1970 UTC.
    """
    if counters.get(_GENERATION) != generation:
        for name in [each for each in counters if each.startswith(_FIRST)]:
            del counters[name]
        counters[_GENERATION] = generation
    sequence = counters[batch.entity] = counters.get(batch.entity, 0) + 1
    first = counters.setdefault(_FIRST + batch.entity, sequence)
    return msgspec.structs.replace(batch, sequence=sequence, generation=generation, first=first)
