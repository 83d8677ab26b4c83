"""Offer the clean-up of checkpoints as a command; what it needs is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tillstream.runners.jobs.many import (
    AsJson,
    Clients,
    Done,
    Everyone,
    Folder,
    Group,
    Labels,
    gather,
    report,
    table,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.job import Say
    from tillstream.runners.jobs.selection import Chosen

__all__ = ["checkpoints"]

_MB = 1_000_000


def checkpoints(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Delete what nothing needs; without it nothing is deleted.")
    ] = False,
    keep: Annotated[
        int, typer.Option(min=1, help="Launches, the last ones, of which everything is kept.")
    ] = 5,
    older_than: Annotated[
        float, typer.Option("--older-than-h", min=0, help="Keep what was written in the last hours.")
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Show which checkpoints and savepoints clients' jobs have left, and delete what nothing needs.

    Needed is what a job that runs has written, where the next launch goes on, and what the last launches were
    started from and have left, for roll-backs. Only what a client's history knows of is looked at.
    """

    def work(chosen: Chosen, say: Say) -> Done:
        return _look(chosen, say, keep, older_than, clean=clean)

    found = gather(Group(clients, everyone, label, folder), work, catches=as_json)
    if not as_json:
        state = "deleted" if clean else "not needed: --clean deletes it"
        rows = [
            (client, f"{each['size_bytes'] / _MB:.1f}", each["path"], each["kept"] or state)
            for client, done in found
            for each in done.facts.get("folders", ())
        ]
        table(("CLIENT", "MB", "PATH", "STATE"), rows)
    report(found, as_json=as_json)


def _look(chosen: Chosen, say: Say, launches: int, age_h_min: float, *, clean: bool) -> Done:
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.retained import delete, retained

    job = ClientJob(chosen.load(), say)
    with job.exclusive("checkpoints"):
        found = retained(job, launches=launches, age_h_min=age_h_min)
        gone = delete(found) if clean else []
    folders: list[dict[str, Any]] = [
        {
            "path": str(each.path),
            "size_bytes": each.size_bytes,
            "kept": each.why or None,
            "deleted": each in gone,
        }
        for each in found
    ]
    needless_mb = sum(each.size_bytes for each in found if not each.is_needed) / _MB
    what = "deleted" if clean else "not needed"
    return Done("cleaned" if clean else "looked at", f"{needless_mb:.1f} MB {what}", {"folders": folders})
