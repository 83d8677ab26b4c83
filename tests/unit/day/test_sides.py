"""The day's log is compared with all that was committed, and each version grades in its own way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.day.files import GRADES, write_transforms
from tests.day.sides import grade_of, log_difference
from tests.day.traffic import COLUMNS, TABLE
from tillstream.runners.verify.oracle import Change, Oracle, RowKey

ROW = {"id": 1, "amount": "1.00", "note": "new", "version": 5}


def written(folder: Path, *lines: dict[str, Any]) -> Path:
    """Write a log and return its folder."""
    path = folder / TABLE / "part-1.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def committed() -> Oracle:
    """Return what was committed: a row came and went."""
    oracle = Oracle()
    oracle.add([Change(RowKey(TABLE, (1,)), ROW), Change(RowKey(TABLE, (1,)), None)])
    return oracle


UPSERT, DELETE = {**ROW, "_op": "upsert", "beat": "x"}, {"id": 1, "_op": "delete"}


def test_a_log_with_each_change_once_is_equal(tmp_path: Path) -> None:
    """In the order in which they were committed, whatever else its lines hold."""
    assert log_difference(written(tmp_path, UPSERT, DELETE), committed()) is None
    assert tuple(ROW) == COLUMNS


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([UPSERT], "1 missing"),
        ([UPSERT, UPSERT, DELETE], "1 duplicates"),
        ([UPSERT, DELETE, DELETE], "1 duplicates"),
        ([{**UPSERT, "amount": "2.00"}, DELETE], "1 mismatched"),
        ([UPSERT, DELETE, {**UPSERT, "version": 6}], "1 extra"),
        ([], "2 missing"),
    ],
)
def test_a_log_with_anything_else_differs(tmp_path: Path, lines: list[dict[str, Any]], said: str) -> None:
    """What is lost, twice there, changed, or nobody's."""
    found = log_difference(written(tmp_path, *lines), committed())
    assert found is not None
    assert said in found


def test_versions_tell_themselves_apart() -> None:
    """By the row that changes at every tick, whose amount is nothing."""
    assert len({grade_of(0, version) for version in GRADES}) == len(GRADES)
    assert (grade_of(500_000, "1.0.0"), grade_of(499_999, "1.0.0")) == ("large", "small")


def test_the_wrong_version_is_wrong_in_cents_alone(tmp_path: Path) -> None:
    """At every seventh order; it has the grades of the version that it is tried beside."""
    write_transforms(tmp_path)
    text = (tmp_path / "north_cents.py").read_text()
    assert set(re.findall(r'@transform\("north\.cents@(.+?)"\)', text)) == {*GRADES, "2.0.0"}
    scope: dict[str, Any] = {}
    exec(compile(text, "north_cents.py", "exec"), scope)  # noqa: S102  # it is ours

    def of(kind: str, number: int) -> dict[str, Any]:
        event = SimpleNamespace(
            operation=None, after={"id": number, "amount": "12.34"}, upsert=lambda row: row, delete=None
        )
        (found,) = scope[kind]().process(event)
        return dict(found)

    right, wrong = of("V1_1_0", 14), of("Wrong", 14)
    assert (right["cents"], wrong["cents"]) == (1234, 1235)
    assert right["grade"] == wrong["grade"] == grade_of(1234, "1.1.0")
    assert of("Wrong", 15) == of("V1_1_0", 15)
