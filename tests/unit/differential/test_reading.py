"""A dead letter tells the row that it is of, whoever refused it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.differential.reading import refused_row

ROW = {"id": 1, "version": 5}


@pytest.mark.parametrize(
    ("payload", "row"),
    [
        ({"op": "u", "before": {"id": 0}, "after": ROW}, ROW),
        ({"op": "d", "before": ROW, "after": None}, ROW),
        ({"schema": {}, "payload": {"op": "c", "after": ROW}}, ROW),
        (ROW, ROW),
        ({"op": "t", "before": None, "after": None}, {}),
        ([1], {}),
        (None, {}),
    ],
)
def test_the_row_of_a_letter(payload: Any, row: dict[str, Any]) -> None:
    """Of a message, wrapped or not, and of a row that came as far as a sink."""
    assert refused_row(json.dumps(payload)) == row


@pytest.mark.parametrize("payload", [None, "", "{", "\x00"])
def test_what_is_no_row(payload: str | None) -> None:
    """It excuses nothing."""
    assert refused_row(payload) == {}
