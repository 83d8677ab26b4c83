"""Apply truncates to the tables of a Postgres sink: delete the rows whose position is lower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from tillstream.io.sinks.postgres_tables import SOURCE_POSITION, SOURCE_TIME
from tillstream.pipelines.positions import reconcile, sortable
from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["settled", "sweep"]

# Rows that were written without a position are judged by the time of their commit; those that have none
# either are older than any.
_SWEEP = """
DELETE FROM {table} WHERE CASE WHEN {position} IS NULL OR %(position)s = '' THEN
coalesce({time} <= timestamptz 'epoch' + %(time_us)s * interval '1 microsecond', true)
ELSE {position} < %(position)s END
"""


def settled(
    batches: Sequence[MutationBatch],
) -> tuple[Sequence[MutationBatch], Sequence[MutationBatch]]:
    """Part batches of rows from truncates, so that the truncates can be applied first.

    What a truncate deletes of the rows before it is left out. Those of other shards stay, because each shard
    has a truncate of its own, which comes behind them.

    Returns:
        the batches of rows, and those of truncates, one for each position.
    """
    if not any(batch.truncates for batch in batches):
        return batches, ()
    rows: list[MutationBatch] = []
    truncates: dict[tuple[Any, ...], MutationBatch] = {}
    for batch in batches:
        if not batch.truncates:
            rows.append(batch)
            continue
        (truncate,) = batch.records
        truncates[batch.entity, truncate.position, truncate.source_time_us] = batch
        rows = [_without(each, batch, truncate) for each in rows]
    return rows, list(truncates.values())


def sweep(
    connection: psycopg.Connection[tuple[Any, ...]], schema: str, name: str, truncate: MutationRecord
) -> int:
    """Delete the rows of a table that a truncate deletes; return how many.

    Raises:
        psycopg.Error: as the server raises it.
    """
    statement = sql.SQL(_SWEEP).format(
        table=sql.Identifier(schema, name),
        position=sql.Identifier(SOURCE_POSITION),
        time=sql.Identifier(SOURCE_TIME),
    )
    values = {"position": sortable(truncate.position), "time_us": truncate.source_time_us}
    return connection.execute(statement, values).rowcount


def _without(batch: MutationBatch, truncates: MutationBatch, truncate: MutationRecord) -> MutationBatch:
    if (batch.entity, batch.shard) != (truncates.entity, truncates.shard):
        return batch
    kept = tuple([each for each in batch.records if each.values is None or not _is_swept(each, truncate)])
    return batch if len(kept) == len(batch.records) else msgspec.structs.replace(batch, records=kept)


def _is_swept(record: MutationRecord, truncate: MutationRecord) -> bool:
    if record.position and truncate.position:
        return record.position < truncate.position and reconcile(record.position, truncate.position) is None
    return record.source_time_us <= truncate.source_time_us
