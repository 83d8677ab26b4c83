"""Refuse rows that lack columns, for sinks that write whole rows."""

from __future__ import annotations

import msgspec

from tillstream.io.sinks.letters import refused
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["whole_rows"]


def whole_rows(sink: str, batch: MutationBatch) -> tuple[MutationBatch, list[DeadLetter]]:
    """Return a batch whose rows lack columns without those rows, and their dead letters; deletes go on.

    Args:
        sink: name of the sink that they would be written through.
        batch: that names unknown columns.
    """
    detail = (
        f"found no value of {', '.join(batch.unknown)}, expected whole rows, because this sink keeps none: "
        "Debezium sends no value of a large column that a change did not touch: set REPLICA IDENTITY FULL on "
        "the source's table"
    )
    letters = [
        msgspec.structs.replace(refused(sink, batch, record, detail), reason="unavailable_value")
        for record in batch.records
        if record.values is not None
    ]
    kept = tuple([record for record in batch.records if record.values is None])
    return msgspec.structs.replace(batch, records=kept, unknown=()), letters
