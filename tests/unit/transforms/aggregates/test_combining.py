"""What is added can be taken back, and leaves nothing behind."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.transforms.aggregates.combining import Combine, Count, Max, Min, Sum, TopN

AMOUNTS = st.none() | st.integers(-5, 5) | st.decimals("-9", "9", places=3)
VALUES = st.lists(st.fixed_dictionaries({"x": AMOUNTS, "item": st.sampled_from("abc")}), max_size=8)


def total_of(combine: Combine, values: list[dict[str, Any]], taken_back: int = 0) -> Any:
    """Return the total of all values, of which the first ones are taken back again."""
    total = combine.zero()
    for each in values:
        total = combine.add(total, each, 1)
    for each in values[:taken_back]:
        total = combine.add(total, each, -1)
    return total


@given(VALUES, st.integers(0, 8))
def test_what_is_taken_back_never_counted(values: list[dict[str, Any]], taken_back: int) -> None:
    """Totals are those of the values that are left."""
    left = values[taken_back:]
    found = [each["x"] for each in left if each["x"] is not None]
    sums: Counter[str] = Counter()
    for each in left:
        sums[each["item"]] += each["x"] or 0
    best = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))[:2]
    cases: list[tuple[Combine, Any]] = [
        (Count(), len(left)),
        (Count("x"), len(found)),
        (Sum("x"), sum(found)),
        (Min("x"), min(found, default=None)),
        (Max("x"), max(found, default=None)),
        (TopN(2, "item", by="x"), best),
    ]
    for combine, expected in cases:
        assert combine.result(total_of(combine, values, taken_back)) == expected, combine


def test_taking_all_back_leaves_the_total_of_nothing() -> None:
    """No rest of a value lies in state for ever."""
    values = [{"x": Decimal("0.10"), "item": "a"}, {"x": 2, "item": "b"}]
    for combine in (Min("x"), Max("x"), TopN(1, "item", by="x")):
        assert total_of(combine, values, 2) == combine.zero()


def test_sums_do_not_round() -> None:
    """Amounts of very different sizes keep all their digits."""
    small, large = Decimal("1e-30"), Decimal("1e38")
    assert total_of(Sum("x"), [{"x": large}, {"x": small}, {"x": 1}], 1) == Decimal("1." + "0" * 29 + "1")


@pytest.mark.parametrize("value", [0.1, "1", Decimal("NaN"), Decimal("Infinity")])
def test_what_cannot_be_summed_exactly_is_refused(value: Any) -> None:
    """A float, text and what is no number are refused with what is expected."""
    with pytest.raises(TypeError, match="expected an int or a finite Decimal"):
        total_of(Sum("x"), [{"x": value}])
