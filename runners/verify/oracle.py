"""Know what the sinks must hold, and tell how what they hold differs.

Rows have their wire form on both sides: whole numbers, texts, decimals as text. Each upsert bears a
`version` that no other change of the workload has; it is what tells changes apart, also those of one row
that look the same otherwise.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Change", "Differences", "Oracle", "RowKey", "compare_log", "compare_rows"]

_EXAMPLES_MAX = 10


class RowKey(NamedTuple):
    """Name a row.

    Attributes:
        table: that it is in.
        key: values of its key, in the table's order.
    """

    table: str
    key: tuple[Any, ...]


class Change(NamedTuple):
    """Say what became of a row.

    Attributes:
        row: which one.
        values: all of its columns after an upsert; None for a delete.
    """

    row: RowKey
    values: Mapping[str, Any] | None


# An upsert by its own version, a delete by that of the upsert before it.
_Token: TypeAlias = tuple[str, int]


@dataclass
class Differences:
    """Count how what a sink holds differs from what it must hold.

    Attributes:
        expected: how many rows or changes were compared.
        missing: that the sink lacks.
        extra: that nobody committed.
        mismatched: with other values.
        duplicates: delivered more often than once.
        out_of_order: delivered behind a later change of the same row.
        examples: the first ones, for a person.
    """

    expected: int = 0
    missing: int = 0
    extra: int = 0
    mismatched: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Say whether nothing differs."""
        return not any(self.counts().values())

    def counts(self) -> dict[str, int]:
        """Return the counts of what differs, by kind."""
        names = [each.name for each in fields(self) if each.name not in {"expected", "examples"}]
        return {name: getattr(self, name) for name in names}

    def count(self, kind: str, row: RowKey, detail: str) -> None:
        """Count one difference, and keep it if it is among the first."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(f"{kind}: {row.table} {row.key}: {detail}")


class Oracle:
    """Remember all that was committed, in order.

    Grows with the workload: about 1 KB a change.
    """

    def __init__(self) -> None:
        self.rows: dict[RowKey, Mapping[str, Any]] = {}
        self.log: dict[RowKey, list[Change]] = defaultdict(list)
        self.changes = 0

    def add(self, changes: Iterable[Change]) -> None:
        """Take what a transaction committed."""
        for change in changes:
            self.log[change.row].append(change)
            self.changes += 1
            if change.values is None:
                self.rows.pop(change.row, None)
            else:
                self.rows[change.row] = change.values


def compare_rows(oracle: Oracle, found: Iterable[tuple[RowKey, Mapping[str, Any]]]) -> Differences:
    """Compare a table's rows with those that must be there.

    Args:
        oracle: what must be there.
        found: every row of every table, in any order.
    """
    result = Differences(expected=len(oracle.rows))
    seen: set[RowKey] = set()
    for row, values in found:
        expected = oracle.rows.get(row)
        if row in seen:
            result.count("duplicates", row, f"a second row {dict(values)}")
        elif expected is None:
            result.count("extra", row, f"found {dict(values)}")
        elif dict(expected) != dict(values):
            result.count("mismatched", row, f"expected {dict(expected)}, found {dict(values)}")
        seen.add(row)
    for row in oracle.rows.keys() - seen:
        result.count("missing", row, f"expected {dict(oracle.rows[row])}")
    return result


def compare_log(oracle: Oracle, found: Iterable[Change]) -> Differences:
    """Compare what an append sink holds with the changes that must be there, each once and in order.

    Args:
        oracle: what must be there.
        found: every change that the sink holds; those of one row in the order in which its readers see them.
    """
    result = Differences(expected=oracle.changes)
    by_row: dict[RowKey, list[Change]] = defaultdict(list)
    for change in found:
        by_row[change.row].append(change)
    for row in oracle.log.keys() | by_row.keys():
        _compare_row(row, oracle.log.get(row, []), by_row.get(row, []), result)
    return result


def _compare_row(
    row: RowKey, expected: Sequence[Change], found: Sequence[Change], result: Differences
) -> None:
    wanted = dict(zip(_tokens(expected), expected, strict=True))
    place = {token: number for number, token in enumerate(wanted)}
    times: Counter[_Token] = Counter()
    newest = -1
    for token, change in zip(_tokens(found), found, strict=True):
        times[token] += 1
        if token not in wanted:
            result.count("extra", row, f"found {_shown(token)}")
        elif times[token] > 1:
            result.count("duplicates", row, f"{_shown(token)} for the {times[token]}. time")
        else:
            if place[token] < newest:
                result.count("out_of_order", row, f"{_shown(token)} came too late")
            newest = max(newest, place[token])
            values = wanted[token].values
            if values is not None and dict(values) != dict(change.values or {}):
                result.count("mismatched", row, f"expected {dict(values)}, found {change.values}")
    for token in wanted.keys() - times.keys():
        result.count("missing", row, f"{_shown(token)}")


def _tokens(changes: Sequence[Change]) -> list[_Token]:
    tokens = []
    version = 0
    for change in changes:
        if change.values is None:
            tokens.append(("delete", version))
        else:
            version = int(change.values["version"])
            tokens.append(("upsert", version))
    return tokens


def _shown(token: _Token) -> str:
    kind, version = token
    return f"upsert of version {version}" if kind == "upsert" else f"delete after version {version}"
