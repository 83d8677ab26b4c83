"""Describe tables without a key: what tells their rows apart in place of columns of their own.

Their rows get system columns, which come first and whose names no column of a source's contract may have. All
that is behind the reader, sinks among it, sees a key like any other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tillstream.configs.contract import Column
from tillstream.configs.problems import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tillstream.configs.problems import Path

__all__ = [
    "COPY",
    "EVENT_ID",
    "ROW_ID",
    "Keyless",
    "check_keyless",
    "has_messages",
    "implied",
    "system_columns",
]

Keyless: TypeAlias = Literal["append", "full_row"]

EVENT_ID, ROW_ID, COPY = "_event_id", "_row_id", "_copy"
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "append": (Column(EVENT_ID, "string", nullable=False, key=True),),
    "full_row": (
        Column(ROW_ID, "string", nullable=False, key=True),
        Column(COPY, "int64", nullable=False, key=True),
    ),
}
# Where Debezium writes what pg_logical_emit_message sends; a table's topic has one name more.
_MESSAGES = re.compile(r"[^.]+\.message")


def system_columns(keyless: Keyless | None) -> tuple[Column, ...]:
    """Return the columns that are the key of a table without one, in order."""
    return () if keyless is None else _COLUMNS[keyless]


def implied(entity: Any) -> Any:
    """Return an entity's plain config with `keyless: append` where its topic is that of logical messages."""
    if not isinstance(entity, dict) or entity.get("keyless") is not None:
        return entity
    if entity.get("key", entity.get("named_key")) is None and has_messages(entity):
        return {**entity, "keyless": "append"}
    return entity


def check_keyless(path: Path, entity: Mapping[str, Any], entities: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with an entity's key, or with its lack of one.

    Args:
        path: of the entity.
        entity: its plain config.
        entities: of the client.
    """
    keyless = entity.get("keyless")
    if keyless is None:
        if entity.get("key") is None and not has_messages(entity):
            yield Problem(
                (*path, "key"),
                "found nothing, expected the columns that tell its rows apart, or keyless where the table "
                "has no key",
            )
        yield from _check_origin(path, entity, entities)
        return
    at: Path = (*path, "keyless")
    if entity.get("key") is not None:
        yield Problem(at, f"found {shown(str(keyless))} beside a key, expected exactly one of the two")
    if entity.get("topic") is None:
        yield Problem(
            at,
            f"found {shown(str(keyless))} without a topic, expected one: what transforms make has a key",
        )
    if entity.get("on_error") == "hold_key":
        yield Problem(
            (*path, "on_error"), "found hold_key beside keyless, expected skip: no key is there to hold"
        )


def _check_origin(path: Path, entity: Mapping[str, Any], entities: Mapping[str, Any]) -> Iterator[Problem]:
    name = entity.get("from", entity.get("from_entity"))
    origin = entities.get(name) if isinstance(name, str) else None
    if isinstance(origin, dict) and origin.get("keyless") is not None and entity.get("transform") is None:
        yield Problem(
            (*path, "from"),
            f"found {shown(str(name))}, which has no key, expected a transform beside it that makes rows "
            "with one",
        )


def has_messages(entity: Mapping[str, Any]) -> bool:
    """Tell whether an entity's topic, in its plain config, is that of logical messages."""
    topic = entity.get("topic")
    return isinstance(topic, str) and _MESSAGES.fullmatch(topic) is not None
