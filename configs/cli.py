"""Check configs and print their schema, from the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from tillstream.configs.document import Document
from tillstream.configs.loader import load
from tillstream.pipelines.errors import ConfigError, TransformError

__all__ = ["app", "schema", "validate"]

app = typer.Typer(no_args_is_help=True)

_EXIT_BAD_INPUT = 2


def check(path: Path) -> None:
    """Load one config, and see that its transforms exist.

    Raises:
        ConfigError: all that is wrong with the file.
    """
    config = load(path)
    wanted = {
        name: entity.transform for name, entity in config.entities.items() if entity.transform is not None
    }
    if not wanted:
        return
    # Only now, because the transforms bring Beam, which takes seconds to import.
    from tillstream.transforms.clients import bundled_transforms

    registry, problems = bundled_transforms(), []
    for entity, transform in wanted.items():
        try:
            registry.get(transform)
        except TransformError as error:
            line = Document(path.read_text(encoding="utf-8"), os.environ).line(
                ("entities", entity, "transform")
            )
            problems.append(f"{path}:{line}: entities.{entity}.transform: {error}")
    if problems:
        raise ConfigError("\n".join(problems))


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Configs of clients, YAML.")],
) -> None:
    """Check configs of clients; print all that is wrong with each, one problem a line."""
    bad = False
    for path in files:
        try:
            check(path)
        except ConfigError as error:
            bad = True
            typer.echo(str(error), err=True)
        else:
            typer.echo(f"{path}: ok")
    if bad:
        raise typer.Exit(_EXIT_BAD_INPUT)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a client's config, for editors."""
    from tillstream.configs.schema import editor_schema

    typer.echo(json.dumps(editor_schema(), indent=2))
