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
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from psycopg import errors, sql

from tillstream.pipelines.errors import StackError
from tillstream.runners.demo import schema
from tillstream.runners.local.http import request

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

__all__ = ["forget_connector", "forget_source", "forget_topics", "forget_warehouse"]

_DEADLINE_S = 30.0
_POLL_S = 0.1
_HTTP_TIMEOUT_S = 10.0
_NO_COORDINATOR = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


def forget_connector(connect_url: str, name: str) -> None:
    """Delete a connector together with its stored offsets; one that does not exist is fine.

    Offsets can be deleted only while a connector is stopped (Kafka Connect REST API, KIP-875).

    Raises:
        StackError: if Connect does not comply in time.
    """
    base = f"{connect_url}/connectors/{name}"
    if _request("PUT", f"{base}/stop") is None:
        return
    _wait("Kafka Connect", f"connector {name} to stop", lambda: _is_stopped(base))
    _request("DELETE", f"{base}/offsets")
    _request("DELETE", base)
    _wait("Kafka Connect", f"connector {name} to go", lambda: _request("GET", base) is None)


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


def forget_topics(bootstrap: str, *, prefix: str, group: str) -> None:
    """Delete all topics whose names start with a prefix, and a consumer group.

    Raises:
        StackError: if the broker does not comply in time.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    topics = _topics(admin, prefix)
    if topics:
        for future in admin.delete_topics(topics, operation_timeout=_DEADLINE_S).values():
            _tolerate(future, KafkaError.UNKNOWN_TOPIC_OR_PART)
        _wait("Kafka", f"topics {prefix}* to go", lambda: not _topics(admin, prefix))
    _wait("Kafka", f"consumer group {group} to go", lambda: _drop_group(admin, group))


def forget_warehouse(warehouse: psycopg.Connection, name: str) -> None:
    """Drop a client's schema with all that is in it, if it exists."""
    warehouse.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


def _topics(admin: AdminClient, prefix: str) -> list[str]:
    return [name for name in admin.list_topics(timeout=_HTTP_TIMEOUT_S).topics if name.startswith(prefix)]


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


def _is_stopped(base: str) -> bool:
    status = _request("GET", f"{base}/status")
    return status is None or (status["connector"]["state"] == "STOPPED" and not status["tasks"])


def _wait(part: str, what: str, is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not is_done():
        if time.monotonic() > deadline:
            raise StackError(
                f"{part}: waited {_DEADLINE_S:.0f} s for {what}: see `tillstream ps` and its log"
            )
        time.sleep(_POLL_S)


def _request(method: str, url: str) -> Any:
    """Return the answer's JSON, {} when it is empty, None when there is no such thing."""
    try:
        status, answer = request(method, url, timeout_s=_HTTP_TIMEOUT_S)
    except OSError as error:
        raise StackError(f"Kafka Connect: {url} does not answer: {error}: see `tillstream ps`") from error
    if status == HTTPStatus.NOT_FOUND:
        return None
    if status >= HTTPStatus.BAD_REQUEST:
        raise StackError(f"Kafka Connect: {method} {url}: {status} {answer}")
    return answer or {}
