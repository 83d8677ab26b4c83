"""Say of a transform what a person asks: its purpose, contracts, lookups and state."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import apache_beam as beam

from tillstream.configs import ClientConfig, Column, load
from tillstream.configs.contract import text_of
from tillstream.transforms.api import parameters_of
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.registry import Registry, find_transforms

__all__ = ["description", "quietly_found"]


def quietly_found(path: Path | None) -> tuple[ClientConfig | None, Registry]:
    """Return a client's config, if one is named, and all transforms that it may name.

    Raises:
        ConfigError: if the config is wrong.
        TransformError: if a module cannot be imported.
    """
    config = None if path is None else load(path)
    about = None if config is None else config.transforms
    with warnings.catch_warnings():
        # Beam warns of versions to come.
        warnings.simplefilter("ignore", FutureWarning)
        return config, find_transforms() if about is None else find_transforms(about.modules, about.path)


def description(registry: Registry, name: str) -> dict[str, Any]:
    """Return what is known of a transform, as plain data.

    Args:
        registry: that knows it.
        name: with its version, or without one for the newest.

    Raises:
        TransformError: if it is unknown; near matches are named.
    """
    versions = [each for each in registry.names() if each.split("@")[0] == name]
    full = versions[-1] if versions else name
    cls, info = registry.get(full), registry.info(full)
    contracts = {} if info.input is None else {"input": _columns(columns_of_model(info.input))}
    for entity, model in info.outputs.items():
        contracts[f"output to {entity}" if entity else "output"] = _columns(columns_of_model(model))
    lookups, state = _asked(full, cls)
    return {
        "name": full,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        # Not getdoc(), which takes Beam's words of its DoFn where a class has none.
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "contracts": contracts,
        "lookups": lookups,
        "state": state,
    }


def _asked(name: str, cls: type[Any]) -> tuple[list[str], list[str]]:
    if not issubclass(cls, beam.DoFn):
        return [], []
    asked = parameters_of(name, cls)
    lookups = [
        f"{each}: {found.entity} by {', '.join(found.columns)}" for each, found in asked.lookups.items()
    ]
    state = [
        f"{each}: {found.name}, {f'{found.horizon_s} s of event time' if found.horizon_s else 'for ever'}"
        for each, found in asked.states.items()
    ]
    return lookups, state + [f"{each}: Beam's own" for each in asked.beam]


def _columns(columns: tuple[Column, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": column.name,
            "type": text_of(column),
            "nullable": column.nullable,
            "key": column.key,
            "unit": column.unit,
            "pii": column.pii,
            "rules": ""
            if column.rules is None
            else ", ".join(f"{rule} {value}" for rule, value in column.rules.given().items()),
            "description": column.description,
        }
        for column in columns
    ]
