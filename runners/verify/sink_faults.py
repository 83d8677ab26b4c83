"""Make each sink's transactions slow, or fail, for some seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from confluent_kafka import KafkaException, Producer
from psycopg import sql

from tillstream.runners.verify.rig import Rig, await_, each
from tillstream.runners.verify.workload import TABLES

__all__ = ["FAILING", "SLOW", "Harm"]

_TERMINATE_EVERY_S = 0.05
_FENCE_EVERY_S = 1.0
_ANSWER_S_MAX = 10.0

# Begins at once, for some seconds; what it returns ends it.
Harm = Callable[[Rig, float], Callable[[], None]]


def _lock_table(rig: Rig, seconds: float) -> Callable[[], None]:
    connection = rig.warehouse()
    connection.autocommit = False
    # One only: a second one could be locked by a writer that waits for the first.
    name = sql.Identifier(rig.client, TABLES[0].name)
    connection.execute(sql.SQL("lock table {} in share mode").format(name))

    def let_go() -> None:
        time.sleep(seconds)
        connection.rollback()
        connection.close()

    return let_go


def _pause_broker(rig: Rig, seconds: float) -> Callable[[], None]:
    return _pause([rig.process("kafka")], seconds)


def _pause_harnesses(rig: Rig, seconds: float) -> Callable[[], None]:
    """Stand in for a slow disk: the processes that write stand still amid it."""
    return _pause(await_(lambda: rig.harnesses(rig.running_host()), "a Python process of the job"), seconds)


def _pause(asleep: Sequence[psutil.Process], seconds: float) -> Callable[[], None]:
    each(asleep, psutil.Process.suspend)

    def wake() -> None:
        time.sleep(seconds)
        each(asleep, psutil.Process.resume)

    return wake


_FUNCTION = """
create or replace function {schema}.verify_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'refused by verify' using errcode = 'serialization_failure';
end $$
"""
_TRIGGER = """
create constraint trigger verify_refuse after insert or update or delete on {table}
deferrable initially deferred for each row execute function {schema}.verify_refuse()
"""


def _refuse_commits(rig: Rig, seconds: float) -> Callable[[], None]:
    """Let each transaction do all its work, and fail at its commit."""
    schema = sql.Identifier(rig.client)
    tables = [sql.Identifier(rig.client, table.name) for table in TABLES]
    # Each statement by itself: who holds one table's lock and waits for the other's may wait for a writer
    # that does the same.
    with rig.warehouse() as connection:
        connection.execute(sql.SQL(_FUNCTION).format(schema=schema))
        for table in tables:
            connection.execute(sql.SQL(_TRIGGER).format(table=table, schema=schema))

    def allow() -> None:
        time.sleep(seconds)
        with rig.warehouse() as connection:
            for table in tables:
                connection.execute(sql.SQL("drop trigger verify_refuse on {}").format(table))
            connection.execute(sql.SQL("drop function {}.verify_refuse").format(schema))

    return allow


_TERMINATE = """
select pg_terminate_backend(pid) from pg_stat_activity
where pid <> pg_backend_pid() and datname = current_database() and state <> 'idle'
"""


def _terminate_sessions(rig: Rig, seconds: float) -> Callable[[], None]:
    """Take sessions away amid their statements, the commit among them."""

    def go_on() -> None:
        with rig.warehouse() as connection:
            _repeat(lambda: connection.execute(_TERMINATE), seconds, _TERMINATE_EVERY_S)

    return go_on


def _fence_producers(rig: Rig, seconds: float) -> Callable[[], None]:
    """Abort open transactions by taking their ids, as a rival writer would."""
    from kafka import KafkaAdminClient

    servers = rig.stack.addresses.kafka

    def fence() -> None:
        admin = KafkaAdminClient(bootstrap_servers=servers)
        try:
            listed = admin.list_transactions().values()
        finally:
            admin.close()
        names = {str(each.transactional_id) for found in listed for each in found}
        for name in sorted(name for name in names if rig.client in name):
            settings = {"bootstrap.servers": servers, "transactional.id": name, "log_level": 0}
            with suppress(KafkaException):
                Producer(settings).init_transactions(_ANSWER_S_MAX)

    return lambda: _repeat(fence, seconds, _FENCE_EVERY_S)


def _block_folder(rig: Rig, seconds: float) -> Callable[[], None]:
    """Let the sink's path lead to what is no folder: every write fails, whoever writes."""
    _lead(rig.files, Path(os.devnull))

    def lead_back() -> None:
        time.sleep(seconds)
        _lead(rig.files, rig.kept_files)

    return lead_back


def _lead(link: Path, target: Path) -> None:
    """Let a link lead elsewhere in one step, so that no writer finds nothing there and makes a folder."""
    new = link.with_suffix(".new")
    new.symlink_to(target)
    new.replace(link)


def _repeat(work: Callable[[], object], seconds: float, every_s: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        work()
        time.sleep(every_s)


SLOW: Mapping[str, Harm] = {
    "postgres": _lock_table,
    "kafka": _pause_broker,
    "files": _pause_harnesses,
}
FAILING: Mapping[str, Sequence[Harm]] = {
    "postgres": (_refuse_commits, _terminate_sessions),
    "kafka": (_fence_producers,),
    "files": (_block_folder,),
}
