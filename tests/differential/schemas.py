"""Make up changes of tables: columns that come, go, and get other names and types; tables too."""

from __future__ import annotations

import random

from tests.differential.kinds import BY_SQL, KEYS, KINDS, STRAY, WIDER
from tests.differential.model import Column, Table, Tables
from tests.differential.rows import Rows

__all__ = ["Schemas", "create"]

_COLUMNS = (3, 7)
_COLUMNS_MAX = 24
_EXTRA = "extra"
# Of columns that a table was created with, which the contract names.
_IN_CONTRACT = "c"
_STRAY_TABLES_MAX = 2


class Schemas:
    """Make up statements that change tables, and keep what is known of those.

    What Postgres does to rows by DDL, it tells nobody: rows that get a default, another name for a value or a
    value of another type are therefore written once more by the same step.

    Args:
        dice: decides.
        rows: makes up the rows.
        tables: that there are.
    """

    def __init__(self, dice: random.Random, rows: Rows, tables: Tables) -> None:
        self._dice = dice
        self._rows = rows
        self._tables = tables
        self._names = 0

    def table(self, name: str, key_kind: str, *, big: bool = False) -> Table:
        """Return a new table with some columns."""
        dice = self._dice
        table = Table(name, key_kind, KEYS[key_kind][0], full=key_kind == "tag" or dice.random() < 0.3)
        kinds = dice.sample(KINDS, dice.randint(*_COLUMNS))
        table.columns = [Column(f"{_IN_CONTRACT}{number}", kind) for number, kind in enumerate(kinds)]
        if big:
            table.columns.append(Column("big", BY_SQL["text"], big=True))
        return table

    def add_column(self, table: Table) -> list[str]:
        """Add a column, with a default or without."""
        if len(table.columns) > _COLUMNS_MAX:
            return self.drop_column(table)
        column = Column(self._name("x"), self._dice.choice(KINDS))
        table.columns.append(column)
        default = ""
        if self._dice.random() < 0.4:
            default = f" default {column.kind.literal(self._dice)}::{column.kind.sql}"
        added = f'alter table {table.name} add column "{column.name}" {column.kind.sql}{default}'
        return [added, *self._told(table)]

    def drop_column(self, table: Table) -> list[str]:
        """Drop a column; the warehouse keeps what it has of it."""
        found = [column for column in table.columns if not column.big and column.name not in table.stray]
        if not found:
            return self.add_column(table)
        column = self._dice.choice(found)
        table.columns.remove(column)
        return [f'alter table {table.name} drop column "{column.name}"', *self._told(table)]

    def rename_column(self, table: Table) -> list[str]:
        """Give a column another name."""
        found = [column for column in table.columns if column.name not in table.stray]
        if not found:
            return self.add_column(table)
        old = self._dice.choice(found)
        new = Column(self._name("r"), old.kind, old.big)
        table.columns[table.columns.index(old)] = new
        renamed = f'alter table {table.name} rename column "{old.name}" to "{new.name}"'
        # A large value is told of only where it is written.
        again = f'"{new.name}" = "{new.name}" || \'\'' if new.big else ""
        return [renamed, *self._told(table, again)]

    def widen_column(self, table: Table) -> list[str]:
        """Give a column a type that holds all that the old one did."""
        found = [column for column in table.columns if column.kind.sql in WIDER and not column.big]
        if not found:
            return self.add_column(table)
        old = self._dice.choice(found)
        new = Column(old.name, BY_SQL[self._dice.choice(WIDER[old.kind.sql])])
        table.columns[table.columns.index(old)] = new
        wider = f'alter table {table.name} alter column "{old.name}" type {new.kind.sql}'
        return [wider, *self._told(table)]

    def stray_column(self, table: Table) -> list[str]:
        """Give a column a type that does not hold what the old one did.

        A contract does not follow; a column that none names becomes text, which holds both.
        """
        found = [column for column in table.columns if column.kind.sql in STRAY]
        others = sum(bool(each.stray) for each in self._tables.values())
        if not found or table.stray or table.keyless or others >= _STRAY_TABLES_MAX:
            return self.widen_column(table)
        old = self._dice.choice(found)
        kind, value = STRAY[old.kind.sql]
        table.columns[table.columns.index(old)] = Column(old.name, BY_SQL[kind])
        if old.name.startswith(_IN_CONTRACT):
            table.stray.add(old.name)
        using = value.format(f'"{old.name}"::text')
        retyped = f'alter table {table.name} alter column "{old.name}" type {kind} using {using}'
        return [retyped, *self._told(table)]

    def add_table(self) -> tuple[list[str], list[str]]:
        """Create a table; return what does, and the first rows."""
        key_kind = self._dice.choice([kind for kind in KEYS if kind != "tag"])
        table = self.table(self._name(_EXTRA), key_kind, big=self._dice.random() < 0.3)
        self._tables[table.name] = table
        return create(table), [self._rows.insert(table, 5)]

    def drop_table(self) -> list[str]:
        """Drop a table that came later; nothing where there is none."""
        table = self._extra()
        if table is None:
            return []
        del self._tables[table.name]
        return [f"drop table {table.name}"]

    def replace_table(self) -> tuple[list[str], list[str]]:
        """Drop a table that came later, and create it anew; return what does, and the first rows.

        Postgres tells nobody that the rows are gone, hence a truncate before.
        """
        table = self._extra()
        if table is None:
            return self.add_table()
        statements = [*self._rows.truncate([table]), f"drop table {table.name}", *create(table)]
        return statements, [self._rows.insert(table, 5)]

    def _extra(self) -> Table | None:
        found = sorted(name for name in self._tables if name.startswith(_EXTRA))
        return self._tables[self._dice.choice(found)] if found else None

    def _told(self, table: Table, values: str = "") -> list[str]:
        return [self._rows.touch(table, values=values), self._rows.insert(table, 1)]

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"


def create(table: Table) -> list[str]:
    """Return what creates a table in the source."""
    columns = [f"{name} {kind.sql} not null" for name, kind in table.key]
    columns += ["version bigint not null", *(f'"{each.name}" {each.kind.sql}' for each in table.columns)]
    if not table.keyless:
        columns.append(f"primary key ({', '.join(table.key_names)})")
    made = [f"create table {table.name} ({', '.join(columns)})"]
    # Outside of the row as soon as it is large, and never compressed.
    made += [
        f'alter table {table.name} alter column "{each.name}" set storage external'
        for each in table.columns
        if each.big
    ]
    return [*made, f"alter table {table.name} replica identity full"] if table.full else made
