"""Remove what an earlier demo left in a stack that was kept, so that each run starts from nothing.

Everything goes, in the direction of the flow: connector and its offsets, slot and publication, tables,
topics, consumer group, warehouse schema. Keeping any of them would mix two runs: old topics hold
changes of rows that the new database never had, and the reader starts at their beginning; Connect's
stored offsets would make Debezium skip the snapshot; a slot would replay the old tables' log. A new
topic prefix for each run would avoid the deletions, but then a client's config would have to be
rewritten for each run, and the stack would fill with what nobody reads.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import errors, sql

from tillstream.pipelines.errors import StackError
from tillstream.runners.capture.connect_rest import ConnectRest
from tillstream.runners.demo import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

__all__ = ["forget_connector", "forget_source", "forget_topics", "forget_warehouse"]

_DEADLINE_S = 30.0
_POLL_S = 0.1
_TIMEOUT_S = 10.0
_NO_COORDINATOR = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


def forget_connector(connect_url: str, name: str) -> None:
    """Delete a connector together with its stored offsets; one that does not exist is fine.

    Raises:
        StackError: if Connect does not comply in time.
        UnavailableError: if it does not answer.
    """
    ConnectRest(connect_url, name, deadline_s=_DEADLINE_S).delete()


def forget_source(source: psycopg.Connection, *, slot: str, publication: str) -> None:
    """Drop the replication slot, the publication and the retail tables, as far as they exist.

    Args:
        source: connection in autocommit mode.
        slot: name of the logical replication slot.
        publication: name of the publication.

    Raises:
        StackError: if somebody goes on reading from the slot.
    """
    _wait("the source database", f"replication slot {slot} to be free", lambda: _drop_slot(source, slot))
    source.execute(sql.SQL("drop publication if exists {}").format(sql.Identifier(publication)))
    schema.drop(source)


def forget_topics(bootstrap: str, *, prefixes: tuple[str, ...], group: str) -> None:
    """Delete all topics whose names start with one of some prefixes, and a consumer group.

    Raises:
        StackError: if the broker does not comply in time.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = _topics(admin, prefixes)
    if topics:
        for future in admin.delete_topics(topics, operation_timeout=_DEADLINE_S).values():
            _tolerate(future, KafkaError.UNKNOWN_TOPIC_OR_PART)
        _wait("Kafka", f"topics {', '.join(topics)} to go", lambda: not _topics(admin, prefixes))
    _wait("Kafka", f"consumer group {group} to go", lambda: _drop_group(admin, group))


def forget_warehouse(warehouse: psycopg.Connection, name: str) -> None:
    """Drop a client's schema with all that is in it, if it exists."""
    warehouse.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


def _topics(admin: AdminClient, prefixes: tuple[str, ...]) -> list[str]:
    return [name for name in admin.list_topics(timeout=_TIMEOUT_S).topics if name.startswith(prefixes)]


def _drop_group(admin: AdminClient, group: str) -> bool:
    try:
        for future in admin.delete_consumer_groups([group]).values():
            future.result()
    except KafkaException as error:
        # Just after a broker has started nobody coordinates groups yet.
        if error.args[0].code() in _NO_COORDINATOR:
            return False
        if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
            raise StackError(f"Kafka refused to forget an earlier demo: {error.args[0].str()}") from error
    return True


def _tolerate(future: Any, code: int) -> None:
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() != code:
            raise StackError(f"Kafka refused to forget an earlier demo: {error.args[0].str()}") from error


def _drop_slot(source: psycopg.Connection, slot: str) -> bool:
    try:
        source.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s",
            (slot,),
        )
    except errors.ObjectInUse:  # its reader was told to stop and is about to
        return False
    return True


def _wait(part: str, what: str, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_done():
        if time.monotonic() > deadline:
            raise StackError(
                f"{part}: waited {_DEADLINE_S:.0f} s for {what}: see `tillstream ps` and its log"
            )
        time.sleep(_POLL_S)
