"""The comparer finds whatever differs: a proof must be able to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tillstream.runners.verify.oracle import Change, Differences, Oracle, RowKey, compare_log, compare_rows

_A, _B = RowKey("t", (1,)), RowKey("t", (2,))


def _put(row: RowKey, version: int, note: str = "") -> Change:
    return Change(row, {"id": row.key[0], "version": version, "note": note})


def _drop(row: RowKey) -> Change:
    return Change(row, None)


_LOG = [_put(_A, 1), _put(_B, 2), _put(_A, 3), _drop(_A), _put(_A, 4), _put(_B, 5), _drop(_A)]


@pytest.fixture
def oracle() -> Oracle:
    """Return what must be there: row 2 in its second version, and the log of all."""
    made = Oracle()
    made.add(_LOG)
    return made


def _found(differences: Differences) -> dict[str, int]:
    return {kind: count for kind, count in differences.counts().items() if count}


def test_rows_that_are_the_same_are_exact(oracle: Oracle) -> None:
    """A deleted row is not expected, and of the others only the newest version is."""
    found = compare_rows(oracle, [(_B, {"id": 2, "version": 5, "note": ""})])
    assert found.is_exact
    assert found.expected == 1


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([], "missing"),
        ([(_A, 4, ""), (_B, 5, "")], "extra"),
        ([(_B, 2, "")], "mismatched"),
        ([(_B, 5, "other")], "mismatched"),
        ([(_B, 5, ""), (_B, 5, "")], "duplicates"),
    ],
)
def test_each_difference_of_rows_is_found(
    oracle: Oracle, rows: list[tuple[RowKey, int, str]], kind: str
) -> None:
    """A row that is lost, left over, old, changed or doubled is counted as what it is."""
    found = compare_rows(
        oracle, [(row, _put(row, version, note).values or {}) for row, version, note in rows]
    )
    assert _found(found) == {kind: 1}
    assert found.examples[0].startswith(kind)


def test_a_log_that_is_the_same_is_exact(oracle: Oracle) -> None:
    """Rows may mix, as long as each row's own changes are in order."""
    mixed = [change for change in _LOG if change.row == _B] + [c for c in _LOG if c.row == _A]
    assert compare_log(oracle, mixed).is_exact


def _without(place: int) -> Callable[[list[Change]], list[Change]]:
    return lambda log: log[:place] + log[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (_without(0), {"missing": 1}),
        (_without(6), {"missing": 1}),
        (lambda log: [*log, _put(_A, 9)], {"extra": 1}),
        (lambda log: [*log, _drop(RowKey("t", (3,)))], {"extra": 1}),
        (lambda log: [_put(_A, 1, "other"), *log[1:]], {"mismatched": 1}),
        (lambda log: [log[0], *log], {"duplicates": 1}),
        # A delete written twice in a row is one twice, too.
        (lambda log: [*log, log[-1]], {"duplicates": 1}),
        (lambda log: [log[0], log[5], log[1], *log[2:5], log[6]], {"out_of_order": 1}),
        # A batch replayed behind later ones: each of its changes is there for the second time.
        (lambda log: log + log[2:4], {"duplicates": 2}),
    ],
)
def test_each_difference_of_logs_is_found(
    oracle: Oracle, spoil: Callable[[list[Change]], list[Change]], kinds: dict[str, int]
) -> None:
    """A change that is lost, made up, changed, doubled or late is counted as what it is."""
    assert _found(compare_log(oracle, spoil(list(_LOG)))) == kinds


def test_a_late_delete_is_found(oracle: Oracle) -> None:
    """A delete that comes before what it deletes is not the one that was committed."""
    log = [_LOG[0], _LOG[1], _LOG[3], _LOG[2], *_LOG[4:]]
    assert _found(compare_log(oracle, log)) == {"missing": 1, "extra": 1}


def test_examples_are_bounded(oracle: Oracle) -> None:
    """A run that loses everything does not print everything."""
    many: list[Any] = [_put(RowKey("t", (number,)), number) for number in range(100, 200)]
    found = compare_log(oracle, many)
    assert found.extra == 100
    assert len(found.examples) == 10
