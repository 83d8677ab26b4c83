"""Hurt the stack: kill parts, pause them, and make the sinks' transactions slow or fail."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import psutil
from psycopg import sql

from tillstream.pipelines.errors import StackError, TillstreamError
from tillstream.runners.verify.rig import Rig
from tillstream.runners.verify.workload import TABLES

if TYPE_CHECKING:
    pass

__all__ = ["FAULTS", "Strike", "deal", "strike"]

_PAUSE_S_MAX = 2.0
_SLOW_S = (2.0, 6.0)
_FAILING_S = (2.0, 6.0)
_TERMINATE_EVERY_S = 0.05
_TAKE_OVER_S = 90.0
_POLL_S = 0.1

# A fault that has happened but is not over: called to end it.
Strike = Callable[[], None]


def deal(kinds: Sequence[str], rounds: int, dice: random.Random) -> list[list[str]]:
    """Return the faults of each round: one or two, each kind as often as the others, give or take one.

    Args:
        kinds: of faults.
        rounds: how many there are.
        dice: decides the order.
    """
    deck: list[str] = []
    dealt = []
    for _ in range(rounds):
        hand = []
        for _ in range(dice.randint(1, 2) if len(kinds) > 1 else 1):
            if not deck:
                deck = dice.sample(list(kinds), len(kinds))
            hand.append(deck.pop())
        dealt.append(hand)
    return dealt


def strike(kind: str, rig: Rig, dice: random.Random) -> Strike:
    """Let a fault happen, and return what ends it.

    Args:
        kind: one of FAULTS.
        rig: what is hurt.
        dice: decides on everything random about it.
    """
    return FAULTS[kind](rig, dice)


def _kill(part: str) -> Callable[[Rig, random.Random], Strike]:
    def happen(rig: Rig, dice: random.Random) -> Strike:
        name = _host(rig) if part == "taskmanager" else part
        rig.stack.kill(name)
        return _later(dice, lambda: rig.stack.up([name]))

    return happen


def _later(dice: random.Random, work: Callable[[], None]) -> Strike:
    pause_s = dice.uniform(0, _PAUSE_S_MAX)

    def end() -> None:
        time.sleep(pause_s)
        work()

    return end


def _kill_harness(rig: Rig, dice: random.Random) -> Strike:
    victims = _await(lambda: rig.harnesses(_host(rig)), "a Python process of the job")
    dice.choice(sorted(victims, key=lambda each: each.pid)).kill()
    return _nothing


def _zombie(rig: Rig, _: random.Random) -> Strike:
    """Pause the TaskManager and its Python processes amid their work, as a machine that hangs."""
    name = _host(rig)
    asleep = [rig.process(name)]
    asleep += asleep[0].children(recursive=True)
    _each(asleep, psutil.Process.suspend)

    def end() -> None:
        try:
            _await(lambda: _host(rig) != name and rig.is_running(), f"a successor of {name}", _TAKE_OVER_S)
        finally:
            _each(asleep, psutil.Process.resume)

    return end


def _slow(rig: Rig, dice: random.Random) -> Strike:
    """Hold what the sinks write to: tables by a lock, other sinks by a Python process that stands still."""
    seconds = dice.uniform(*_SLOW_S)
    if "postgres" not in rig.sinks:
        asleep = _await(lambda: rig.harnesses(_host(rig)), "a Python process of the job")
        _each(asleep, psutil.Process.suspend)

        def wake() -> None:
            time.sleep(seconds)
            _each(asleep, psutil.Process.resume)

        return wake
    connection = rig.warehouse()
    connection.autocommit = False
    names = [sql.Identifier(rig.client, table.name) for table in TABLES]
    connection.execute(sql.SQL("lock table {} in share mode").format(sql.SQL(", ").join(names)))

    def let_go() -> None:
        time.sleep(seconds)
        connection.rollback()
        connection.close()

    return let_go


_TRIGGER = """
create or replace function {schema}.verify_refuse() returns trigger language plpgsql as $$
begin
    raise exception 'refused by verify' using errcode = 'serialization_failure';
end $$
"""
_ARM = """
create constraint trigger verify_refuse after insert or update or delete on {table}
deferrable initially deferred for each row execute function {schema}.verify_refuse()
"""


def _failing(rig: Rig, dice: random.Random) -> Strike:
    """Let transactions fail at their commit, or take the sessions away amid them, for some seconds."""
    seconds = dice.uniform(*_FAILING_S)
    if "postgres" not in rig.sinks:
        return _blocked_folder(rig, seconds)
    if dice.random() < 0.5:  # noqa: PLR2004
        return lambda: _terminate_sessions(rig, seconds)
    schema = sql.Identifier(rig.client)
    tables = [sql.Identifier(rig.client, table.name) for table in TABLES]
    with rig.warehouse() as connection, connection.transaction():
        connection.execute(sql.SQL(_TRIGGER).format(schema=schema))
        for table in tables:
            connection.execute(sql.SQL(_ARM).format(table=table, schema=schema))

    def disarm() -> None:
        time.sleep(seconds)
        with rig.warehouse() as connection, connection.transaction():
            connection.execute(sql.SQL("drop function {}.verify_refuse cascade").format(schema))

    return disarm


def _terminate_sessions(rig: Rig, seconds: float) -> None:
    end_s = time.monotonic() + seconds
    query = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where pid <> pg_backend_pid() and datname = current_database() and usename = current_user"
        " and state <> 'idle'"
    )
    with rig.warehouse() as connection:
        while time.monotonic() < end_s:
            connection.execute(query)
            time.sleep(_TERMINATE_EVERY_S)


def _blocked_folder(rig: Rig, seconds: float) -> Strike:
    """Put a file where the sink's folder is: every write fails, whatever user writes."""
    aside = rig.files.with_name(rig.files.name + ".aside")
    rig.files.rename(aside)
    rig.files.touch()

    def put_back() -> None:
        time.sleep(seconds)
        rig.files.unlink()
        aside.rename(rig.files)

    return put_back


def _nothing() -> None:
    pass


def _host(rig: Rig) -> str:
    """Return the TaskManager that runs the job, as soon as one does."""

    def find() -> str:
        try:
            return rig.host() if rig.is_running() else ""
        except TillstreamError:
            return ""

    return str(_await(find, "a TaskManager that runs the job", _TAKE_OVER_S))


def _each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], Any]) -> None:
    for process in processes:
        try:
            do(process)
        except psutil.NoSuchProcess:
            continue


def _await(condition: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
    end_s = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise StackError(f"waited {deadline_s:.0f} s for {what}: see 'tillstream ps' and the logs")
        time.sleep(_POLL_S)
    return found


FAULTS: Mapping[str, Callable[[Rig, random.Random], Strike]] = {
    "taskmanager": _kill("taskmanager"),
    "jobmanager": _kill("jobmanager"),
    "harness": _kill_harness,
    "kafka": _kill("kafka"),
    "connect": _kill("connect"),
    "warehouse": _kill("warehouse"),
    "zombie": _zombie,
    "slow": _slow,
    "failing": _failing,
}
