"""Check configs and print their schema, from the command line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from tillstream.configs.crosschecks import Known
from tillstream.configs.loader import load
from tillstream.configs.models import ClientConfig
from tillstream.pipelines.errors import ConfigError, TransformError

__all__ = ["app", "check", "schema", "validate"]

app = typer.Typer(no_args_is_help=True)

_EXIT_BAD_INPUT = 2


def check(path: Path, environment: Mapping[str, str] | None = None) -> ClientConfig:
    """Load one config, see that its transforms exist, and take over the contracts that they bring.

    Args:
        path: of the config.
        environment: what `${NAME}` refers to; by default `default_environment()`.

    Raises:
        ConfigError: all that is wrong with the file.
    """

    def known(modules: list[str], folder: str | None) -> Known:
        place = None if folder is None else str(path.parent.absolute() / folder)
        registry = _transforms().find_transforms(modules, place)
        return Known(registry.names(), registry.broken)

    try:
        config = load(path, environment, known_transforms=known)
    except TransformError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not any(entity.transform for entity in config.entities.values()):
        return config
    _transforms()
    from tillstream.transforms.resolving import resolve

    try:
        return resolve(config)
    except TransformError as error:
        raise ConfigError(f"{path}: {error}") from error


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


def _transforms() -> ModuleType:
    # Transforms bring Beam, which takes seconds to import, and warns of versions to come.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from tillstream.transforms import registry

    return registry
