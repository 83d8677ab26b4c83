"""Offer scaffolding as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["new"]

new = typer.Typer(no_args_is_help=True, help="Make the first files of something new.")


@new.callback()
def _group() -> None:
    """Make the first files of something new."""


@new.command()
def transform(
    name: Annotated[str, typer.Argument(metavar="CLIENT/NAME", help="Such as acme/big_orders.")],
    *,
    folder: Annotated[
        Path, typer.Option("--in", file_okay=False, help="Folder of the client's package; made if missing.")
    ] = Path(),
) -> None:
    """Write a transform that works: DoFn, contracts, config, fixture and tests.

    In a folder that holds a client's package already it is added to that package. Nothing that is there is
    overwritten.
    """
    from tillstream.transforms.scaffold.names import next_version, parse_name
    from tillstream.transforms.scaffold.scaffold import new_transform

    names = parse_name(name)
    from tillstream.transforms.registry import find_transforms

    version = next_version(names, find_transforms().names())
    made = new_transform(names, folder, version)
    typer.echo(f"{names.client}.{names.name}@{version}")
    for path in made.files:
        typer.echo(f"  made     {folder / path}")
    for path in made.changed:
        typer.echo(f"  changed  {folder / path}")
    for path, text in made.left.items():
        typer.echo(f"\nadd to {folder / path}:\n\n{text.rstrip()}")
    there = "" if folder.resolve() == Path.cwd() else f"cd {os.fspath(folder)} && "
    typer.echo(
        f"\ntest it    {there}pytest\n"
        f"and        {there}tillstream test {names.client} && tillstream lint\n"
        f"edit it    {folder / names.package / names.name}.py"
    )


@new.command()
def ci(
    client: Annotated[str, typer.Argument(help="Name of the client.")],
    *,
    config: Annotated[
        str | None, typer.Option(help="Path of its config there; default: where its name is looked for.")
    ] = None,
    folder: Annotated[Path, typer.Option("--in", file_okay=False, help="Folder of the repository.")] = Path(),
) -> None:
    """Write a workflow that checks, plans, deploys, verifies and rolls back a client, for GitHub Actions.

    Its steps are commands of this tool alone, so another CI can do the same. Nothing that is there is
    overwritten.
    """
    from tillstream.transforms.scaffold.workflow import new_workflow

    typer.echo(f"made {new_workflow(client, config, folder)}")
