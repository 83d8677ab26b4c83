"""Spell the floats that JSON has no numbers for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

__all__ = ["spell_non_finite"]


def spell_non_finite(rows: list[tuple[Any, ...]], places: Sequence[int]) -> list[tuple[Any, ...]]:
    """Return the rows with NaN and the infinities as text, in the columns that hold floats.

    Args:
        rows: tuples that reach at least to the last place.
        places: of those columns.
    """
    for place in places:
        # A sum tells in one pass whether any is not finite; an overflow only costs a closer look.
        if not math.isfinite(sum([row[place] or 0.0 for row in rows])):
            rows = [(*row[:place], _spelt(row[place]), *row[place + 1 :]) for row in rows]
    return rows


def _spelt(value: Any) -> Any:
    if value is None or math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
