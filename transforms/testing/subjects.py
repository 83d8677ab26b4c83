"""Tell what is tested: one transform in a client made for it, or a client whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import apache_beam as beam

from tillstream.configs import ClientConfig, load
from tillstream.pipelines.errors import TransformError, UserError
from tillstream.pipelines.records import ChangeEvent, Operation
from tillstream.transforms.aggregates.aggregate import Aggregate
from tillstream.transforms.api import Parameters, TransformInfo, info_of, parameters_of, transform
from tillstream.transforms.flows import registry_of, using
from tillstream.transforms.registry import Registry, find_transforms
from tillstream.transforms.resolving import resolve
from tillstream.transforms.testing.events import Columns

__all__ = ["Subject", "Tested", "subject_of"]

# Enough to have keys that share one and keys that do not.
_SHARDS = 4
# A class, the name of a registered one, or a client's config or its path.
Tested: TypeAlias = "type[Any] | str | Path | ClientConfig"


@dataclass(frozen=True)
class Subject:
    """Hold what is tested.

    Attributes:
        name: of the transform or client, for people.
        config: of a client that runs it, resolved; its sinks are not written to.
        registry: where its transforms are found.
        shown: entities whose rows count.
        tested: what the test named.
        options: keyword arguments that say the rest, for a test that names it again.
    """

    name: str
    config: ClientConfig
    registry: Registry
    shown: frozenset[str]
    tested: Tested
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> list[type[Any]]:
        """Return the transforms that the client's entities name."""
        names = [each.transform for each in self.config.entities.values() if each.transform is not None]
        return [self.registry.get(name) for name in dict.fromkeys(names)]


def subject_of(
    tested: Tested,
    events: Sequence[ChangeEvent],
    *,
    source: str | None = None,
    into: str | None = None,
    keys: Mapping[str, Columns] | None = None,
    modules: Sequence[str] = (),
    dedup: bool = True,
) -> Subject:
    """Return what a test names.

    Args:
        tested: a DoFn or Aggregate, marked by @transform or not; the name of one that is registered; or a
            client, by its config or by its config's path.
        events: that it will be given; they tell the entities and their keys.
        source: the entity whose changes it takes. Default: the only one of the events' that it does not look
            up.
        into: the entity whose rows it makes. Default: the source's own.
        keys: key columns of entities that have no events. Default for `into`: the source's.
        modules: where the name is looked for, beside what is installed.
        dedup: whether changes are deduplicated before they reach the transform.

    Raises:
        TransformError: if it is no transform, unknown, or cannot be used.
        UserError: if the source or a key cannot be told.
    """
    if isinstance(tested, ClientConfig | Path) or (isinstance(tested, str) and "@" not in tested):
        return _client(tested, dedup=dedup)
    given = {"source": source, "into": into, "keys": keys, "modules": list(modules) or None}
    options = {name: value for name, value in given.items() if value is not None}
    registry, info, cls = _transform(tested, modules)
    asked = Parameters({}, {}) if issubclass(cls, Aggregate) else parameters_of(info.name, cls)
    entities = {
        event.entity: list(event.key) for event in events if event.operation is not Operation.TRUNCATE
    }
    source = source or _source(info, asked, entities)
    if source not in entities:
        raise UserError(f"source: found {source!r}, expected an entity of the events: {', '.join(entities)}")
    into = into or source
    known = {
        name: [columns] if isinstance(columns, str) else list(columns)
        for name, columns in (keys or {}).items()
    }
    targets = {into, *[name for name in info.outputs if name is not None]}
    described: dict[str, dict[str, Any]] = {
        name: {"topic": f"{info.client}.public.{name}", "key": key, "sinks": ["out"]}
        for name, key in entities.items()
    }
    for name in sorted({*targets, *known} - set(entities)):
        described[name] = {"key": known.get(name, entities[source]), "sinks": ["out"]}
    if into != source:
        described[into]["from"] = source
    described[into]["transform"] = info.name
    config = _config(info.client, described, dedup=dedup)
    with using(registry):
        resolved = resolve(config)
    return Subject(info.name, resolved, registry, frozenset({*targets, *known}), tested, options)


def _config(client: str, entities: Mapping[str, Any], *, dedup: bool) -> ClientConfig:
    return ClientConfig.model_validate(
        {
            "client": client,
            "source": {"files": {"paths": ["events.jsonl"]}},
            "entities": entities,
            "sinks": {"out": {"type": "files", "path": "out"}},
            "dedup": {"by": "position" if dedup else "none"},
            "flink": {"shards": _SHARDS},
        }
    )


def _client(tested: ClientConfig | Path | str, *, dedup: bool) -> Subject:
    config = tested if isinstance(tested, ClientConfig) else load(Path(tested))
    registry = registry_of(config)
    with using(registry):
        config = resolve(config)
    if not dedup:
        config = config.model_copy(update={"dedup": config.dedup.model_copy(update={"by": "none"})})
    return Subject(config.client, config, registry, frozenset(config.entities), tested)


def _transform(tested: type[Any] | str, modules: Sequence[str]) -> tuple[Registry, TransformInfo, type[Any]]:
    if isinstance(tested, str):
        registry = find_transforms(modules)
        return registry, registry.info(tested), registry.get(tested)
    if not (isinstance(tested, type) and issubclass(tested, beam.DoFn | Aggregate)):
        raise TransformError(
            f"found {tested!r}, expected a class of a beam.DoFn or an Aggregate, the name of a registered "
            "transform, or a client's config"
        )
    cls, info = tested, info_of(tested)
    if info is None:
        # Marked on a class of its own, because the author's is not ours to change.
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", tested.__name__.strip("_")).lower()
        cls = type(tested.__name__, (tested,), {"__module__": tested.__module__, "__doc__": tested.__doc__})
        info = info_of(transform(f"test.{name}@0.0.0")(cls))
        assert info is not None  # just marked
    registry = Registry()
    registry.add(cls)
    return registry, info, cls


def _source(info: TransformInfo, asked: Parameters, entities: Mapping[str, Any]) -> str:
    looked_up = {each.entity for each in asked.lookups.values()}
    found = [name for name in entities if name not in looked_up]
    if len(found) != 1:
        raise UserError(
            f"transform {info.name!r}: found events of {', '.join(entities) or 'nothing'}, "
            "expected source= to say whose changes it takes"
        )
    return found[0]
