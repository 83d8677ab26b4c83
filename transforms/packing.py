"""Pack mutations into one batch for each output entity and set of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from tillstream.io.sinks.letters import row_json
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import (
    ChangeBatch,
    DeadLetter,
    Mutation,
    MutationBatch,
    MutationKind,
    MutationRecord,
)
from tillstream.transforms.contracts.compiled import CompiledContract, Values
from tillstream.transforms.output import Refused, RowStage

__all__ = ["HALF", "MutationPacker", "Packed", "encodable"]

# Mutations that one change may make; those of the second half of an update are numbered from here on.
HALF = 1 << 20
_encode = msgspec.msgpack.Encoder().encode
_Evolved: TypeAlias = tuple[tuple[str, str], ...]
# Entity, columns, records, evolved columns, columns whose values the source did not send.
_Group: TypeAlias = tuple[str, tuple[str, ...], list[MutationRecord], _Evolved, tuple[str, ...]]
Packed: TypeAlias = tuple[str, tuple[str, ...], MutationRecord]


def encodable(values: Values) -> Values:
    """Return values that a batch can carry; raises RecordError `malformed` where one is no such value."""
    try:
        _encode(values)
    except (TypeError, OverflowError, RecursionError) as error:
        raise RecordError("malformed", f"found a value that no sink takes: {error}") from error
    return values


class MutationPacker:
    """Gather the mutations of one change batch in order, checked against their contracts.

    Args:
        contracts: of each entity; None where it has none, and then rows pass as they are.
        keys: names of each entity's key columns.
        stages: look at each entity's rows last, in this order.
    """

    def __init__(
        self,
        contracts: Mapping[str, CompiledContract | None],
        keys: Mapping[str, tuple[str, ...]],
        stages: Mapping[str, Sequence[RowStage]],
    ) -> None:
        self._stages = stages
        self._contracts = contracts
        self._keys = keys
        # Tables without a key: no column of anybody's own begins so.
        self._keyless = {name for name, key in keys.items() if key[:1] and key[0].startswith("_")}
        self._groups: list[_Group] = []

    def check(self, mutation: Mutation) -> Packed:
        """Check one mutation; what comes back can be appended.

        Raises:
            RecordError: `contract`, `missing_key` or `unknown_entity`.
        """
        entity = mutation.entity
        if entity not in self._keys:
            raise RecordError(
                "unknown_entity", f"found entity {entity!r}, expected one of {', '.join(self._keys)}"
            )
        columns: tuple[str, ...] = ()
        values: Values | None = None
        if mutation.kind is MutationKind.DELETE:
            key = self._checked_key(entity, mutation.key)
        else:
            row: Mapping[str, Any] = mutation.row or {}
            if entity in self._keyless:
                row = _with_key(mutation)
            columns, key, values = self._checked_row(entity, row)
        record = MutationRecord(
            mutation.kind,
            key,
            values,
            mutation.position,
            mutation.source_time_us,
            mutation.offset,
            mutation.index,
        )
        return entity, columns, record

    def append(self, entity: str, columns: tuple[str, ...], record: MutationRecord) -> None:
        """Append a record that is checked already; deletes carry no columns and fit any batch."""
        self.append_evolved(entity, columns, record, ())

    def append_evolved(
        self,
        entity: str,
        columns: tuple[str, ...],
        record: MutationRecord,
        evolved: _Evolved,
        unknown: tuple[str, ...] = (),
    ) -> None:
        """Append a record whose columns are more, or wider, than those of its contract, or partly unknown."""
        if self._groups:
            last_entity, last_columns, records, last_evolved, last_unknown = self._groups[-1]
            same = columns == last_columns and evolved == last_evolved and unknown == last_unknown
            if last_entity == entity and (not columns or same):
                records.append(record)
                return
        if not columns:
            contract = self._contracts[entity]
            columns = contract.columns if contract is not None else ()
        self._groups.append((entity, columns, [record], evolved, unknown))

    def extend(
        self, entity: str, columns: tuple[str, ...], records: list[MutationRecord], evolved: _Evolved = ()
    ) -> None:
        """Append records that are checked already and share their columns; takes the list over."""
        self._groups.append((entity, columns, records, evolved, ()))

    def keep_only(self, entity: str, index: int) -> None:
        """Forget what was gathered but the mutation of one entity and number."""
        found = [
            (name, columns, [record for record in records if record.index == index], evolved, unknown)
            for name, columns, records, evolved, unknown in self._groups
            if name == entity
        ]
        self._groups = [group for group in found if group[2]]

    def flush(self, batch: ChangeBatch) -> tuple[list[MutationBatch], list[DeadLetter]]:
        """Return what was gathered, in order, as batches of the change batch's shard, and forget it.

        With it come the dead letters of rows that an entity's stages refuse.
        """
        groups, self._groups = self._groups, []
        batches: list[MutationBatch] = []
        letters: list[DeadLetter] = []
        for entity, columns, gathered, evolved, unknown in groups:
            records = gathered
            stages = self._stages.get(entity, ())
            for stage in [each.without(unknown) for each in stages] if unknown else stages:
                records, refused = stage.sift(batch, columns, records)
                letters += [_letter(batch, entity, columns, self._keys[entity], each) for each in refused]
            if records:
                batches.append(
                    MutationBatch(
                        batch.client,
                        entity,
                        batch.shard,
                        batch.topic,
                        batch.partition,
                        columns,
                        self._keys[entity],
                        tuple(records),
                        evolved=evolved,
                        unknown=unknown,
                    )
                )
        return batches, letters

    def _checked_key(self, entity: str, key: Mapping[str, Any]) -> Values:
        contract = self._contracts[entity]
        if contract is not None:
            return contract.convert_key(key)
        return _plain_key(self._keys[entity], key)

    def _checked_row(self, entity: str, row: Mapping[str, Any]) -> tuple[tuple[str, ...], Values, Values]:
        contract = self._contracts[entity]
        if contract is not None:
            values = contract.convert(row)
            return contract.columns, contract.key_of(values), values
        return tuple(row), _plain_key(self._keys[entity], row), encodable(tuple(row.values()))


def _with_key(mutation: Mutation) -> Mapping[str, Any]:
    """Return a row of a table without a key, told apart as the change is, and from others made of it."""
    key, place = dict(mutation.key), mutation.index % HALF
    if place:
        name = next(iter(key), "")
        key[name] = f"{key.get(name)}.{place}"
    return {**key, **(mutation.row or {})}


def _plain_key(columns: tuple[str, ...], row: Mapping[str, Any]) -> Values:
    try:
        return tuple([row[column] for column in columns])
    except KeyError as error:
        raise RecordError("missing_key", f"found no column {error}, expected the entity's key") from error


def _letter(
    batch: ChangeBatch, entity: str, columns: tuple[str, ...], key_columns: tuple[str, ...], refused: Refused
) -> DeadLetter:
    record, error = refused
    return DeadLetter(
        client=batch.client,
        entity=entity,
        step="trust",
        reason=error.reason,
        detail=error.detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        index=record.index,
        key=row_json(key_columns, record.key),
        payload=None if record.values is None else row_json(columns, record.values),
    )
