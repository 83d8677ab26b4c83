"""Offer plans as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plan"]


def plan(
    client: Annotated[str, typer.Argument(help="Name of the client, or path of its config.")],
    *,
    template: Annotated[
        Path | None, typer.Option(help="Plan this jar of `tillstream template build`, and build nothing.")
    ] = None,
    savepoint: Annotated[
        str | None, typer.Option(help="Savepoint or checkpoint to go on from, in place of the newest.")
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="Show differences that take nothing too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what an upgrade of a client's job would do, and change nothing.

    Compares config, transforms, contracts, stages, forms in state and libraries with the job that runs, and
    looks into its newest checkpoint. Exit code 0: no change; 10: it would change, with all state; 20: some
    state would be forgotten; 30: refused, with the way that there is; 2: bad input.
    """
    import tempfile

    from tillstream.configs.cli import check
    from tillstream.runners.clients import config_path
    from tillstream.runners.jobs.commands import built
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.jobs.plan import plan_of

    job = ClientJob(check(config_path(client)), lambda line: typer.echo(line, err=True))
    with tempfile.TemporaryDirectory() as folder:
        jar = template or built(job, Path(folder, "template.jar"))
        found = plan_of(job, jar, savepoint=savepoint)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        typer.echo("\n".join(found.lines(detail=detail)))
    raise typer.Exit(found.exit_code)
