"""Bring what one side wrote of an entity into a form in which two sides can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from tillstream.pipelines.positions import sortable
from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord

__all__ = ["KEPT", "Level", "Output", "changes_of", "made_of", "rows_of"]

# rows: what each key ends as. changes: each mutation.
Level: TypeAlias = Literal["rows", "changes"]
# Stands for a value that the source did not send, because the change did not touch it.
KEPT = "(kept)"
_OPERATIONS = {
    MutationKind.UPSERT: "upsert",
    MutationKind.DELETE: "delete",
    MutationKind.TRUNCATE: "truncate",
}
_encode = msgspec.msgpack.Encoder().encode


class Output(NamedTuple):
    """Hold one row or mutation that a side wrote.

    Attributes:
        operation: upsert, delete or truncate.
        key: column to value.
        row: column to value; None but for upserts.
        place: topic, partition, offset of the change that it was made of, and its index among that one's.
        position: of that change, as bytes that compare; empty where it has none.
    """

    operation: str
    key: dict[str, Any]
    row: dict[str, Any] | None
    place: tuple[str, int, int, int]
    position: bytes


def made_of(
    batches: Iterable[MutationBatch], first: Mapping[tuple[str, int], int]
) -> Iterator[MutationBatch]:
    """Leave out what was made before the savepoint and waited in it: it says nothing of the new version.

    Args:
        batches: what a side wrote.
        first: offset from which the side has read each partition.
    """
    for batch in batches:
        start = first.get((batch.topic, batch.partition), 0)
        # Rows that are made again, and those of replays, bear the offsets of older changes.
        if batch.derived or batch.via is not None or batch.records[0].offset >= start:
            yield batch
        else:
            records = tuple(record for record in batch.records if record.offset >= start)
            yield msgspec.structs.replace(batch, records=records)


def changes_of(batches: Iterable[MutationBatch]) -> dict[bytes, Output]:
    """Return each mutation of a shard by its identity; of several with one identity all are kept."""
    found: dict[bytes, Output] = {}
    seen: Counter[bytes] = Counter()
    for batch in batches:
        for record in batch.records:
            output = _output(batch, record)
            identity = _encode((output.place, batch.via))
            number = seen[identity]
            seen[identity] += 1
            found[_encode((identity, number))] = output
    return found


def rows_of(batches: Iterable[MutationBatch]) -> dict[bytes, Output]:
    """Return what each key of a shard ends as, by the key, in the way sinks do that keep rows.

    Of two changes the one with the newer position wins, a delete among them, and the later one of equals; a
    truncate deletes older rows, and is kept itself.
    """
    found: dict[bytes, Output] = {}
    for batch in batches:
        for record in batch.records:
            output = _output(batch, record)
            if output.operation == "truncate":
                _truncate(found, output)
                continue
            key = _encode(record.key)
            known = found.get(key)
            if known is not None and output.position and output.position < known.position:
                continue
            found[key] = output if known is None else _filled(output, known)
    return found


def _output(batch: MutationBatch, record: MutationRecord) -> Output:
    row = None
    if record.values is not None:
        row = dict(zip(batch.columns, record.values, strict=True))
        row.update(dict.fromkeys(batch.unknown, KEPT))
    return Output(
        _OPERATIONS[record.kind],
        dict(zip(batch.key_columns, record.key, strict=False)),
        row,
        (batch.topic, batch.partition, record.offset, record.index),
        sortable(record.position) if record.position else b"",
    )


def _truncate(found: dict[bytes, Output], truncate: Output) -> None:
    for key, known in found.items():
        if known.operation == "upsert" and known.position < truncate.position:
            found[key] = known._replace(operation="delete", row=None, position=truncate.position)
    # No key's form has this byte alone.
    found[b"t" + _encode(truncate.place)] = truncate


def _filled(output: Output, known: Output) -> Output:
    if output.row is None or known.row is None or KEPT not in output.row.values():
        return output
    before = known.row
    row = {name: before.get(name, value) if value == KEPT else value for name, value in output.row.items()}
    return output._replace(row=row)
