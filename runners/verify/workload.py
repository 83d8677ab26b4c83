"""Make up a workload: seeded transactions on two tables, whose outcome is known."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tillstream.runners.verify.oracle import Change, RowKey

__all__ = ["TABLES", "Statement", "Table", "Transaction", "Workload"]

_SPREAD = 4_000  # of keys that may exist: few enough that rows are changed, deleted and inserted again
_STORES = 40
_STEPS_MAX = 4
# What breaks formats on the way.
_NOTES = ("", "tab\there", "two\nlines", r"C:\temp\N", r"\N", "🎁 «fragile»", 'it\'s "quoted"', "Łódź, 田中")


@dataclass(frozen=True)
class Table:
    """Describe one table of the workload.

    Attributes:
        name: of the table, and of the entity.
        key: names of the key's columns.
        columns: column name to its SQL type.
        contract: column name to its type in a client's config.
    """

    name: str
    key: tuple[str, ...]
    columns: dict[str, str]
    contract: dict[str, str]


TABLES = (
    Table(
        "accounts",
        ("id",),
        {"id": "bigint", "version": "bigint", "balance": "numeric(12,2)", "note": "text"},
        {"id": "int64", "version": "int64", "balance": "decimal(12,2)", "note": "string"},
    ),
    Table(
        "stock",
        ("store", "sku"),
        {"store": "integer", "sku": "text", "version": "bigint", "pieces": "integer", "note": "text"},
        {"store": "int32", "sku": "string", "version": "int64", "pieces": "int32", "note": "string"},
    ),
)


@dataclass(frozen=True)
class Statement:
    """Say what one SQL statement does to one row.

    Attributes:
        table: that the row is in.
        old: key of the row that is there; None for an insert.
        new: the whole row afterwards; None for a delete. Its key may be another: a key change.
    """

    table: Table
    old: tuple[Any, ...] | None
    new: dict[str, Any] | None

    def changes(self) -> Iterator[Change]:
        """Yield what the sinks see of it: a changed key is a delete and an insert."""
        key = None if self.new is None else tuple(self.new[name] for name in self.table.key)
        if self.old is not None and self.old != key:
            yield Change(RowKey(self.table.name, self.old), None)
        if key is not None:
            yield Change(RowKey(self.table.name, key), self.new)


Transaction: TypeAlias = tuple[Statement, ...]


class Workload:
    """Make up transactions, for one seed always the same ones.

    Args:
        seed: of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - traffic, not secrets
        self._version = 0
        self._live: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in TABLES}
        self._known: dict[str, set[tuple[Any, ...]]] = {table.name: set() for table in TABLES}

    @property
    def version(self) -> int:
        """Return the version of the newest upsert."""
        return self._version

    def opening(self, rows: int = 200) -> Transaction:
        """Return inserts for the first rows of each table."""
        return tuple(self._insert(table) for table in TABLES for _ in range(rows))

    def transactions(self) -> Iterator[Transaction]:
        """Yield transactions without end."""
        while True:
            steps = self._dice.randint(1, _STEPS_MAX)
            yield tuple(self._statement(self._dice.choice(TABLES)) for _ in range(steps))

    def _statement(self, table: Table) -> Statement:
        if not self._live[table.name]:
            return self._insert(table)
        # Half of the keys stay free, so that one is found soon.
        add = self._insert if len(self._live[table.name]) < _SPREAD // 2 else self._delete
        kinds = (self._update, add, self._delete, self._move)
        (kind,) = self._dice.choices(kinds, (60, 20, 12, 8))
        return kind(table)

    def _insert(self, table: Table) -> Statement:
        return Statement(table, None, self._row(table, self._add(table)))

    def _update(self, table: Table) -> Statement:
        key = self._dice.choice(self._live[table.name])
        return Statement(table, key, self._row(table, key))

    def _delete(self, table: Table) -> Statement:
        return Statement(table, self._take(table), None)

    def _move(self, table: Table) -> Statement:
        """Change a row's key."""
        old = self._take(table)
        new = self._add(table, other_than=old)
        return Statement(table, old, self._row(table, new))

    def _row(self, table: Table, key: tuple[Any, ...]) -> dict[str, Any]:
        dice = self._dice
        self._version += 1
        row: dict[str, Any] = dict(zip(table.key, key, strict=True))
        row["version"] = self._version
        if table.name == "accounts":
            cents = dice.randrange(10_000_000)
            row["balance"] = f"{cents // 100}.{cents % 100:02d}"
        else:
            row["pieces"] = dice.randrange(10_000)
        row["note"] = dice.choice(_NOTES) if dice.random() < 0.5 else None  # noqa: PLR2004
        return row

    def _add(self, table: Table, other_than: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
        known = self._known[table.name]
        while True:
            number = self._dice.randrange(_SPREAD)
            key = (
                (number,) if table.name == "accounts" else (number % _STORES, f"SKU-{number // _STORES:05d}")
            )
            if key not in known and key != other_than:
                known.add(key)
                self._live[table.name].append(key)
                return key

    def _take(self, table: Table) -> tuple[Any, ...]:
        live = self._live[table.name]
        at = self._dice.randrange(len(live))
        live[at], live[-1] = live[-1], live[at]
        key = live.pop()
        self._known[table.name].discard(key)
        return key
