"""Create the table of dead letters in Postgres, and take over those of earlier releases."""

from __future__ import annotations

from psycopg import sql

from tillstream.io.sinks.postgres_tables import DEAD_LETTERS_TABLE, Connection, columns_of, take_turns
from tillstream.pipelines.errors import SinkError

__all__ = ["ensure_dead_letters"]

_CREATE = """
CREATE TABLE {} (
    id text PRIMARY KEY,
    client text NOT NULL,
    entity text,
    step text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    index integer NOT NULL,
    key text,
    key_bytes bytea,
    payload text,
    payload_bytes bytea,
    transform text,
    traceback text,
    sink text NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT now(),
    position text,
    source_time_us bigint NOT NULL DEFAULT 0,
    source_entity text,
    attempt bigint NOT NULL DEFAULT 0,
    status text NOT NULL DEFAULT 'open',
    resolution text,
    resolved_at timestamptz
)
"""
# Tables of earlier releases: one letter for all sinks of a mutation, then one for all entities of a change.
_ADD_SINK = "ALTER TABLE {table} ADD COLUMN sink text NOT NULL DEFAULT ''"
_ADD_ID = """
ALTER TABLE {table} ADD COLUMN id text, ADD COLUMN position text,
    ADD COLUMN source_time_us bigint NOT NULL DEFAULT 0, ADD COLUMN source_entity text,
    ADD COLUMN attempt bigint NOT NULL DEFAULT 0, ADD COLUMN status text NOT NULL DEFAULT 'open',
    ADD COLUMN resolution text, ADD COLUMN resolved_at timestamptz
"""
# As `letter_id` makes it.
_FILL_ID = """
UPDATE {table} SET id = encode(sha256(convert_to(concat_ws(U&'\\001f', topic, partition, "offset", index,
    step, sink, coalesce(entity, '')), 'UTF8')), 'hex')
"""
_MOVE_KEY = "ALTER TABLE {table} DROP CONSTRAINT {primary_key}, ADD PRIMARY KEY (id)"
_PRIMARY_KEY = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(%s) AND contype = 'p'"


def ensure_dead_letters(connection: Connection, schema: str) -> None:
    """Create the table of dead letters if it is missing; take over one that an earlier release made.

    Raises:
        SinkError: if a table of that name is none of those.
        psycopg.Error: as the server raises it.
    """
    table = sql.Identifier(schema, DEAD_LETTERS_TABLE)
    with connection.transaction():
        take_turns(connection, schema)
        existing = columns_of(connection, schema, DEAD_LETTERS_TABLE)
        if not existing:
            connection.execute(sql.SQL(_CREATE).format(table))
        elif "id" not in existing:
            found = connection.execute(_PRIMARY_KEY, (table.as_string(connection),)).fetchone()
            if found is None:
                raise SinkError(
                    f"table {schema}.{DEAD_LETTERS_TABLE}: found no primary key, expected that of dead "
                    "letters: move the table out of the way"
                )
            steps = [_ADD_ID, _FILL_ID, _MOVE_KEY]
            for step in steps if "sink" in existing else [_ADD_SINK, *steps]:
                connection.execute(sql.SQL(step).format(table=table, primary_key=sql.Identifier(found[0])))
