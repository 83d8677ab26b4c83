"""Offer what is done to clients' jobs as commands; what they need is imported when they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tillstream.runners.jobs.many import (
    AT_ONCE,
    AsJson,
    AtOnce,
    Clients,
    Everyone,
    Folder,
    Group,
    Labels,
    carry_out,
    table,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.history import Entry

__all__ = ["cancel", "history", "launch", "pause", "resume"]

_Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Longest wait for it, seconds.")]


def launch(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    template: Annotated[
        Path | None, typer.Option(help="Launch this jar of `tillstream template build`, and build nothing.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from nothing, also where the client ran before.")
    ] = False,
    savepoint: Annotated[str | None, typer.Option(help="Savepoint or checkpoint to start from.")] = None,
    timeout: _Timeout = 60,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Launch clients' jobs on Flink, each from where its last job was.

    That is what its pause or cancel left, else its last job's newest checkpoint. A client that runs as it
    would be launched is left alone; one that differs is refused: see `tillstream upgrade`. Exits with 1 if
    one of several fails.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.jobs import commands

    wanted = commands.From(template, fresh, savepoint, timeout)
    group = Group(clients, everyone, label, folder, at_once)
    if (template is not None or savepoint is not None) and len(group.chosen()) > 1:
        raise UserError("--template and --savepoint are for one client")
    carry_out(group, lambda chosen, say: commands.launch(chosen, say, wanted), as_json=as_json)


def pause(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    timeout: _Timeout = 120,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """End clients' jobs, with all state and their positions in savepoints, for `tillstream resume`.

    A job that cannot take a savepoint, because it fails again and again, is cancelled: it goes on from its
    newest checkpoint. Exits with 1 if one of several fails.
    """
    from tillstream.runners.jobs import commands

    group = Group(clients, everyone, label, folder, at_once)
    carry_out(group, lambda chosen, say: commands.pause(chosen, say, timeout), as_json=as_json)


def resume(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    timeout: _Timeout = 60,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Launch paused clients' jobs again, as they were, from exactly where their pauses left them.

    The template is that which ran; addresses, bounds and parallelism are those of the config now. Exits with
    1 if one of several fails.
    """
    from tillstream.runners.jobs import commands

    group = Group(clients, everyone, label, folder, at_once)
    carry_out(group, lambda chosen, say: commands.resume(chosen, say, timeout), as_json=as_json)


def cancel(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    drop_state: Annotated[
        bool, typer.Option("--drop-state", help="The next launch starts from nothing; asks first.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: _Timeout = 60,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """End clients' jobs at once, without savepoints; their newest checkpoints are kept and noted.

    Exits with 1 if one of several fails.
    """
    from tillstream.runners.jobs import commands

    group = Group(clients, everyone, label, folder, at_once)
    if drop_state and not yes:
        names = ", ".join(each.client for each in group.chosen())
        typer.confirm(f"Forget position and state of {names}?", abort=True, err=True)
    carry_out(
        group, lambda chosen, say: commands.cancel(chosen, say, timeout, forget=drop_state), as_json=as_json
    )


def history(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only see that no line was changed or taken out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what was done to clients' jobs: when, by whom, from which savepoint, and how it ended.

    Exits with 1 if a history was edited.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.jobs.history import History

    found: list[tuple[str, list[Entry], str]] = []
    for each in Group(clients, everyone, label, folder).chosen():
        log = History(each.client)
        try:
            found.append((each.client, log.entries(None), ""))
        except UserError as error:
            found.append((each.client, [], str(error)))
    edited = [fault for _, _, fault in found if fault]
    if as_json:
        typer.echo(json.dumps({"clients": [_told(*each, verify=verify) for each in found]}))
    else:
        for fault in edited:
            typer.echo(f"error: {fault}", err=True)
        for client, entries, fault in found:
            if verify and not fault:
                typer.echo(f"{client}: {len(entries)} entries, none of them edited")
        if not verify:
            _print_history([(client, entries) for client, entries, _ in found])
    if edited:
        raise typer.Exit(1)


def _told(client: str, entries: list[Entry], fault: str, *, verify: bool) -> dict[str, Any]:
    import msgspec

    told: dict[str, Any] = {"client": client, "entries": len(entries), "fault": fault or None}
    return told if verify else {**told, "entries": [msgspec.to_builtins(entry) for entry in entries]}


def _print_history(found: list[tuple[str, list[Entry]]]) -> None:
    rows = []
    for client, entries in found:
        for entry in entries:
            transforms = " ".join(sorted(set(entry.transforms.values())))
            place = entry.taken or entry.savepoint
            rows.append(
                (
                    entry.at[:19],
                    client,
                    entry.action,
                    entry.outcome,
                    entry.actor,
                    (entry.job_id or "-")[:8],
                    entry.where or "-",
                    f"{'left' if entry.taken else 'from'} {place}" if place else "-",
                    transforms or "-",
                    entry.reason or "",
                )
            )
    table(
        ("AT", "CLIENT", "ACTION", "OUTCOME", "WHO", "JOB", "WHERE", "SAVEPOINT", "TRANSFORMS", "WHY"), rows
    )
