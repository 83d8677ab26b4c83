"""Make up changes of rows."""

from __future__ import annotations

import random

from tests.differential.kinds import KEYS, big_text
from tests.differential.model import Column, Key, Table

__all__ = ["Rows", "key_condition"]

_ROWS_MAX = 300
_INSERTED_MAX = 30
_WEIGHTS = {
    "insert": 24,
    "update": 30,
    "update_many": 8,
    "delete": 9,
    "upsert": 10,
    "move": 8,
    "swap": 4,
    "again": 5,
    "touch": 2,
}
_TRUNCATE = 0.004
_NULL = 0.15


class Rows:
    """Make up statements that change rows of tables, and keep the tables' keys.

    Args:
        dice: decides.
        truncates: whether tables are truncated.
    """

    def __init__(self, dice: random.Random, *, truncates: bool = True) -> None:
        self._dice = dice
        self._truncates = truncates
        self._version = 0

    def change(self, table: Table) -> list[str]:
        """Return the statements of one change of a table."""
        dice = self._dice
        if len(table.rows) < 3:
            return [self.insert(table, dice.randint(3, _INSERTED_MAX))]
        if self._truncates and dice.random() < _TRUNCATE:
            return self.truncate([table])
        weights = {**_WEIGHTS, "upsert": 0} if table.keyless else _WEIGHTS
        (kind,) = dice.choices(list(weights), list(weights.values()))
        if kind == "insert":
            if len(table.rows) > _ROWS_MAX:
                return self._delete(table)
            return [self.insert(table, dice.choice([1, 1, 1, dice.randint(2, _INSERTED_MAX)]))]
        made: list[str] = getattr(self, f"_{kind}")(table)
        return made

    def insert(self, table: Table, count: int, key: Key | None = None) -> str:
        """Return a statement that inserts rows with new keys, or one with a given key."""
        keys = [key] if key is not None else []
        while len(keys) < count:
            keys.append(self._new_key(table))
            table.rows[keys[-1]] = None
        version = self._next_version()
        rows = [
            f"({', '.join([*each, version, *(self._value(column) for column in table.columns)])})"
            for each in keys
        ]
        if table.keyless and self._dice.random() < 0.5:
            rows += self._dice.choices(rows, k=self._dice.randint(1, 3))
        table.rows.update(dict.fromkeys(keys))
        return f"insert into {table.name} ({_names(table)}) values {', '.join(rows)}"

    def truncate(self, tables: list[Table]) -> list[str]:
        """Return a statement that empties tables."""
        for table in tables:
            table.rows.clear()
        return [f"truncate {', '.join(table.name for table in tables)}"]

    def touch(self, table: Table, *, values: str = "") -> str:
        """Return a statement that writes all rows, so that all are told of; `values` goes into its SET."""
        return f"update {table.name} set version = {self._next_version()}{values and ', '}{values}"

    def _update(self, table: Table) -> list[str]:
        sets = self._sets(table.columns)
        return [f"update {table.name} set {sets} where {key_condition(table, self._key(table))}"]

    def _update_many(self, table: Table) -> list[str]:
        rest = self._dice.randrange(3)
        return [f"update {table.name} set {self._sets(table.columns)} where version % 3 = {rest}"]

    def _touch(self, table: Table) -> list[str]:
        """Write rows again as they are."""
        return [f"update {table.name} set version = version where version % 2 = {self._dice.randrange(2)}"]

    def _delete(self, table: Table) -> list[str]:
        keys = self._dice.sample(list(table.rows), self._dice.choice([1, 1, 1, 2]))
        for key in keys:
            del table.rows[key]
        which = " or ".join(f"({key_condition(table, key)})" for key in keys)
        return [f"delete from {table.name} where {which}"]

    def _upsert(self, table: Table) -> list[str]:
        key = self._key(table) if self._dice.random() < 0.6 else self._new_key(table)
        names = ["version", *(f'"{column.name}"' for column in table.columns)]
        sets = ", ".join(f"{name} = excluded.{name}" for name in names)
        return [
            f"{self.insert(table, 1, key)} on conflict ({', '.join(table.key_names)}) do update set {sets}"
        ]

    def _move(self, table: Table) -> list[str]:
        """Change the key of a row, and maybe more of it."""
        old, new = self._key(table), self._new_key(table)
        sets = self._moved(table, new)
        if self._dice.random() < 0.5:
            sets += ", " + self._sets(table.columns)
        del table.rows[old]
        table.rows[new] = None
        return [f"update {table.name} set {sets} where {key_condition(table, old)}"]

    def _swap(self, table: Table) -> list[str]:
        """Let two rows take each other's key."""
        one, two = self._dice.sample(list(table.rows), 2)
        free = self._new_key(table)
        return [
            f"update {table.name} set {self._moved(table, new)} where {key_condition(table, old)}"
            for old, new in ((one, free), (two, one), (free, two))
        ]

    def _again(self, table: Table) -> list[str]:
        """Delete a row and insert another with its key."""
        key = self._key(table)
        return [
            f"delete from {table.name} where {key_condition(table, key)}",
            self.insert(table, 1, key),
        ]

    def _key(self, table: Table) -> Key:
        return self._dice.choice(list(table.rows))

    def _new_key(self, table: Table) -> Key:
        _, made = KEYS[table.key_kind]
        while True:
            key = made(self._dice)
            if key not in table.rows or table.keyless:
                return key

    def _moved(self, table: Table, key: Key) -> str:
        return ", ".join(f"{name} = {value}" for name, value in zip(table.key_names, key, strict=True))

    def _sets(self, columns: list[Column]) -> str:
        chosen = self._dice.sample(columns, self._dice.randint(1, len(columns))) if columns else []
        parts = [f'"{column.name}" = {self._value(column)}' for column in chosen]
        return ", ".join([f"version = {self._next_version()}", *parts])

    def _value(self, column: Column) -> str:
        if self._dice.random() < _NULL:
            return "null"
        if column.big and self._dice.random() < 0.8:
            return big_text(self._dice)
        # Literals in VALUES of several rows have no type of their own.
        return f"{column.kind.literal(self._dice)}::{column.kind.sql}"

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)


def key_condition(table: Table, key: Key) -> str:
    """Return the condition that finds the row of a key."""
    return " and ".join(f"{name} = {value}" for name, value in zip(table.key_names, key, strict=True))


def _names(table: Table) -> str:
    return ", ".join([*table.key_names, "version", *(f'"{column.name}"' for column in table.columns)])
