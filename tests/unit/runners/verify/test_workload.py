"""The workload is what it says: seeded, complete, and consistent with its oracle."""

from __future__ import annotations

from itertools import islice

from tillstream.runners.verify.oracle import Change, Oracle, RowKey, compare_log
from tillstream.runners.verify.workload import TABLES, Statement, Workload

_ACCOUNTS = TABLES[0]


def _taken(seed: int, count: int) -> list[Statement]:
    work = Workload(seed)
    return [*work.opening(), *(s for t in islice(work.transactions(), count) for s in t)]


def test_a_seed_gives_the_same_workload() -> None:
    """What failed can be played again."""
    assert _taken(3, 200) == _taken(3, 200)
    assert _taken(3, 200) != _taken(4, 200)


def test_every_statement_fits_the_rows_that_are_there() -> None:
    """Inserts find their key free; updates, deletes and key changes find their row."""
    there: set[tuple[str, tuple[object, ...]]] = set()
    kinds = set()
    for statement in _taken(5, 4_000):
        name = statement.table.name
        new = None if statement.new is None else tuple(statement.new[key] for key in statement.table.key)
        if statement.old is not None:
            assert (name, statement.old) in there
            there.discard((name, statement.old))
        if new is not None:
            assert (name, new) not in there
            there.add((name, new))
        kinds.add((statement.old is None, new is None, statement.old == new))
    # Inserts, updates, key changes and deletes.
    assert kinds == {(True, False, False), (False, False, True), (False, False, False), (False, True, False)}


def test_versions_rise_and_none_is_used_twice() -> None:
    """Order and once-ness can be told from the rows themselves."""
    versions = [statement.new["version"] for statement in _taken(6, 500) if statement.new is not None]
    assert versions == list(range(1, len(versions) + 1))


def test_a_key_change_is_a_delete_and_an_insert() -> None:
    """Sinks see the old row go and the new one come."""
    row = {"id": 2, "version": 7, "balance": "1.00", "note": None}
    changes = list(Statement(_ACCOUNTS, (1,), row).changes())
    assert changes == [Change(RowKey("accounts", (1,)), None), Change(RowKey("accounts", (2,)), row)]


def test_the_oracle_agrees_with_its_own_log() -> None:
    """A sink that holds exactly what was committed is exact."""
    oracle, log = Oracle(), []
    for statement in _taken(8, 1_000):
        changes = list(statement.changes())
        oracle.add(changes)
        log += changes
    assert compare_log(oracle, log).is_exact
    assert oracle.changes == len(log)
