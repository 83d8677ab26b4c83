"""Tell which transforms apply to which entity's changes, and what each needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from tillstream.configs import ClientConfig
from tillstream.configs.schema_evolution import EvolutionPolicy
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.aggregates.aggregate import Aggregate, check_aggregate
from tillstream.transforms.api import Parameters, TransformInfo, parameters_of
from tillstream.transforms.packages import check_packages
from tillstream.transforms.registry import Registry, find_transforms

__all__ = ["Flow", "Kind", "flow_of", "flows_of", "registry_of", "using"]

Kind: TypeAlias = Literal["copy", "record", "lookup", "aggregate", "beam"]
_NOTHING = Parameters({}, {})
_PLACED: ContextVar[Registry | None] = ContextVar("registry", default=None)


@dataclass(frozen=True)
class Flow:
    """Make the rows of one entity out of the changes of one entity.

    Attributes:
        source: the entity whose changes it takes; it has a topic.
        target: the entity whose rows it makes, the same one or another.
        kind: copy has no transform; record is a DoFn that needs the event and its key's state alone; lookup
            one that asks for rows of other entities; aggregate an Aggregate; beam a DoFn with Beam's own
            state, timers or other parameters.
        transform: the class, None for a copy.
        info: what the transform says of itself, None for a copy.
        parameters: what its `process` asks for beside the event.
        evolution: what becomes of rows that the input contract does not know of; None for what contracts do.
    """

    source: str
    target: str
    kind: Kind
    transform: type[Any] | None = None
    info: TransformInfo | None = None
    parameters: Parameters = _NOTHING
    evolution: EvolutionPolicy | None = None

    @property
    def name(self) -> str | None:
        """Return the transform's name with its version, None for a copy."""
        return None if self.info is None else self.info.name


def registry_of(config: ClientConfig) -> Registry:
    """Return the transforms that a client may name.

    Raises:
        TransformError: as `find_transforms` and `check_packages` do.
    """
    placed = _PLACED.get()
    if placed is not None:
        return placed
    check_packages()
    return find_transforms(config.transforms.modules, config.transforms.path)


@contextmanager
def using(registry: Registry) -> Iterator[None]:
    """Let all stages that are built and set up inside find transforms here, and nowhere else.

    For tests, whose transforms need not lie in a module that can be found by name.
    """
    token = _PLACED.set(registry)
    try:
        yield
    finally:
        _PLACED.reset(token)


def flows_of(config: ClientConfig, registry: Registry) -> Mapping[str, tuple[Flow, ...]]:
    """Return the flows of each entity that has a topic, its own first.

    Raises:
        TransformError: if a transform is unknown, cannot be used, or looks up an entity that has no topic.
    """
    flows: dict[str, list[Flow]] = {name: [] for name in config.topics.values()}
    for name, entity in config.entities.items():
        source = entity.from_entity or (name if entity.topic is not None else None)
        if source is None:
            continue
        flow = replace(flow_of(source, name, entity.transform, registry), evolution=config.evolution_of(name))
        for asked in flow.parameters.lookups.values():
            _check_lookup(config, flow, asked.entity, len(asked.columns))
        flows[source].insert(0 if source == name else len(flows[source]), flow)
    return {name: tuple(found) for name, found in flows.items()}


def flow_of(source: str, target: str, transform: str | None, registry: Registry) -> Flow:
    """Return the flow from one entity to another by a transform; raises TransformError as `flows_of` does."""
    if transform is None:
        return Flow(source, target, "copy")
    found, info = registry.get(transform), registry.info(transform)
    if issubclass(found, Aggregate):
        check_aggregate(transform, found)
        return Flow(source, target, "aggregate", found, info)
    parameters = parameters_of(transform, found)
    kind: Kind = "beam" if parameters.beam else "lookup" if parameters.lookups else "record"
    return Flow(source, target, kind, found, info, parameters)


def _check_lookup(config: ClientConfig, flow: Flow, asked: str, columns: int) -> None:
    entity = config.entities.get(asked)
    if entity is None or entity.topic is None:
        known = ", ".join(config.topics.values())
        raise TransformError(
            f"transform {flow.name!r} of entity {flow.target!r} looks up {asked!r}, "
            f"expected an entity that has a topic: {known}"
        )
    if entity.keyless is not None:
        raise TransformError(
            f"transform {flow.name!r} of entity {flow.target!r} looks up {asked!r}, "
            "which has no key, expected an entity that has one"
        )
    if len(entity.key) != columns:
        raise TransformError(
            f"transform {flow.name!r} of entity {flow.target!r} looks up {asked!r} by {columns} columns, "
            f"expected its key's {len(entity.key)}: {', '.join(entity.key)}"
        )
