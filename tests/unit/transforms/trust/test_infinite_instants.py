"""Expectations take Postgres's infinities for the ends of time."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tillstream.configs.contract import column_of
from tillstream.configs.trust import Expectation
from tillstream.transforms.trust.checks import compile_check

NOW = dt.datetime(2026, 2, 28, tzinfo=dt.timezone.utc)
COLUMNS = {"until": column_of("until", "timestamptz"), "since": column_of("since", "timestamptz")}


@pytest.mark.parametrize(
    ("fields", "until", "passes"),
    [
        ({"expect": "range", "column": "until", "min": "2026-01-01T00:00:00Z"}, "infinity", True),
        ({"expect": "range", "column": "until", "min": "2026-01-01T00:00:00Z"}, "-infinity", False),
        ({"expect": "cross_field", "expression": "until >= since"}, "infinity", True),
        ({"expect": "cross_field", "expression": "until >= since"}, "-infinity", False),
    ],
)
def test_infinity_has_its_place_among_instants(fields: dict[str, Any], until: str, *, passes: bool) -> None:
    """In one pass over a column and row by row."""
    check = compile_check(Expectation.model_validate(fields), COLUMNS)
    row = {"until": until, "since": NOW}
    values = [row[name] for name in check.columns]
    assert check.passes(values) is passes
    good = {"until": NOW, "since": NOW}
    found = [[good[name], row[name]] for name in check.columns]
    # A fast pass may only be told to look again.
    assert check.all_pass(found) is passes
