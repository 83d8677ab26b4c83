"""Offer upgrades and roll-backs as commands; what they need is imported when they run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.canary.cli import (
    Canary,
    CanaryFolder,
    CanaryFor,
    CanaryTimeout,
    DiffFile,
    ExpectChanges,
    Tolerate,
    chosen_canary,
)
from tillstream.runners.jobs.many import (
    AsJson,
    AtOnce,
    Clients,
    Done,
    Everyone,
    Folder,
    Group,
    Labels,
    carry_out,
    gather,
    report,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.job import Say
    from tillstream.runners.jobs.selection import Chosen

__all__ = ["rollback", "upgrade"]

# As shells have it of a command that SIGINT has ended.
_EXIT_INTERRUPTED = 130

_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, once the plan is known, whether to go on.")]
_Loss = Annotated[
    bool, typer.Option("--accept-loss", help="Also where the plan says that some state is forgotten.")
]
_Timeout = Annotated[
    float, typer.Option(min=1, help="Longest wait for the savepoint, and for all tasks to run, seconds.")
]
_Wait = Annotated[
    float,
    typer.Option(min=0, help="Longest wait until it can be told what the undone left, seconds; 0 for none."),
]


def upgrade(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    template: Annotated[Path | None, typer.Option(help="Template to launch; default: built now.")] = None,
    watch_for: Annotated[
        float | None, typer.Option(min=0, help="How long it is watched, seconds; default: upgrade.watch_s.")
    ] = None,
    canary: Canary = False,
    canary_for: CanaryFor = None,
    canary_timeout: CanaryTimeout = None,
    canary_folder: CanaryFolder = None,
    tolerate: Tolerate = None,
    expect_changes: ExpectChanges = False,
    diff_file: DiffFile = None,
    timeout: _Timeout = 120.0,
    accept_loss: _Loss = False,
    yes: _Yes = False,
    at_once: AtOnce = 1,
    as_json: AsJson = False,
) -> None:
    """Put the client's config as it is now in the place of its running job, and keep it if it does well.

    Savepoint, start from it, watch: tasks, restarts, checkpoints, lag, dead letters, rows for each event.
    What does badly is undone at once: the version before runs on from the state that it left. Ctrl-C undoes
    too. Exit code 1: refused, undone or failed; the version before runs. With --canary the new version is
    tried first, beside the running one: see docs/canary.md.
    """
    from tillstream.runners.jobs.upgrading import Wanted
    from tillstream.runners.jobs.upgrading import upgrade as carry

    group = Group(clients, everyone, label, folder, at_once)
    tried = chosen_canary(
        canary=canary,
        seconds=canary_for,
        timeout_s=canary_timeout,
        folder=canary_folder,
        tolerate=tolerate,
        expect_changes=expect_changes,
        diff_file=diff_file,
        clients=len(group.chosen()),
    )
    wanted = Wanted(template, watch_for, timeout, accept_loss, tried, agrees=_agreeing(yes=yes))
    with _ended_by_signals() as stop:

        def work(chosen: Chosen, say: Say) -> Done:
            return carry(chosen, say, wanted, stop)

        carry_out(group, work, as_json=as_json)


def rollback(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    to: Annotated[
        int | None,
        typer.Option(min=1, help="Launch to go back to: its number in --list, or its generation."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the launches to go back to, and end.")] = False,
    keep_state: Annotated[
        bool,
        typer.Option("--keep-state", help="Go on from where the running job is, in place of reading again."),
    ] = False,
    leftovers: Annotated[
        bool, typer.Option("--leftovers", help="Show what the last roll-back left of what it undid, and end.")
    ] = False,
    wait: _Wait = 60.0,
    timeout: _Timeout = 120.0,
    accept_loss: _Loss = False,
    yes: _Yes = False,
    at_once: AtOnce = 1,
    as_json: AsJson = False,
) -> None:
    """Run the version before again, from the very state that it was left in: events since are read again.

    By default that is the last launch of another template that has held. A job that was rolled back is left
    alone. Exit code 1: it failed; what ran before then runs again.
    """
    from tillstream.runners.jobs.rolling_back import STEPS_MAX, Back
    from tillstream.runners.jobs.rolling_back import rollback as carry

    group = Group(clients, everyone, label, folder, at_once)
    if list_:
        _list(group, as_json=as_json)
        return
    if leftovers:
        carry_out(group, lambda chosen, say: _left(chosen, say, wait), as_json=as_json)
        return
    count = len(group.chosen())
    if to is not None and to > STEPS_MAX and count > 1:
        raise UserError(f"--to: found generation {to} for {count} clients, expected one")
    wanted = Back(to, keep_state, accept_loss, timeout, wait, _agreeing(yes=yes))
    carry_out(group, lambda chosen, say: carry(chosen, say, wanted), as_json=as_json)


def _left(chosen: Chosen, say: Say, wait_s: float) -> Done:
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.rolling_back import leftovers_of

    facts = leftovers_of(ClientJob(chosen.load(), say), wait_s)
    found = facts["leftovers"]
    tables = "not known yet" if found is None else f"rows in {len(found)} tables"
    return Done("left", f"{tables}, {facts['letters'] or 0} open dead letters", facts)


def _list(group: Group, *, as_json: bool) -> None:
    import msgspec

    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.rolling_back import ways_back

    lines: dict[str, list[str]] = {}

    def work(chosen: Chosen, say: Say) -> Done:
        found = ways_back(ClientJob(chosen.load(), say))
        lines[chosen.client] = [f"{number:>3}  {each.line()}" for number, each in enumerate(found, 1)]
        facts = {"launches": [msgspec.to_builtins(each.entry) for each in found]}
        return Done("listed", f"{len(found)} launches to go back to", facts)

    found = gather(group, work, catches=as_json)
    if not as_json:
        mark = len(found) > 1
        for client, _ in found:
            for line in lines.get(client, ()):
                typer.echo(f"{client}: {line}" if mark else line)
    if as_json or not all(done.is_good for _, done in found):
        report(found, as_json=as_json)


def _agreeing(*, yes: bool) -> Callable[[str], bool]:
    """Return what asks whoever gave the command, one question at a time; by `yes` nobody is asked."""
    lock = Lock()

    def ask(question: str) -> bool:
        with lock:
            try:
                return yes or typer.confirm(question, err=True)
            except typer.Abort as error:
                raise UserError(f"{question} found nobody to answer, expected y or n, or --yes") from error

    return ask


@contextmanager
def _ended_by_signals() -> Iterator[Event]:
    """Turn the first SIGINT or SIGTERM into a wish that workers see; a second one ends the process."""
    stop = Event()

    def wish(number: int, frame: object) -> None:  # noqa: ARG001
        if stop.is_set():
            # An exception would wait for the workers: they are what takes too long.
            os._exit(_EXIT_INTERRUPTED)
        stop.set()
        typer.echo("ending: what is under way is undone; once more ends the command itself", err=True)

    before = {each: signal.signal(each, wish) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
