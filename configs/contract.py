"""Describe the columns of an entity."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints, WithJsonSchema, field_validator, model_validator

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel

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
    """

    name: str
    kind: str
    nullable: bool
    precision: int | None = None
    scale: int | None = None


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

    def column(self, name: str, *, is_key: bool) -> Column:
        """Return the parsed column."""
        nullable = (not is_key) if self.nullable is None else self.nullable
        match = _DECIMAL.fullmatch(self.type)
        if match:
            return Column(name, "decimal", nullable, int(match[1]), int(match[2]))
        return Column(name, self.type, nullable)


_SCHEMA = {
    "anyOf": [
        {"type": "string", "examples": ["int64", "decimal(12,2)"]},
        ColumnModel.model_json_schema(),
    ]
}
_ColumnName = Annotated[str, StringConstraints(pattern=forms.COLUMN)]
Contract = dict[_ColumnName, Annotated[ColumnModel, WithJsonSchema(_SCHEMA)]]
