"""Describe the columns of an entity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema, field_validator, model_validator
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel
from tillstream.configs.column_rules import ColumnRules, misplaced_rules

__all__ = ["KINDS", "Column", "ColumnModel", "Contract", "text_of"]

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
    "uuid",
    "json",
)
_DECIMAL = re.compile(r"decimal\((\d+)\s*,\s*(\d+)\)")
_PRECISION_MAX = 1000


@dataclass(frozen=True)
class Column:
    """Hold one column of a contract, parsed.

    Attributes:
        name: of the column.
        kind: one of KINDS.
        nullable: whether null, or no value at all, fits.
        precision: digits in all, for decimals.
        scale: digits after the point, for decimals.
        unit: of the values, such as EUR or ms; empty where they have none.
        pii: class of personal data that it holds, such as email; None where it holds none.
        description: what it means, for people.
        rules: that its values keep beside their type, or None.
        default: value of a row that lacks the column, in its JSON form; None for none.
        key: whether its author says that it is part of the primary key.
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


def text_of(column: Column) -> str:
    """Return a column's type as a config spells it."""
    if column.kind == "decimal":
        return f"decimal({column.precision},{column.scale})"
    return column.kind


class ColumnModel(ConfigModel):
    """Say what values a column takes. The short form of `{type: int64}` is `int64`."""

    type: str = Field(description=f"One of {', '.join(KINDS)}; decimals as decimal(precision,scale).")
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
        match = _DECIMAL.fullmatch(value)
        if match:
            precision, scale = map(int, match.groups())
            if not (0 < precision <= _PRECISION_MAX and scale <= precision):
                raise ValueError(f"expected decimal(p,s) with 0 < p <= {_PRECISION_MAX} and s <= p")
        elif value.startswith("decimal(") and not value.endswith(")"):
            raise ValueError("expected decimal(p,s); put it in quotes, because inside {} a comma ends it")
        elif value == "decimal" or value not in KINDS:
            raise ValueError(f"expected one of {', '.join(KINDS).replace('decimal', 'decimal(p,s)')}")
        return value

    @model_validator(mode="after")
    def _rules_fit(self) -> Self:
        found = self.rules and misplaced_rules(self.type.split("(")[0], self.rules)
        if found:
            raise ValueError(found)
        return self

    def column(self, name: str, *, is_key: bool) -> Column:
        """Return the parsed column."""
        match = _DECIMAL.fullmatch(self.type)
        return Column(
            name,
            "decimal" if match else self.type,
            (not is_key) if self.nullable is None else self.nullable,
            int(match[1]) if match else None,
            int(match[2]) if match else None,
            self.unit,
            self.pii,
            self.description,
            self.rules,
            self.default,
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
