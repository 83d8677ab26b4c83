"""Compare two tables, types and all, and say what differs first.

Both sides are read as texts: the source's by what `Kind.text` says of the column's type, the warehouse's by a
plain cast. The warehouse's types must be those that `Kind.target` says. Left aside are columns and tables
that the source has dropped, and the warehouse's own columns, which begin with an underscore.

A row may differ only where a dead letter says, with a sentence, that the very change was refused that wrote
the row last: the letter's payload has the row's key and its `version`, which every statement raises.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Difference", "Letter", "Side", "differences"]

RowKey: TypeAlias = tuple[str | None, ...]
_VERSION = "version"
_SHOWN_CHARS = 200
_TYPE_REASONS = ("contract", "schema")


@dataclass(frozen=True)
class Side:
    """Hold a table as one side has it.

    Attributes:
        types: of its columns, by name, as the warehouse formats them.
        rows: by key, each a text or None by the column's name.
    """

    types: Mapping[str, str]
    rows: Mapping[RowKey, Mapping[str, str | None]]


@dataclass(frozen=True)
class Letter:
    """Hold what a dead letter says of a row.

    Attributes:
        table: that the row is in; empty where the letter names none.
        key: of the row, as texts; empty where it could not be told.
        version: of the change that was refused; empty where it could not be told.
        reason: a word.
        detail: a sentence.
    """

    table: str
    key: RowKey
    version: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Difference:
    """Say what differs.

    Attributes:
        table: where.
        what: kind of the difference.
        key: of the row; empty where it is not of a row.
        column: of the value; empty where it is not of one.
        source: what the source has.
        warehouse: what the warehouse has.
    """

    table: str
    what: str
    key: RowKey = ()
    column: str = ""
    source: str | None = None
    warehouse: str | None = None

    def __str__(self) -> str:
        """Return it as one line."""
        where = f"table {self.table}"
        if self.key:
            where += f", key ({', '.join(map(_shown, self.key))})"
        if self.column:
            where += f", column {self.column}"
        return f"{where}: {self.what}: source {_shown(self.source)}, warehouse {_shown(self.warehouse)}"


def differences(
    table: str,
    source: Side,
    warehouse: Side | None,
    letters: Collection[Letter] = (),
    stray: Collection[str] = (),
    *,
    unavailable: bool = False,
) -> Iterator[Difference]:
    """Yield what differs between both sides of a table.

    Args:
        table: its name.
        source: what the source has.
        warehouse: what the warehouse has; None where there is no such table.
        letters: all dead letters, also of other tables.
        stray: columns whose type in the source no contract follows, so that rows are refused by policy.
        unavailable: whether rows may be refused because a large value of theirs is not told.
    """
    own = [letter for letter in letters if letter.table == table]
    by_policy = [letter for letter in own if _is_policy(letter, stray, unavailable=unavailable)]
    for letter in own:
        if letter not in by_policy:
            yield Difference(table, f"dead letter {letter.reason}: {letter.detail}", letter.key)
    if warehouse is not None:
        yield from _types(table, source.types, warehouse.types, stray)
    elif source.rows:
        yield Difference(table, "missing table", source=f"{len(source.rows)} rows")
        return
    excused = {(letter.key, letter.version) for letter in by_policy}
    yield from _rows(table, source, warehouse or source, excused)


def _is_policy(letter: Letter, stray: Collection[str], *, unavailable: bool) -> bool:
    """Tell whether a letter says, in a sentence, what the table's policy lets happen."""
    if " " not in letter.detail:
        return False
    if letter.reason == "unavailable_value":
        return unavailable
    return letter.reason in _TYPE_REASONS and any(column in letter.detail for column in stray)


def _types(
    table: str, source: Mapping[str, str], warehouse: Mapping[str, str], stray: Collection[str]
) -> Iterator[Difference]:
    for column, kind in source.items():
        if warehouse.get(column, kind) != kind and column not in stray:
            yield Difference(table, "type", (), column, kind, warehouse[column])


def _rows(
    table: str, source: Side, warehouse: Side, excused: Collection[tuple[RowKey, str | None]]
) -> Iterator[Difference]:
    for key in sorted(source.rows.keys() | warehouse.rows.keys(), key=repr):
        ours, theirs = source.rows.get(key), warehouse.rows.get(key)
        if ours is not None and (key, ours.get(_VERSION)) in excused:
            continue
        if theirs is None:
            yield Difference(table, "missing row", key, "", _row(ours), None)
        elif ours is None:
            yield Difference(table, "row too many", key, "", None, _row(theirs))
        else:
            yield from _values(table, key, ours, theirs, source.types)


def _values(
    table: str,
    key: RowKey,
    ours: Mapping[str, str | None],
    theirs: Mapping[str, str | None],
    types: Mapping[str, str],
) -> Iterator[Difference]:
    for column in types:
        # A column that the warehouse has not got yet is as good as one that holds nulls only.
        if ours[column] != theirs.get(column):
            yield Difference(table, "value", key, column, ours[column], theirs.get(column))


def _row(row: Mapping[str, str | None] | None) -> str | None:
    return None if row is None else ", ".join(f"{name}={_shown(value)}" for name, value in row.items())


def _shown(value: str | None) -> str:
    if value is None:
        return "null"
    return value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}... ({len(value)} characters)"
