"""Create, rotate and delete a client's capture; each may be done again, and changes only what differs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.capture import source
from tillstream.runners.capture.checks import check_source, hints
from tillstream.runners.capture.connect_rest import ConnectRest
from tillstream.runners.capture.connector import connector_config
from tillstream.runners.capture.secret import new_password, read_password, write_password
from tillstream.runners.capture.slots import Slot, slot_of
from tillstream.runners.capture.spec import Capture, Login, Place
from tillstream.runners.capture.topics import create_topics, delete_group, delete_topics

if TYPE_CHECKING:
    import psycopg

__all__ = ["create", "delete", "rest_of", "rotate"]

Say = Callable[[str], None]

_POLL_S = 0.1
_FREE_DEADLINE_S = 30.0


def rest_of(capture: Capture, place: Place, deadline_s: float = 60.0) -> ConnectRest:
    """Return what talks to Connect about a capture's connector."""
    return ConnectRest(place.connect_url, capture.connector, place.connect_login, deadline_s)


def create(capture: Capture, place: Place, say: Say, deadline_s: float = 60.0) -> None:
    """Make role, grants, publication, topics and connector, which makes the slot; change what differs.

    Where the slot is lost, or is not there any more, a new one is made and all tables are read again.

    Args:
        capture: what is captured.
        place: where.
        say: takes a line for each thing done or worth knowing.
        deadline_s: how long the connector may take to run, in seconds.

    Raises:
        StackError: if the connector fails, or does not run in time.
        UnavailableError: if the database, Kafka or Connect does not answer.
        UserError: for what must be mended first, one line for each.
    """
    rest = rest_of(capture, place, deadline_s)
    with source.opened(place.login) as connection:
        check_source(connection, capture)
        rest.check_plugin()
        password = read_password(place.password_file)
        is_new = password is None
        if password is None:
            password = new_password()
            write_password(place.password_file, password)
        for line in source.prepare(connection, capture, password):
            say(line)
        if not _logs_in(place.login.as_role(capture.role, password)):
            source.set_password(connection, capture.role, password)
            say(f"gave role {capture.role} the password of {place.password_file}")
        elif is_new:
            say(f"wrote its password to {place.password_file}")
        for topic in create_topics(capture, place):
            say(f"created topic {topic}")
        _connect(connection, capture, place, rest, say)
        for line in [*_cap(connection, place), *hints(connection, capture)]:
            say(line)


def rotate(capture: Capture, place: Place, say: Say, deadline_s: float = 60.0) -> None:
    """Give the role a new password, and restart the connector with it; it goes on where it was.

    Ended half-way, it is done again.

    Raises:
        StackError: if the connector does not run in time.
        UnavailableError: if the database or Connect does not answer.
        UserError: if there is no such capture.
    """
    rest = rest_of(capture, place, deadline_s)
    if rest.status() is None:
        raise UserError(
            f"client {capture.client}: found no connector {capture.connector}, expected one: create it"
        )
    password = new_password()
    with source.opened(place.login) as connection:
        # The file first: were the role's password alone changed, a worker that restarts could not log in.
        write_password(place.password_file, password)
        source.set_password(connection, capture.role, password)
        say(f"role {capture.role} and {place.password_file} have a new password")
        before = slot_of(connection, capture.slot)
        rest.restart()
        reader = None if before is None else before.reader

        def is_read_anew() -> bool:
            slot = slot_of(connection, capture.slot)
            return slot is not None and slot.is_active and slot.reader != reader

        rest.wait_until_running(is_read_anew)
    say(f"connector {capture.connector} runs with it, from where it was")


def delete(capture: Capture, place: Place, say: Say, *, topics: bool = False) -> None:
    """Remove connector, slot, publication, role and the topics between tillstream and the connector.

    Args:
        capture: what is captured.
        place: where.
        say: takes a line for each thing done.
        topics: whether the others go too, with the changes and replays that they hold.

    Raises:
        StackError: if somebody goes on reading the slot.
        UnavailableError: if the database, Kafka or Connect does not answer.
    """
    if rest_of(capture, place).delete():
        say(f"deleted connector {capture.connector}")
    with source.opened(place.login) as connection:
        if _drop_slot(connection, capture.slot):
            say(f"dropped replication slot {capture.slot}")
        for line in source.drop(connection, capture):
            say(line)
    ours = [capture.signals_topic, capture.notifications_topic, capture.heartbeat_topic]
    # That of transactions may be from before they were turned off.
    made = [*capture.topics, *capture.own_topics, f"{capture.topic_prefix}.transaction"] if topics else []
    for topic in delete_topics(place, dict.fromkeys([*ours, *made])):
        say(f"deleted topic {topic}")
    delete_group(place, capture.signals_group)
    if place.password_file.exists():
        place.password_file.unlink()
        say(f"removed {place.password_file}")


def _connect(
    connection: psycopg.Connection[Any], capture: Capture, place: Place, rest: ConnectRest, say: Say
) -> None:
    config = connector_config(capture, place)
    slot = slot_of(connection, capture.slot)
    is_known = rest.status() is not None
    if slot is None or slot.is_lost:
        if is_known:
            say(
                f"replication slot {capture.slot} is {'lost' if slot else 'gone'}: all tables are read "
                f"again; rows deleted meanwhile go with 'tillstream resync {capture.client} --all', where "
                "tables have a primary key"
            )
            rest.stop()
        if _drop_slot(connection, capture.slot):
            say(f"dropped replication slot {capture.slot}")
        rest.begin_anew(config)
        say(f"{'changed' if is_known else 'created'} connector {capture.connector}")
    else:
        differs = rest.put(config)
        if differs:
            say(f"{'changed' if is_known else 'created'} connector {capture.connector}")
        if rest.is_idle():
            rest.resume()
            say(f"connector {capture.connector} goes on")
        elif not differs:
            say(f"connector {capture.connector} is as it should be")
    rest.wait_until_running(lambda: _is_whole(slot_of(connection, capture.slot)))
    if slot is None or slot.is_lost:
        say(f"replication slot {capture.slot} is there; the initial snapshot runs")


def _is_whole(slot: Slot | None) -> bool:
    return slot is not None and not slot.is_lost


def _cap(connection: psycopg.Connection[Any], place: Place) -> list[str]:
    row = connection.execute("select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size'")
    found = row.fetchone()
    if found is None or found[0] >= 0:
        return []
    if place.caps_server:
        return [source.cap_slots(connection, place.slot_max_bytes)]
    size = f"{place.slot_max_bytes >> 20}MB"
    said = "the server does not cap what a slot keeps, so a connector that is down fills its disk"
    return [f"{said}: alter system set max_slot_wal_keep_size = '{size}', or set capture.cap_server_slots"]


def _logs_in(login: Login) -> bool:
    try:
        with source.opened(login):
            return True
    except UserError:
        return False


def _drop_slot(connection: psycopg.Connection[Any], name: str) -> bool:
    """Drop a slot as soon as its last reader has gone."""
    from psycopg import errors

    end_s = time.monotonic() + _FREE_DEADLINE_S
    while True:
        try:
            return source.drop_slot(connection, name)
        except errors.ObjectInUse as error:
            if time.monotonic() > end_s:
                raise StackError(
                    f"replication slot {name} is in use: {str(error).splitlines()[0]}: end its reader"
                ) from error
        time.sleep(_POLL_S)
