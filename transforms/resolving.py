"""Complete a client's config by what its transforms say of themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tillstream.configs import ClientConfig, Column, ColumnModel, Entity
from tillstream.configs.contract import Contract, text_of
from tillstream.configs.keyless import system_columns
from tillstream.configs.schema_evolution import EntityEvolution
from tillstream.configs.trust_checks import check_trust
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.api import TransformInfo
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.flows import flows_of, registry_of

__all__ = ["resolve"]

# What a transform may say of a column where the config says nothing.
_SAID = ("description", "unit", "pii", "rules")


def resolve(config: ClientConfig) -> ClientConfig:
    """Return the config with the contracts that transforms bring for entities that have none of their own.

    Where the config has a contract, that one holds, and must ask for nothing that the transform's lacks.

    Raises:
        TransformError: as `flows_of` does; if a transform makes rows of an entity that the config lacks, or
            if contracts contradict each other.
    """
    entities = dict(config.entities)
    for flows in flows_of(config, registry_of(config)).values():
        for flow in flows:
            if flow.info is None:
                continue
            for name, model in flow.info.outputs.items():
                target = flow.target if name is None else name
                if target not in entities:
                    raise TransformError(
                        f"transform {flow.info.name!r} makes rows of {target!r}, "
                        f"expected an entity of the config: {', '.join(entities)}"
                    )
                columns = columns_of_model(model)
                entity = entities[target]
                _check_key(target, entity.named_key, columns, flow.info)
                if entity.contract is None:
                    contract = {each.name: ColumnModel.of(each) for each in columns}
                else:
                    _check(target, _own_columns(entity), columns, flow.info)
                    contract = _completed(target, entity.contract, columns, flow.info)
                entities[target] = entity.model_copy(update={"contract": contract})
    for name, entity in entities.items():
        if entity.contract is not None:
            entities[name] = entity.model_copy(update={"schema_evolution": _effective(config, name)})
    resolved = config.model_copy(update={"entities": entities})
    _check_sinks(resolved)
    _check_holds(resolved)
    for problem in check_trust(resolved.model_dump(mode="json", by_alias=True), is_whole=True):
        raise TransformError(f"{problem.field}: {problem.text}")
    return resolved


def _own_columns(entity: Entity) -> tuple[Column, ...]:
    """Return an entity's columns without those that tell rows of a table without a key apart."""
    return entity.columns()[len(system_columns(entity.keyless)) :]


def _effective(config: ClientConfig, name: str) -> EntityEvolution:
    """Return an entity's policy with all that the client says, so that sinks know it too."""
    policy = config.evolution_of(name)
    return EntityEvolution(columns=policy.columns, types=policy.types, by_column=policy.by_column)


def _check_key(entity: str, key: Sequence[str] | None, made: tuple[Column, ...], info: TransformInfo) -> None:
    # A model that marks none leaves the key to the config; it may be written under several.
    marked = [column.name for column in made if column.key]
    if key is not None and marked and set(marked) != set(key):
        raise TransformError(
            f"entity {entity!r}: found key {', '.join(key)}, but transform {info.name!r} marks "
            f"{', '.join(marked)} as the key, expected the same in the config and in the model"
        )


def _check(entity: str, asked: tuple[Column, ...], made: tuple[Column, ...], info: TransformInfo) -> None:
    known = {column.name: column for column in made}
    for column in asked:
        found = known.get(column.name)
        if found is None and not column.nullable:
            raise TransformError(
                f"entity {entity!r}: column {column.name!r} is none that transform {info.name!r} makes, "
                f"expected one of {', '.join(known)}"
            )
        if found is not None and text_of(found) != text_of(column):
            raise TransformError(
                f"entity {entity!r}: column {column.name!r} is {text_of(column)}, "
                f"but transform {info.name!r} makes {text_of(found)}"
            )


def _completed(
    entity: str, asked: Contract, made: tuple[Column, ...], info: TransformInfo
) -> dict[str, ColumnModel]:
    """Return a contract with what a transform says of its columns and the contract does not."""
    known = {column.name: ColumnModel.of(column) for column in made}
    completed = dict(asked)
    for name, column in asked.items():
        found = known.get(name)
        if found is None:
            continue
        if None not in (found.rules, column.rules) and found.rules != column.rules:
            raise TransformError(
                f"entity {entity!r}: column {name!r} has other rules than transform {info.name!r} gives it, "
                "expected the same, or none in the config"
            )
        own = {each: getattr(column, each) or getattr(found, each) for each in _SAID}
        completed[name] = column.model_copy(update=own)
    return completed


def _check_holds(config: ClientConfig) -> None:
    kinds = {
        flow.target: flow.kind for flows in flows_of(config, registry_of(config)).values() for flow in flows
    }
    for name, entity in config.entities.items():
        if entity.on_error == "hold_key" and kinds.get(name) not in ("copy", "record"):
            raise TransformError(
                f"entity {name!r}: found on_error hold_key, expected skip: keys are held where changes are "
                "copied, or where the transform asks for the event and its key's state alone"
            )


def _check_sinks(config: ClientConfig) -> None:
    for name, entity in config.entities.items():
        for sink in entity.sinks:
            model = config.sinks[sink]
            needing = model.type == "postgres" or getattr(model, "format", "") in ("parquet", "avro")
            if needing and entity.contract is None:
                raise TransformError(
                    f"entity {name!r}: found no contract, expected the columns that sink {sink!r} writes: "
                    f"write them in the config, or give transform {entity.transform!r} an output model"
                )
        contract = entity.contract
        missing = [key for key in entity.named_key or () if contract is not None and key not in contract]
        if missing:
            raise TransformError(
                f"entity {name!r}: found no {', '.join(missing)} in its contract, expected its key's columns"
            )
