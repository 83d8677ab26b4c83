"""Conditions over columns: what they mean, what null does, and what is not let in."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.configs.contract import Column
from tillstream.configs.expressions import Expression

COLUMNS = {
    column.name: column
    for column in (
        Column("n", "int64", nullable=True),
        Column("m", "int64", nullable=True),
        Column("share", "float64", nullable=True),
        Column("total", "decimal", nullable=True, precision=12, scale=2),
        Column("status", "string", nullable=True),
        Column("is_open", "bool", nullable=True),
        Column("day", "date", nullable=True),
        Column("at", "timestamptz", nullable=True),
        Column("details", "json", nullable=True),
    )
}
ROW = {
    "n": 3,
    "m": 0,
    "share": 0.5,
    "total": "10.10",
    "status": "Paid",
    "is_open": True,
    "day": "2026-02-28",
    "at": dt.datetime(2026, 2, 28, 12, tzinfo=dt.timezone.utc),
}


def passes(text: str, **changes: Any) -> bool:
    """Tell whether a row passes, by both ways to ask."""
    condition = Expression(text, COLUMNS)
    values = [{**ROW, **changes}[name] for name in condition.columns]
    alone = condition.passes(values)
    assert condition.all_pass([[value] for value in values]) is alone
    return alone


@pytest.mark.parametrize(
    "text",
    [
        "n > 2 and total >= 10.1",
        "total * 2 == 20.2",
        "total - 10 < n",
        "-n < 0",
        "share == 0.5 and total > share",
        "0 <= m < n <= 3",
        "status == 'Paid' or n / m > 1",
        "lower(status) in ('paid', 'open')",
        "status not in ['lost']",
        "n in (1, 2, 3) and total in (10.1, 5)",
        "not (n == 4)",
        "is_open",
        "is_open == true and day >= '2026-01-01'",
        "at < '2026-03-01T00:00:00+01:00'",
        "'2026-01-01' < day",
        "len(status) == 4 and abs(n) == 3",
        "status is not null",
    ],
)
def test_what_passes(text: str) -> None:
    """Each condition holds for the row."""
    assert passes(text)


@pytest.mark.parametrize(
    "text", ["n > 3", "total == 10.11", "not is_open", "n + m != 3", "day < '2026-02-28'", "status is null"]
)
def test_what_does_not(text: str) -> None:
    """Each condition is false for the row."""
    assert not passes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > 5", True),
        ("not (n > 5)", True),
        ("n > 5 and total > 100", False),
        ("n > 5 or total > 100", True),
        ("n is not null", False),
        ("n + 1 > 5", True),
        ("n in (1, 2)", True),
        ("total / n > 100", True),
    ],
)
def test_null_is_unknown(text: str, *, expected: bool) -> None:
    """What is compared with null is unknown, and unknown passes: but what is false already stays so."""
    assert passes(text, n=None) is expected


def test_a_division_by_zero_is_unknown() -> None:
    """It neither passes as true nor raises."""
    assert passes("n / m > 1")
    assert not passes("n / m > 1 and n == 4")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n ** 9 > 1", "found 'n ** 9'"),
        ("status.upper() == 'A'", "found 'status.upper()'"),
        ("__import__('os').system('x')", "found '__import__', expected columns of the contract"),
        ("(lambda: n)() > 1", "found '(lambda: n)()'"),
        ("[x for x in (1,)] == n", "found 'x'"),
        ("n if is_open else m", "found 'n if is_open else m'"),
        ("nn > 1", "found 'nn', expected columns of the contract: n, m"),
        ("1 > 0", "found no column"),
        ("n", "a number, expected a condition"),
        ("n > 'a'", "a number, against \"'a'\", a text"),
        ("status + 'a' == 'b'", "a text, expected a number"),
        ("n == null", "expected is null or is not null"),
        ("n is 3", "expected is null"),
        ("day > 'yesterday'", "expected a date"),
        ("at > day", "expected two of one type"),
        ("details == 'x'", "type json"),
        ("n in m", "found in m"),
        ("n in (1, 'a')", "expected a number"),
        ("len(n) > 1", "expected a text"),
        ("len(status, 1) > 1", "found 'len(status, 1)'"),
        ("n >", "found"),
        ("n > 1; m", "found"),
        ("n " + "+ 1 " * 300 + "> 1", "more than 200 parts"),
        ("n > " + "1" * 3000, "expected at most 2000"),
        ("(" * 300 + "n" + ")" * 300 + " > 1", "found"),
        ("n > 1j", "found 1j"),
        ("f'{n}' == 'a'", "found"),
        ("n & 1 == 1", "found"),
    ],
)
def test_what_is_not_let_in(text: str, said: str) -> None:
    """Nothing that is not in the language, and nothing that cannot be compared, is compiled."""
    with pytest.raises(ValueError, match="found") as caught:
        Expression(text, COLUMNS)
    assert said in str(caught.value)


@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-3, 3)) for _ in range(2)]), min_size=1))
def test_a_batch_is_judged_as_its_rows(rows: list[tuple[int | None, int | None]]) -> None:
    """A whole batch passes exactly when each row does, nulls or not."""
    condition = Expression("n > m and not (n == 2) or n / m >= 1", COLUMNS)
    columns = [list(column) for column in zip(*rows, strict=True)]
    assert condition.all_pass(columns) is all(condition.passes(row) for row in rows)
