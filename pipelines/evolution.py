"""Say which type holds the values of which, for columns that evolve.

A column that no contract names has the type that its messages declare, or else one made of its values: bool,
int64, float64, string or json. Where later values are of another type it becomes the type that holds both.

- Of values: whole numbers and others are float64 (as when Spark infers a schema from JSON; beyond 2^53 digits
  are lost), anything else is json, which holds everything.
- Declared: the wider of two types of numbers where no digit is lost by it, timestamp for dates and
  timestamps; anything else is string, as Postgres spells the values: what a source's own ALTER TYPE does.

Each is the join of a lattice of its own: whoever sees which rows first, all end with the same type. Where a
column had types of values and then declared ones, the result may depend on the order; a sink's table has one.

Behind a type may stand words: `declared`, and `null` for a contract's own column that the source has dropped,
so that it may be null from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from tillstream.configs import Column, ColumnModel, Entity
from tillstream.configs.contract import column_of, text_of
from tillstream.configs.schema_evolution import SchemaEvolution, policy_of
from tillstream.pipelines.conversions import converted
from tillstream.pipelines.records import MutationBatch

__all__ = [
    "DECLARED",
    "NULL",
    "conformed",
    "evolves",
    "inferred",
    "join",
    "joined",
    "plain",
    "shaped",
    "widened",
    "wider",
]

DECLARED = "declared"
NULL = "null"
_INTEGERS = {"int16": 16, "int32": 32, "int64": 64}
_INTEGER_DIGITS = {"int16": 5, "int32": 10, "int64": 19}
_FLOATS = {"float32", "float64"}
# Which whole numbers a float holds exactly.
_EXACT = {"float32": {"int16"}, "float64": {"int16", "int32"}}
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


def plain(kind: str) -> str:
    """Return a type without the words that may stand behind it."""
    return kind.partition(" ")[0]


def join(first: str, second: str) -> str:
    """Return the narrowest type that holds the values of two, as a config spells them.

    Types that are not declared are both what `inferred` returns, or both widenings of a contract's column.
    """
    if first == second:
        return first
    (first, *words), (second, *others) = first.split(" "), second.split(" ")
    found = first if first == second else _number(first, second)
    if found is None and DECLARED in (*words, *others):
        found = _declared(first, second)
    if found is None:
        found = "float64" if {first, second} == {"int64", "float64"} else "json"
    return " ".join([found, *sorted({*words, *others})])


def _number(first: str, second: str) -> str | None:
    kinds = {first, second}
    if kinds <= set(_INTEGERS):
        return max(kinds, key=_INTEGERS.__getitem__)
    if all(kind.startswith("decimal") for kind in kinds):
        return _decimal(first, second)
    return None


def _decimal(first: str, second: str) -> str:
    room = scale = 0
    for kind in (first, second):
        column = column_of("", kind)
        digits, places = column.precision or _INTEGER_DIGITS.get(kind), column.scale or 0
        if digits is None:
            return "decimal"
        room, scale = max(room, digits - places), max(scale, places)
    return f"decimal({room + scale},{scale})" if room + scale <= _DIGITS_MAX else "decimal"


def _declared(first: str, second: str) -> str:
    for one, other in ((first, second), (second, first)):
        if one in _INTEGERS and other.startswith("decimal"):
            return _decimal(one, other)
        if other in _FLOATS and (one in _EXACT[other] or one in _FLOATS):
            return "float64" if "float64" in (one, other) or one in _FLOATS else other
        if (one, other) == ("int32", "float32"):
            return "float64"
        if (one, other) == ("date", "timestamp"):
            return other
    elements = [column_of("", kind).element for kind in (first, second)]
    if elements[0] is not None and elements[1] is not None:
        return f"array({plain(join(f'{text_of(elements[0])} {DECLARED}', text_of(elements[1])))})"
    return "string"


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


def wider(column: Column, declared: str) -> Column | None:
    """Return a contract's column that holds also what messages declare; None where that is not safe.

    Safe is as of `widened`. A column of the key keeps its digits, because its spelling tells its shard.
    """
    own = text_of(column)
    if "decimal" in own + declared and column.key:
        return None
    if own not in _INTEGERS and own not in _FLOATS and not own.startswith("decimal"):
        return None
    found = column_of(column.name, plain(join(f"{own} {DECLARED}", declared)))
    if found.kind == "string" or (column.kind in _INTEGERS and found.kind in _FLOATS):
        return None
    return replace(column, kind=found.kind, precision=found.precision, scale=found.scale)


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
        own, (type_, *words) = contract.get(name), kind.split(" ")
        if own is None:
            contract[name] = ColumnModel(type=type_, nullable=True)
        else:
            nullable = True if NULL in words else own.nullable
            contract[name] = own.model_copy(update={"type": type_, "nullable": nullable})
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
    return converted(value, plain(kind), plain(wanted))
