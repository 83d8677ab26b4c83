"""Offer plans as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tillstream.runners.jobs.many import (
    AT_ONCE,
    AsJson,
    AtOnce,
    Clients,
    Done,
    Everyone,
    Folder,
    Group,
    Labels,
    gather,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.job import Say
    from tillstream.runners.jobs.plan import Plan
    from tillstream.runners.jobs.selection import Chosen

__all__ = ["plan", "show_plans"]

_EXIT_FAILED = 1


def plan(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    template: Annotated[
        Path | None, typer.Option(help="Plan this jar of `tillstream template build`, and build nothing.")
    ] = None,
    savepoint: Annotated[
        str | None, typer.Option(help="Savepoint or checkpoint to go on from, in place of the newest.")
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Show differences that take nothing too.")] = False,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Tell what upgrades of clients' jobs would do, and change nothing.

    Compares config, transforms, contracts, stages, forms in state and libraries with the job that runs, and
    looks into its newest checkpoint. Exit code 0: no change; 10: it would change, with all state; 20: some
    state would be forgotten; 30: refused, with the way that there is; 2: bad input. Of several clients the
    greatest, or 1 if one of them cannot be planned.
    """
    from tillstream.pipelines.errors import UserError

    group = Group(clients, everyone, label, folder, at_once)
    if (template is not None or savepoint is not None) and len(group.chosen()) > 1:
        raise UserError("--template and --savepoint are for one client")
    show_plans(
        group, lambda chosen, say: _plan(chosen, say, template, savepoint), detail=detail, as_json=as_json
    )


def show_plans(
    group: Group, planned: Callable[[Chosen, Say], Plan], *, detail: bool, as_json: bool
) -> NoReturn:
    """Print the plans of a group of clients, and exit with the greatest of their exit codes, or 1.

    Args:
        group: whose.
        planned: makes the plan of one.
        detail: show differences that take nothing too.
        as_json: print JSON.
    """
    plans: dict[str, Plan] = {}

    def work(chosen: Chosen, say: Say) -> Done:
        found = plans[chosen.client] = planned(chosen, say)
        return Done(found.verdict, "; ".join(found.reasons), found.as_json(), exit_code=found.exit_code)

    found = gather(group, work, catches=as_json and not _is_one(group))
    if as_json and _is_one(group):
        typer.echo(json.dumps(plans[found[0][0]].as_json(), indent=2))
    elif as_json:
        told = [
            {"client": client, **done.facts} if client in plans else {"client": client, "error": done.detail}
            for client, done in found
        ]
        typer.echo(json.dumps({"clients": told}, indent=2))
    else:
        for client, done in found:
            lines = plans[client].lines(detail=detail) if client in plans else None
            typer.echo("\n".join(lines or [f"{client}: cannot be planned: {done.detail}"]))
    if len(plans) < len(found):
        raise typer.Exit(_EXIT_FAILED)
    raise typer.Exit(max(made.exit_code for made in plans.values()))


def _is_one(group: Group) -> bool:
    """Tell whether one client is named, not a group that happens to be of one."""
    return not group.everyone and not group.labels and len(group.clients or ()) == 1


def _plan(chosen: Chosen, say: Say, template: Path | None, savepoint: str | None) -> Plan:
    import tempfile

    from tillstream.runners.jobs.commands import built
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.plan import plan_of

    job = ClientJob(chosen.check(), say)
    with tempfile.TemporaryDirectory() as folder:
        jar = template or built(job, Path(folder, "template.jar"))
        return plan_of(job, jar, savepoint=savepoint)
