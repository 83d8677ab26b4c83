"""Add up what contributions say such that each can be taken back.

A change stream has updates and deletes, so whatever was added must come off again. Counts and sums are
subtracted. A minimum is not: once its value is gone, the next one must be known. So Min, Max and TopN keep
how often each value was added; such a total is written whole with each message that changes its group.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

__all__ = ["Combine", "Count", "Max", "Min", "Sum", "TopN"]

# Decimals of 38 digits on both sides of the point, added up for ever, stay below; what would not is refused.
_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])


class Combine(ABC):
    """Be the base of what adds up contributions.

    A total is None, a number, text, a time, or a list or dict of these: it lies in the job's checkpoints.
    The `repr` says what a total means; state of another one is not read.
    """

    @abstractmethod
    def zero(self) -> Any:
        """Return the total of no contribution."""

    @abstractmethod
    def add(self, total: Any, values: Mapping[str, Any], times: int) -> Any:
        """Return the total with a contribution added, or taken back; the given one may be changed.

        Args:
            total: so far.
            values: of the contribution.
            times: 1 to add, -1 to take back.

        Raises:
            ValueError, TypeError: if the values cannot be added; the change is then refused before it counts.
        """

    def result(self, total: Any) -> Any:
        """Return what the author of `rows` sees of a total."""
        return total


@dataclass(frozen=True)
class Count(Combine):
    """Count contributions, or those that have a value of a name.

    Args:
        of: name of the value; by default all count.
    """

    of: str | None = None

    def zero(self) -> int:
        """Return 0."""
        return 0

    def add(self, total: int, values: Mapping[str, Any], times: int) -> int:
        """Count one up or down."""
        return total + times if self.of is None or values.get(self.of) is not None else total


@dataclass(frozen=True)
class Sum(Combine):
    """Add up ints and Decimals exactly; None adds nothing, and the sum of nothing is 0.

    Args:
        of: name of the value.
    """

    of: str

    def zero(self) -> int:
        """Return 0."""
        return 0

    def add(self, total: Any, values: Mapping[str, Any], times: int) -> Any:
        """Add or subtract the value."""
        return _sum(total, values.get(self.of), times, self.of)


def _sum(total: Any, value: Any, times: int, name: str) -> Any:
    if value is None:
        return total
    if isinstance(value, int):
        if isinstance(total, int):
            return total + times * value
        value = Decimal(value)
    if not isinstance(value, Decimal) or not value.is_finite():
        raise TypeError(
            f"found {name} {value!r}, expected an int or a finite Decimal: "
            "a float cannot be taken back exactly"
        )
    found = total if isinstance(total, Decimal) else Decimal(total)
    return _EXACT.add(found, value) if times > 0 else _EXACT.subtract(found, value)


class _Multiset(Combine):
    """Count how often each value was added."""

    of: str

    def zero(self) -> dict[Any, int]:
        """Return an empty multiset."""
        return {}

    def add(self, total: dict[Any, int], values: Mapping[str, Any], times: int) -> dict[Any, int]:
        """Add or take out the value; None is none."""
        value = values.get(self.of)
        if value is not None:
            count = total.get(value, 0) + times
            if count:
                total[value] = count
            else:
                del total[value]
        return total


@dataclass(frozen=True)
class Min(_Multiset):
    """Find the least value; None where there is none.

    Args:
        of: name of the value.
    """

    of: str

    def result(self, total: Mapping[Any, int]) -> Any:
        """Return the least value."""
        return min(total, default=None)


@dataclass(frozen=True)
class Max(_Multiset):
    """Find the greatest value; None where there is none.

    Args:
        of: name of the value.
    """

    of: str

    def result(self, total: Mapping[Any, int]) -> Any:
        """Return the greatest value."""
        return max(total, default=None)


@dataclass(frozen=True)
class TopN(Combine):
    """Find the items whose values add up to most: (item, sum) pairs, the greatest first, then by item.

    Args:
        n: how many at most.
        item: name of what is told apart, such as product_id.
        by: name of what is added up for each item, such as quantity; ints and Decimals.
    """

    n: int
    item: str
    by: str

    def zero(self) -> dict[Any, list[Any]]:
        """Return no items."""
        return {}

    def add(self, total: dict[Any, list[Any]], values: Mapping[str, Any], times: int) -> dict[Any, list[Any]]:
        """Add to an item's sum, or take from it; an item that nothing is left of goes."""
        item = values[self.item]
        count, found = total.get(item, (0, 0))
        count, found = count + times, _sum(found, values.get(self.by), times, self.by)
        if count:
            total[item] = [count, found]
        else:
            del total[item]
        return total

    def result(self, total: Mapping[Any, list[Any]]) -> list[tuple[Any, Any]]:
        """Return the first n pairs."""
        best = heapq.nsmallest(self.n, ((-found, item) for item, (_, found) in total.items()))
        return [(item, -found) for found, item in best]
