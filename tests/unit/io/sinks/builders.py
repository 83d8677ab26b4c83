"""Make batches in the few words a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tillstream.configs import Entity
from tillstream.io.sinks import Sink
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationKind, MutationRecord

TIME_US = 1_760_000_000_000_000


def entity(**contract: Any) -> Entity:
    """Return an entity with key `id`; without columns it has no contract."""
    fields = {"topic": "t", "key": ["id"], "sinks": ["out"], "contract": contract or None}
    return Entity.model_validate(fields)


def upsert(key: Any, *values: Any, offset: int = 0) -> MutationRecord:
    """Return an upsert of a row whose first column is its key."""
    return MutationRecord(MutationKind.UPSERT, (key,), (key, *values), (offset,), TIME_US + offset, offset)


def delete(key: Any, *, offset: int = 0) -> MutationRecord:
    """Return a delete."""
    return MutationRecord(MutationKind.DELETE, (key,), None, (offset,), TIME_US + offset, offset)


def written(sink: Sink, batches: Sequence[MutationBatch]) -> list[DeadLetter]:
    """Write batches, and return what the sink refused."""
    refused: list[DeadLetter] = []
    sink.write(batches, refused.extend)
    return refused


def batch(columns: str, *records: MutationRecord, entity: str = "things") -> MutationBatch:
    """Return a batch with key `id`; columns are separated by blanks."""
    return MutationBatch("acme", entity, 0, "t", 3, tuple(columns.split()), ("id",), records)
