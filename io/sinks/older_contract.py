"""Bring what waited in a savepoint under the contract of the launch that writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tillstream.configs import Entity
from tillstream.pipelines.evolution import evolves
from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["ContractOfNow"]


class ContractOfNow:
    """Give batches the columns of their entities' contracts, in order.

    Batches are made under a contract, and wait for a checkpoint; a savepoint holds those that wait. A launch
    with another contract goes on from it. Columns that this one lacks are left out, those that are new are
    null, as they are in all rows from before.

    Args:
        entities: by name, with the contracts that their transforms bring.
    """

    def __init__(self, entities: Mapping[str, Entity]) -> None:
        self._columns = {
            name: tuple([column.name for column in entity.columns()]) for name, entity in entities.items()
        }
        self._evolving = {name for name, entity in entities.items() if evolves(entity)}

    def of(self, batch: MutationBatch) -> MutationBatch:
        """Return a batch as this launch would have made it; itself, where it did."""
        columns = self._columns[batch.entity]
        # Without a contract rows pass as they are.
        if batch.columns == columns or not columns:
            return batch
        if batch.entity in self._evolving:
            if batch.columns[: len(columns)] == columns:
                return batch
            evolved = {name for name, _ in batch.evolved}
            columns += tuple(name for name in batch.columns if name in evolved and name not in columns)
        places = {name: place for place, name in enumerate(batch.columns)}
        plan = [places.get(name) for name in columns]
        return msgspec.structs.replace(
            batch,
            columns=columns,
            records=tuple([_with_values(record, plan) for record in batch.records]),
            evolved=tuple(each for each in batch.evolved if each[0] in columns),
            unknown=tuple(name for name in batch.unknown if name in columns),
        )


def _with_values(record: MutationRecord, plan: list[int | None]) -> MutationRecord:
    if record.values is None:
        return record
    values: tuple[Any, ...] = record.values
    return msgspec.structs.replace(
        record, values=tuple([None if place is None else values[place] for place in plan])
    )
