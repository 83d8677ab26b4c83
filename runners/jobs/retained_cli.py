"""Offer the clean-up of checkpoints as a command; what it needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["checkpoints"]

_MB = 1_000_000


def checkpoints(
    client: Annotated[str, typer.Argument(help="Name of a client, or path of its config.")],
    *,
    clean: Annotated[
        bool, typer.Option("--clean", help="Delete what nothing needs; without it nothing is deleted.")
    ] = False,
    keep: Annotated[
        int, typer.Option(min=1, help="Launches, the last ones, of which everything is kept.")
    ] = 5,
    older_than: Annotated[
        float, typer.Option("--older-than-h", min=0, help="Keep what was written in the last hours.")
    ] = 24.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show which checkpoints and savepoints a client's jobs have left, and delete what nothing needs.

    Needed is what a job that runs has written, where the next launch goes on, and what the last launches were
    started from and have left, for roll-backs. Only what the client's history knows of is looked at.
    """
    from tillstream.configs.loader import load
    from tillstream.runners.clients import config_path
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.many import table
    from tillstream.runners.jobs.retained import delete, retained

    job = ClientJob(load(config_path(client)))
    with job.exclusive("checkpoints"):
        found = retained(job, launches=keep, age_h_min=older_than)
        gone = delete(found) if clean else []
    if as_json:
        import json

        folders = [
            {
                "path": str(each.path),
                "size_bytes": each.size_bytes,
                "kept": each.why or None,
                "deleted": each in gone,
            }
            for each in found
        ]
        typer.echo(json.dumps({"client": job.client, "folders": folders}))
        return
    state = "deleted" if clean else "not needed: --clean deletes it"
    rows = [(f"{each.size_bytes / _MB:.1f}", str(each.path), each.why or state) for each in found]
    table(("MB", "PATH", "STATE"), rows)
