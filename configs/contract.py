"""Describe an entity's columns: the contract that its rows are held to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from tillstream.configs.base import ConfigModel

__all__ = ["COLUMN_TYPES", "Column", "ColumnName", "ColumnSpec", "Contract", "parse_type"]

COLUMN_TYPES = (
    "bool",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "decimal(p,s)",
    "string",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "json",
)
# What Parquet's decimal128 holds; Postgres holds more.
_PRECISION_MAX = 38
_DECIMAL = re.compile(r"decimal\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)")


@dataclass(frozen=True)
class Column:
    """Show one column of a contract to the code that checks or writes it.

    Attributes:
        name: of the column.
        kind: one of COLUMN_TYPES; `decimal` without its parentheses.
        nullable: whether it may be null.
        precision: digits in all, of a decimal; else None.
        scale: digits after the point, of a decimal; else None.
        description: a sentence for people.
    """

    name: str
    kind: str
    nullable: bool
    precision: int | None = None
    scale: int | None = None
    description: str = ""


def parse_type(text: str) -> tuple[str, int | None, int | None]:
    """Return kind, precision and scale of a written type.

    Raises:
        PydanticCustomError: `column_type`, if it is none of COLUMN_TYPES.
    """
    decimal = _DECIMAL.fullmatch(text)
    if decimal:
        precision, scale = int(decimal[1]), int(decimal[2])
        if 1 <= precision <= _PRECISION_MAX and scale <= precision:
            return "decimal", precision, scale
        raise PydanticCustomError(
            "column_type",
            "expected decimal(p,s) with p from 1 to {precision_max} and s from 0 to p",
            {"precision_max": _PRECISION_MAX},
        )
    if text in COLUMN_TYPES and "(" not in text:
        return text, None, None
    hint = "; inside braces put it in quotes: 'decimal(12,2)'" if text.startswith("decimal") else ""
    raise PydanticCustomError(
        "column_type", "expected one of {types}{hint}", {"types": ", ".join(COLUMN_TYPES), "hint": hint}
    )


def _check_type(text: str) -> str:
    parse_type(text)
    return text


class ColumnSpec(ConfigModel):
    """Describe one column; a type alone may be written in its place."""

    type: Annotated[str, AfterValidator(_check_type)] = Field(
        description="Type of the column: " + ", ".join(COLUMN_TYPES) + "."
    )
    nullable: bool | None = Field(
        default=None, description="Whether it may be null. Default: columns of the key may not, others may."
    )
    description: str = Field(default="", description="A sentence for people.")


def _spelled_out(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


_COLUMN_SCHEMA = {
    "anyOf": [
        {"type": "string", "description": "Type of the column.", "examples": ["int64", "decimal(12,2)"]},
        ColumnSpec.model_json_schema(),
    ]
}
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Contract = dict[
    ColumnName, Annotated[ColumnSpec, BeforeValidator(_spelled_out), WithJsonSchema(_COLUMN_SCHEMA)]
]
