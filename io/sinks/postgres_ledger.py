"""Keep the ledger of a Postgres sink in a table beside the rows."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from tillstream.io.sinks.base import Writer
from tillstream.io.sinks.ledger import Admission, Entry, Stream, admit, decode_entry, encode_entry, streams_of
from tillstream.io.sinks.postgres_merge import Connection
from tillstream.io.sinks.postgres_tables import take_turns
from tillstream.pipelines.records import MutationBatch

__all__ = ["TABLE", "PostgresLedger"]

TABLE = "tillstream_ledger"

_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
    client text NOT NULL,
    sink text NOT NULL,
    entity text NOT NULL,
    shard integer NOT NULL,
    entry text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client, sink, entity, shard)
)
"""
_FIND = """
SELECT entity, shard, entry FROM {table} WHERE client = %(client)s AND sink = %(sink)s
AND (entity, shard) IN (SELECT * FROM unnest(%(entities)s::text[], %(shards)s::integer[]))
ORDER BY entity, shard FOR UPDATE
"""
_MOVE = """
INSERT INTO {table} AS l (client, sink, entity, shard, entry)
SELECT %(client)s, %(sink)s, n.entity, n.shard, n.entry
FROM unnest(%(entities)s::text[], %(shards)s::integer[], %(entries)s::text[]) AS n(entity, shard, entry)
ON CONFLICT (client, sink, entity, shard) DO UPDATE SET entry = excluded.entry, updated_at = now()
WHERE (l.entity, l.shard, l.entry)
IN (SELECT * FROM unnest(%(entities)s::text[], %(shards)s::integer[], %(replaced)s::text[]))
"""


class PostgresLedger:
    """Hold one row for each stream of a client's sink, moved in the transaction that writes its rows.

    Args:
        schema: of the table.
        client: whose rows they are.
        sink: the sink's name in the client's config.
        writer: who writes.
    """

    def __init__(self, schema: str, client: str, sink: str, writer: Writer) -> None:
        self._schema = schema
        self._table = sql.Identifier(schema, TABLE)
        self._owner = {"client": client, "sink": sink}
        self._writer = writer

    def ensure(self, connection: Connection) -> None:
        """Create the table if it is missing; writers that start together take turns."""
        with connection.transaction():
            # IF NOT EXISTS alone fails where another writer creates it at the same time.
            take_turns(connection, self._schema)
            connection.execute(sql.SQL(_CREATE).format(table=self._table))

    def admit(self, connection: Connection, batches: Sequence[MutationBatch]) -> Admission:
        """Choose what to apply, and lock those streams until the transaction ends.

        Raises:
            SequenceGapError, StaleWriterError, SinkError: as `ledger.admit` does.
        """
        streams = streams_of(batches)
        rows = connection.execute(
            sql.SQL(_FIND).format(table=self._table), {**self._owner, **_columns(streams)}
        ).fetchall()
        found = {Stream(entity, shard): decode_entry(entry) for entity, shard, entry in rows}
        return admit(
            found,
            batches,
            generation=self._writer.generation,
            shards=self._writer.shards,
            drops_repeated=False,
            undoes=self._writer.undoes,
        )

    def move(self, connection: Connection, admission: Admission) -> None:
        """Write the new entries.

        Raises:
            psycopg.errors.SerializationFailure: if another writer has begun one of the streams meanwhile.
        """
        if not admission.entries:
            return
        streams = list(admission.entries)
        moved = connection.execute(
            sql.SQL(_MOVE).format(table=self._table),
            {
                **self._owner,
                **_columns(streams),
                "entries": [_text(admission.entries[stream]) for stream in streams],
                "replaced": [_text(admission.replaced[stream]) for stream in streams],
            },
        ).rowcount
        if moved != len(streams):
            raise psycopg.errors.SerializationFailure("another writer has moved the ledger")


def _columns(streams: Sequence[Stream]) -> dict[str, list[str] | list[int]]:
    return {
        "entities": [stream.entity for stream in streams],
        "shards": [stream.shard for stream in streams],
    }


def _text(entry: Entry | None) -> str | None:
    return None if entry is None else encode_entry(entry).decode()
