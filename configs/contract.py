"""Describe the columns of an entity."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema, field_validator, model_validator
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel
from tillstream.configs.column_rules import ColumnRules, misplaced_rules

__all__ = ["KINDS", "Column", "ColumnModel", "Contract", "column_of", "text_of"]

KINDS = (
    "bool",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "decimal",
    "string",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "timetz",
    "interval",
    "uuid",
    "json",
    "array",
)
_DECIMAL = re.compile(r"decimal\((\d+)\s*,\s*(\d+)\)")
_ARRAY = re.compile(r"array\((.*)\)")
# How a person spells those that take parameters.
_SPELT = {"decimal": "decimal, decimal(p,s)", "array": "array(type)"}
_EXPECTED = ", ".join(_SPELT.get(kind, kind) for kind in KINDS)
_PRECISION_MAX = 1000


@dataclass(frozen=True)
class Column:
    """Hold one column of a contract, parsed.

    Attributes:
        name: of the column.
        kind: one of KINDS.
        nullable: whether null, or no value at all, fits.
        precision: digits in all, for decimals; None for as many as there are.
        scale: digits after the point, for decimals; None for as many as there are.
        unit: of the values, such as EUR or ms; empty where they have none.
        pii: class of personal data that it holds, such as email; None where it holds none.
        description: what it means, for people.
        rules: that its values keep beside their type, or None.
        default: value of a row that lacks the column, in its JSON form; None for none.
        key: whether its author says that it is part of the primary key.
        element: of arrays, what each of their elements is; may be null.
    """

    name: str
    kind: str
    nullable: bool
    precision: int | None = None
    scale: int | None = None
    unit: str = ""
    pii: str | None = None
    description: str = ""
    rules: ColumnRules | None = None
    default: bool | int | float | str | None = None
    key: bool = False
    element: Column | None = None


def text_of(column: Column) -> str:
    """Return a column's type as a config spells it."""
    if column.kind == "decimal" and column.precision is not None:
        return f"decimal({column.precision},{column.scale})"
    if column.element is not None:
        return f"array({text_of(column.element)})"
    return column.kind


def column_of(name: str, type_: str, *, nullable: bool = True) -> Column:
    """Return a column of a type as a config spells it, which is known to be one."""
    kind, precision, scale = type_, None, None
    decimal, array = _DECIMAL.fullmatch(type_), _ARRAY.fullmatch(type_)
    if decimal:
        kind, precision, scale = "decimal", int(decimal[1]), int(decimal[2])
    element = column_of("", array[1].strip()) if array else None
    return Column(name, "array" if array else kind, nullable, precision, scale, element=element)


def _check_type(value: str) -> None:
    """Raise ValueError where a config spells no type so."""
    match, array = _DECIMAL.fullmatch(value), _ARRAY.fullmatch(value)
    if match:
        precision, scale = map(int, match.groups())
        if not (0 < precision <= _PRECISION_MAX and scale <= precision):
            raise ValueError(f"expected decimal(p,s) with 0 < p <= {_PRECISION_MAX} and s <= p")
    elif array:
        if array[1].startswith("array"):
            raise ValueError("expected array(json) for arrays of arrays")
        _check_type(array[1].strip())
    elif value.startswith(("decimal(", "array(")) and not value.endswith(")"):
        raise ValueError(
            f"expected {value.partition('(')[0]}(...); put it in quotes, because inside {{}} a comma ends it"
        )
    elif value == "array" or value not in KINDS:
        raise ValueError(f"expected one of {_EXPECTED}")


class ColumnModel(ConfigModel):
    """Say what values a column takes. The short form of `{type: int64}` is `int64`."""

    type: str = Field(description=f"One of {_EXPECTED}; p digits in all, s after the point.")
    nullable: bool | None = Field(
        default=None, description="Whether null fits. Default: true, but false for columns of the key."
    )
    description: str = Field(default="", description="What the column means, for people.")
    unit: str = Field(default="", description="Unit of its values, such as EUR, kg or ms, for people.")
    pii: Annotated[str, StringConstraints(pattern=forms.NAME)] | None = Field(
        default=None,
        description="Class of personal data that it holds, such as email, name or phone; none by default.",
    )
    rules: ColumnRules | None = Field(
        default=None, description="What its values keep beside their type; nothing by default."
    )
    default: bool | int | float | str | None = Field(
        default=None,
        description="Value of a row that lacks the column. Default: null, where null fits.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"type": value} if isinstance(value, str) else value

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        _check_type(value)
        return value

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        found = self.rules and misplaced_rules(self.type.split("(")[0], self.rules)
        if found:
            raise ValueError(found)
        if self.default is not None and self.type.startswith("array"):
            raise ValueError("found a default on an array, expected none: a config spells no arrays")
        return self

    def column(self, name: str, *, is_key: bool) -> Column:
        """Return the parsed column."""
        return replace(
            column_of(name, self.type),
            nullable=(not is_key) if self.nullable is None else self.nullable,
            unit=self.unit,
            pii=self.pii,
            description=self.description,
            rules=self.rules,
            default=self.default,
            key=is_key,
        )

    @classmethod
    def of(cls, column: Column) -> Self:
        """Return the model of a parsed column."""
        return cls(
            type=text_of(column),
            nullable=column.nullable,
            description=column.description,
            unit=column.unit,
            pii=column.pii,
            rules=column.rules,
            default=column.default,
        )


def _column_schema() -> dict[str, Any]:
    # It stands inside of another schema, where its own definitions would not be found.
    schema = ColumnModel.model_json_schema()
    (rules,) = schema.pop("$defs").values()
    schema["properties"]["rules"]["anyOf"][0] = rules
    return schema


_SCHEMA = {
    "anyOf": [
        {"type": "string", "examples": ["int64", "decimal(12,2)"]},
        _column_schema(),
    ]
}
_ColumnName = Annotated[str, StringConstraints(pattern=forms.COLUMN)]
Contract = dict[_ColumnName, Annotated[ColumnModel, WithJsonSchema(_SCHEMA)]]
