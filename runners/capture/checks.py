"""Find what a database lacks before tables of it can be captured, all of it at once.

Sources: PostgreSQL documentation, "Logical Replication", sections "Publication", "Row filters" and
"Configuration Settings"; Debezium 3.3 documentation, "Setting up Postgres".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import UserError
from tillstream.runners.capture.spec import Capture

if TYPE_CHECKING:
    import psycopg

__all__ = ["check_source", "hints"]

# pgoutput sends messages in the log since then.
_VERSION_MIN = 140_000

_SERVER = """
select current_setting('server_version_num')::int, current_setting('wal_level'),
       current_setting('max_replication_slots')::int, (select count(*) from pg_replication_slots),
       current_setting('max_wal_senders')::int,
       exists (select 1 from pg_replication_slots where slot_name = %(slot)s),
       exists (select 1 from pg_roles where rolname = %(role)s),
       rolsuper, rolcreaterole, rolreplication,
       has_database_privilege(current_database(), 'create')
from pg_roles where rolname = current_user
"""
_TABLES = """
select n.nspname || '.' || c.relname, c.relkind::text, c.relreplident::text,
       exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary),
       pg_has_role(current_user, c.relowner, 'member'),
       coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0) > 0
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname || '.' || c.relname = any(%(tables)s)
"""

# Arrays for which Debezium's UnchangedToastedPlaceholder has nothing, or nothing that fits the schema.
_NULLED = """
select n.nspname || '.' || c.relname, string_agg(a.attname, ', ' order by a.attnum)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type t on t.oid = a.atttypid and t.typcategory = 'A' join pg_type e on e.oid = t.typelem
where n.nspname || '.' || c.relname = any(%(tables)s) and c.relreplident <> 'f' and a.attstorage in ('x', 'e')
  and e.typname not in ('text', 'varchar', 'bpchar', 'json', 'jsonb', 'bytea', 'int4', 'int8', 'uuid')
group by 1 order by 1
"""


def check_source(connection: psycopg.Connection[Any], capture: Capture) -> None:
    """Raise UserError with a line for each thing that the database lacks.

    Args:
        connection: the administrator's.
        capture: what is to be captured.
    """
    problems = [*_server_problems(connection, capture), *_table_problems(connection, capture)]
    if problems:
        raise UserError("\n".join(f"client {capture.client}: {problem}" for problem in problems))


def hints(connection: psycopg.Connection[Any], capture: Capture) -> list[str]:
    """Return what is worth knowing of the tables though nothing is wrong."""
    tables = {"tables": list(capture.tables)}
    return [
        *(
            f"{name} holds large values: an update that leaves one alone does not send it, and only Postgres "
            f"sinks keep it; for others: alter table {name} replica identity full"
            for name, _, identity, _, _, has_large in connection.execute(_TABLES, tables).fetchall()
            if has_large and identity != "f"
        ),
        *(
            f"{name} has arrays ({columns}) of which Debezium sends null where an update leaves a large one "
            f"alone, and nobody can tell: alter table {name} replica identity full"
            for name, columns in connection.execute(_NULLED, tables).fetchall()
        ),
    ]


def _server_problems(connection: psycopg.Connection[Any], capture: Capture) -> Iterator[str]:
    row = connection.execute(_SERVER, {"slot": capture.slot, "role": capture.role}).fetchone()
    assert row is not None  # the current user is a role
    version, wal_level, slots_max, slots, senders_max, has_slot, has_role, *rights = row
    is_super, creates_roles, replicates, creates = rights
    if version < _VERSION_MIN:
        yield f"found Postgres {version // 10_000}, expected 14 or later"
    if wal_level != "logical":
        yield (
            f"found wal_level {wal_level}, expected logical: alter system set wal_level = logical, then "
            "restart the server"
        )
    if not has_slot and slots >= slots_max:
        yield (
            f"found {slots} of {slots_max} replication slots in use, expected a free one: raise "
            "max_replication_slots and restart the server, or drop a slot that nobody reads"
        )
    if senders_max == 0:
        yield "found max_wal_senders 0, expected one for each connector: raise it and restart the server"
    if not is_super and not has_role and not (creates_roles and replicates):
        yield (
            "found admin_user without the right to create a role that replicates, expected a superuser or a "
            "role with CREATEROLE and REPLICATION; or name as capture.role one that somebody has made"
        )
    if not is_super and not creates:
        yield "found admin_user without CREATE on the database, expected it: publications need it"


def _table_problems(connection: psycopg.Connection[Any], capture: Capture) -> Iterator[str]:
    rows = connection.execute(_TABLES, {"tables": list(capture.tables)}).fetchall()
    found = {row[0]: row[1:] for row in rows}
    for name in capture.tables:
        if name not in found:
            yield f"found no table {name} in the database, expected it: a topic or capture.tables names it"
            continue
        kind, identity, has_key, is_owned, _ = found[name]
        if kind not in "rp":
            yield f"found that {name} is no table, expected one: views and foreign tables have no log"
        elif name not in capture.insert_only and (identity == "n" or (identity == "d" and not has_key)):
            yield (
                f"found no key of {name} for its log to carry, expected one: once it is captured, Postgres "
                f"refuses updates and deletes of it: alter table {name} replica identity full"
            )
        if not is_owned:
            yield f"found that admin_user does not own {name}, expected it: only its owner can publish it"
