"""Find the contract that a person names on the command line."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from tillstream.configs import Column, forms, load
from tillstream.configs.problems import near
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.registry import Registry

__all__ = ["Contract", "contract_at"]

_TRANSFORM = re.compile(rf"({forms.TRANSFORM[1:-1]})(?::(input|output)(?:\.(\w+))?)?")


class Contract(NamedTuple):
    """Hold a contract that was named.

    Attributes:
        name: as it was named.
        columns: of the contract.
        places: where its rows go as far as is known, by the names of `PLACES`.
    """

    name: str
    columns: tuple[Column, ...]
    places: tuple[str, ...] = ()


def contract_at(reference: str, registry: Callable[[], Registry]) -> Contract:
    """Return the contract that a reference names.

    Args:
        reference: `client.name@1.2.3`, with `:input`, `:output` or `:output.entity` behind it where it has
            several; `file.yaml:entity`; the path of an Avro schema (.avsc) or JSON Schema (.json); or
            `module:Model`.
        registry: of transforms, asked for where it is needed.

    Raises:
        TransformError: if nothing is found there.
        ConfigError: if a config is wrong.
    """
    named = _TRANSFORM.fullmatch(reference)
    if named:
        return Contract(reference, _of_transform(registry(), *named.groups()))
    head, _, tail = reference.rpartition(":")
    if reference.endswith((".avsc", ".json")):
        from tillstream.transforms.contracts.schemas import model_from_avro, model_from_json_schema

        make = model_from_avro if reference.endswith(".avsc") else model_from_json_schema
        return Contract(reference, columns_of_model(make(reference)))
    if head.endswith((".yaml", ".yml")):
        return _of_entity(reference, Path(head), tail)
    if head:
        return Contract(reference, columns_of_model(_model(head, tail)))
    raise TransformError(
        f"contract {reference!r}: expected client.name@1.2.3, file.yaml:entity, a file .avsc or .json, "
        "or module:Model"
    )


def _of_transform(registry: Registry, name: str, side: str | None, entity: str | None) -> tuple[Column, ...]:
    info = registry.info(name)
    sides = {f"output.{to}" if to else "output": model for to, model in info.outputs.items()}
    if info.input is not None:
        sides["input"] = info.input
    wanted = ".".join(filter(None, (side, entity))) or ("output" if "output" in sides else "input")
    if wanted not in sides:
        known = ", ".join(sides) or "none"
        raise TransformError(f"transform {name!r} has no contract {wanted!r}, expected one of: {known}")
    return columns_of_model(sides[wanted])


def _of_entity(reference: str, path: Path, name: str) -> Contract:
    config = load(path)
    if any(each.transform for each in config.entities.values()):
        from tillstream.transforms.resolving import resolve

        config = resolve(config)
    entity = config.entities.get(name)
    if entity is None or entity.contract is None:
        known = [each for each, about in config.entities.items() if about.contract is not None]
        raise TransformError(
            f"{path}: found no contract of entity {name!r}, expected one of: "
            f"{', '.join(known) or 'none'}{near(name, known)}"
        )
    sinks = [config.sinks[each] for each in entity.sinks]
    places = [getattr(sink, "format", None) or sink.type for sink in sinks]
    return Contract(reference, entity.columns(), tuple(dict.fromkeys(places)))


def _model(module: str, name: str) -> type[BaseModel]:
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise TransformError(f"contract {module}:{name}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise TransformError(f"contract {module}:{name}: found a {type(found).__name__}, expected a model")
    return found
