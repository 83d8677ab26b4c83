"""Choose the entities that can be read again, and tell what becomes of the rows of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tillstream.configs.keyless import has_messages
from tillstream.pipelines.errors import UserError

if TYPE_CHECKING:
    import psycopg

    from tillstream.configs import ClientConfig
    from tillstream.runners.capture.spec import Capture

__all__ = ["choose", "table_of"]

# Whether a table is there, and whether it has a primary key.
_TABLES = """
select t, to_regclass(t) is not null,
       exists (select 1 from pg_index i where i.indrelid = to_regclass(t) and i.indisprimary)
from unnest(%s::text[]) t
"""


def table_of(config: ClientConfig, capture: Capture, entity: str) -> str:
    """Return the table of an entity that has a topic, as `schema.table`."""
    return (config.entities[entity].topic or "").removeprefix(f"{capture.topic_prefix}.")


def choose(
    config: ClientConfig,
    capture: Capture,
    connection: psycopg.Connection[Any],
    entities: Sequence[str],
    say: Callable[[str], None],
    *,
    leaves_out: bool,
) -> list[str]:
    """Return those of some entities that can be read again; say which cannot, and whose rows are not swept.

    Args:
        config: the client's.
        capture: of the client.
        connection: to the captured database.
        entities: each has a topic.
        say: takes a line for each of the others.
        leaves_out: whether entities that cannot be read are left out; else they are refused.

    Raises:
        UserError: if one is refused, or none is left.
    """
    reasons = _unreadable(config, capture, connection, entities)
    chosen = [name for name in entities if name not in reasons]
    why = [f"entity {name} cannot be read again: {reason}" for name, reason in reasons.items()]
    if reasons and not (chosen and leaves_out):
        raise UserError(f"client {capture.client}: {'; '.join(why)}")
    for line in why:
        say(f"left out: {line}")
    for name in _kept_by(config, chosen):
        say(f"entity {name} keeps rows that the source no longer has (on_truncate: keep): they are not swept")
    return chosen


def _unreadable(
    config: ClientConfig, capture: Capture, connection: psycopg.Connection[Any], entities: Sequence[str]
) -> dict[str, str]:
    """Return why entities cannot be read again, of those that cannot, in their order."""
    tables = {name: table_of(config, capture, name) for name in entities}
    found = connection.execute(_TABLES, (list(set(tables.values())),)).fetchall()
    known = {table: (is_there, has_key) for table, is_there, has_key in found}
    reasons = {}
    for name, table in tables.items():
        entity = config.entities[name]
        is_there, has_key = known[table]
        if has_messages({"topic": entity.topic}):
            reasons[name] = "it holds messages of the log, which no table has"
        elif entity.keyless is not None:
            reasons[name] = "it has no key, by which rows are read again"
        elif table not in capture.tables:
            reasons[name] = f"{table} is not captured: add it to capture.tables"
        elif not is_there:
            reasons[name] = f"there is no table {table}"
        elif not has_key:
            reasons[name] = f"{table} has no primary key, by which it is read"
    return reasons


def _kept_by(config: ClientConfig, entities: Iterable[str]) -> list[str]:
    """Return which of some entities, and of those made of them, keep rows that the source no longer has."""
    made = set(entities)
    while more := {name for name, each in config.entities.items() if each.from_entity in made} - made:
        made |= more
    return sorted(name for name in made if config.entities[name].on_truncate == "keep")
