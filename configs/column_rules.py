"""Describe the rules that the values of a column keep, beside its type."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from tillstream.configs.base import NO_TRUTH, ConfigModel

__all__ = ["ColumnRules", "misplaced_rules"]

_Bound: TypeAlias = Annotated[int | float, NO_TRUTH] | None
_Length: TypeAlias = Annotated[int, NO_TRUTH, Field(ge=0)] | None
_INTEGERS = ("int16", "int32", "int64")
_NUMBERS = (*_INTEGERS, "float32", "float64", "decimal")
# Which types of columns a rule can be checked for.
_KINDS: dict[str, tuple[str, ...]] = {
    "ge": _NUMBERS,
    "gt": _NUMBERS,
    "le": _NUMBERS,
    "lt": _NUMBERS,
    # Of floats hardly any is a multiple of 0.01.
    "multiple_of": (*_INTEGERS, "decimal"),
    "min_length": ("string", "bytes"),
    "max_length": ("string", "bytes"),
    "pattern": ("string",),
    "one_of": (*_INTEGERS, "string"),
}


class ColumnRules(ConfigModel):
    """Bound the values of a column; a row that breaks a rule becomes a dead letter `contract`."""

    ge: _Bound = Field(default=None, description="Least value.")
    gt: _Bound = Field(default=None, description="Value that all are greater than.")
    le: _Bound = Field(default=None, description="Greatest value.")
    lt: _Bound = Field(default=None, description="Value that all are less than.")
    multiple_of: _Bound = Field(default=None, description="Number that divides all values.")
    min_length: _Length = Field(default=None, description="Least length, characters or bytes.")
    max_length: _Length = Field(default=None, description="Greatest length, characters or bytes.")
    pattern: str | None = Field(
        default=None, description="Regular expression, Python's, that is found somewhere in each text."
    )
    one_of: tuple[int | str, ...] | None = Field(
        default=None, min_length=1, description="The only values that there are."
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from error
        return value

    @model_validator(mode="after")
    def _one_bound_a_side(self) -> Self:
        for closed, opened in (("ge", "gt"), ("le", "lt")):
            if getattr(self, closed) is not None and getattr(self, opened) is not None:
                raise ValueError(f"found both {closed} and {opened}, expected one of them")
        if self.multiple_of is not None and self.multiple_of <= 0:
            raise ValueError(f"found multiple_of {self.multiple_of}, expected more than 0")
        if self.one_of is not None and len(self.given()) > 1:
            raise ValueError("found one_of beside other rules, expected it alone")
        return self

    def given(self) -> dict[str, Any]:
        """Return the rules that are set, by name."""
        return self.model_dump(exclude_none=True)


def misplaced_rules(kind: str, rules: ColumnRules) -> str | None:
    """Return in words why a column of a kind cannot be checked for some rule; None where it can."""
    for name, value in rules.given().items():
        if kind not in _KINDS[name]:
            return f"found rule {name} on type {kind}, expected it on one of {', '.join(_KINDS[name])}"
        if name == "one_of":
            wanted = str if kind == "string" else int
            if not all(type(each) is wanted for each in value):
                return f"found rule one_of with {value}, expected values of type {kind}"
        if kind in _INTEGERS and name in ("ge", "gt", "le", "lt", "multiple_of") and value != int(value):
            return f"found rule {name}: {value} on type {kind}, expected a whole number"
    return None
