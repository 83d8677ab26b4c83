"""Say which type holds the values of which, for columns that evolve.

A column that no contract names is typed by its values: bool, int64, float64, string or json. Where later
values are of another type it becomes the type that holds both: whole numbers and others are float64 (as when
Spark infers a schema from JSON; beyond 2^53 digits are lost), anything else is json, which holds everything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tillstream.configs import Column, ColumnModel, Entity
from tillstream.configs.schema_evolution import SchemaEvolution, policy_of
from tillstream.pipelines.records import MutationBatch

__all__ = ["conformed", "evolves", "inferred", "join", "joined", "shaped", "widened"]

_INTEGERS = {"int16": 16, "int32": 32, "int64": 64}
_DIGITS_MAX = 1000


def evolves(entity: Entity) -> bool:
    """Tell whether rows of an entity may have other columns than its contract's."""
    return entity.contract is not None and policy_of(SchemaEvolution(), entity.schema_evolution).evolves


def inferred(value: Any) -> str:
    """Return the type of a column that holds a JSON value, which is not null."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(1 << 63) <= value < 1 << 63 else "json"
    if isinstance(value, (float, Decimal)):
        return "float64"
    return "string" if isinstance(value, str) else "json"


def join(first: str, second: str) -> str:
    """Return the narrowest type that holds the values of two, as a config spells them.

    Either both are what `inferred` returns, or both are widenings of one column of a contract.
    """
    if first == second:
        return first
    kinds = {first, second}
    if kinds <= set(_INTEGERS):
        return max(kinds, key=_INTEGERS.__getitem__)
    if kinds == {"int64", "float64"}:
        return "float64"
    if all(kind.startswith("decimal(") for kind in kinds):
        columns = [ColumnModel(type=kind).column("", is_key=False) for kind in kinds]
        scale = max(column.scale or 0 for column in columns)
        room = max((column.precision or 0) - (column.scale or 0) for column in columns)
        return f"decimal({room + scale},{scale})"
    return "json"


def widened(column: Column, value: Any) -> Column | None:
    """Return a column that holds a JSON value which its own type does not; None where that is not safe.

    Safe is what changes no value that is there: whole numbers of more bits, decimals of more digits. Not
    floats for whole numbers, which lose digits, and not texts for numbers, which sort otherwise.
    """
    if column.kind in _INTEGERS and inferred(value) == "int64":
        for kind, bits in _INTEGERS.items():
            if -(1 << (bits - 1)) <= value < 1 << (bits - 1):
                return replace(column, kind=join(column.kind, kind))
    if column.kind != "decimal" or column.precision is None or isinstance(value, bool) or column.key:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS_MAX:
        return None
    scale = max(0, -int(number.normalize().as_tuple().exponent))
    # Digits before the point are those of the wider of both, and so are those behind it.
    scale = max(scale, column.scale or 0)
    precision = max(number.adjusted() + 1, column.precision - (column.scale or 0)) + scale
    return replace(column, precision=precision, scale=scale) if precision <= _DIGITS_MAX else None


def joined(known: Mapping[str, str], found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the types of columns after others were found of them; the order is that of their coming."""
    types = dict(known)
    for name, kind in found:
        types[name] = join(types[name], kind) if name in types else kind
    return types


def shaped(entity: Entity, evolved: Mapping[str, str]) -> Entity:
    """Return an entity whose contract has the columns that evolved; those that it lacks come last."""
    contract = dict(entity.contract or {})
    for name, kind in evolved.items():
        own = contract.get(name)
        if own is None:
            contract[name] = ColumnModel(type=kind, nullable=True)
        else:
            contract[name] = own.model_copy(update={"type": kind, "nullable": own.nullable})
    return entity.model_copy(update={"contract": contract})


def conformed(batch: MutationBatch, columns: Sequence[str], evolved: Mapping[str, str]) -> MutationBatch:
    """Return a batch whose rows have given columns, in order; values that they lack are null.

    Args:
        batch: to conform.
        columns: among them all of the batch's.
        evolved: types of those columns that evolved, each holding the batch's own.
    """
    own = dict(batch.evolved)
    changes = [name for name, kind in own.items() if evolved[name] != kind]
    if tuple(columns) == batch.columns and not changes:
        return batch
    place = {name: index for index, name in enumerate(batch.columns)}
    plan = [(place.get(name), own.get(name, ""), evolved.get(name, "")) for name in columns]
    records = tuple(
        record
        if record.values is None
        else msgspec.structs.replace(record, values=tuple([_value(record.values, *each) for each in plan]))
        for record in batch.records
    )
    types = tuple((name, kind) for name, kind in evolved.items() if name in columns)
    return msgspec.structs.replace(batch, columns=tuple(columns), records=records, evolved=types)


def _value(values: tuple[Any, ...], place: int | None, kind: str, wanted: str) -> Any:
    value = None if place is None else values[place]
    if value is None or kind in ("", wanted):
        return value
    if wanted == "json":
        return json.dumps(value)
    return float(value) if wanted == "float64" else value
