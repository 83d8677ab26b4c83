"""Spell arrays as Postgres reads them.

Source: PostgreSQL documentation, "Arrays", "Array Input and Output Syntax".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["array_literal", "with_literals"]


def with_literals(rows: list[tuple[Any, ...]], places: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return rows with their lists as array literals.

    Args:
        rows: tuples that reach at least to the last place.
        places: of the columns that hold arrays.
    """
    for place in places:
        rows = [
            row if row[place] is None else (*row[:place], array_literal(row[place]), *row[place + 1 :])
            for row in rows
        ]
    return rows


def array_literal(values: Sequence[Any]) -> str:
    """Return the literal of an array of one dimension; null elements stay null, texts are quoted.

    Raises:
        TypeError: for an element that is a list itself.
    """
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | dict):
        raise TypeError(f"found a {type(value).__name__} inside of an array, expected a scalar")
    text = f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
