"""Make up steps of DDL and DML, for one seed always the same ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator

from tests.differential.kinds import KINDS
from tests.differential.model import Column, Step, Table, Tables
from tests.differential.rows import Rows
from tests.differential.schemas import Schemas, create

__all__ = ["FEATURES", "OPENING", "Generator", "Opening"]

# Name, kind of key, and whether the table has a column of large values.
Opening = tuple[tuple[str, str, bool], ...]
OPENING: Opening = (
    ("plain", "number", False),
    ("pairs", "pair", False),
    ("named", "uuid", False),
    ("priced", "price", False),
    ("large", "big", True),
    ("heap", "tag", True),
)
# What may be left out, to find out which of them makes a difference.
FEATURES = ("truncate", "toast", "keyless", "columns", "retypes", "tables")
_OPENING_ROWS = 40
_IDLE_S_MAX = 1.5
_STATEMENTS_MAX = 6
_FORMS = {
    "single": 42,
    "transaction": 32,
    "rollback": 7,
    "savepoint": 7,
    "idle": 3,
    "truncate": 1,
    "columns": 6,
    "retypes": 2,
    "tables": 1,
}


class Generator:
    """Make up steps; none depends on what the database answers.

    Args:
        seed: of all that is random.
        opening: the tables that are there from the start on.
        without: names of FEATURES that are left out.
    """

    def __init__(self, seed: int, opening: Opening = OPENING, without: Collection[str] = ()) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - statements, not secrets
        self._rows = Rows(self._dice, truncates="truncate" not in without)
        self.tables: Tables = {}
        self._schemas = Schemas(self._dice, self._rows, self.tables)
        self._opening = [
            (name, key_kind, big)
            for name, key_kind, big in opening
            if not ("keyless" in without and key_kind == "tag") and not ("toast" in without and big)
        ]
        self._forms = {form: weight for form, weight in _FORMS.items() if form not in without}
        self._number = 0

    def opening(self) -> list[str]:
        """Return the statements that create the first tables and their first rows."""
        statements = [
            "create type mood as enum ('glad', 'sad', 'it''s \"so\", so')",
            "create domain cents as bigint check (value >= 0)",
        ]
        for place, (name, key_kind, big) in enumerate(self._opening):
            table = self._schemas.table(name, key_kind, big=big)
            if place == 0:
                # One table has every type.
                table.columns = [Column(f"c{number}", kind) for number, kind in enumerate(KINDS)]
            self.tables[name] = table
            statements += [*create(table), self._rows.insert(table, _OPENING_ROWS)]
        return statements

    def steps(self) -> Iterator[Step]:
        """Yield steps without end."""
        while True:
            self._number += 1
            (form,) = self._dice.choices(list(self._forms), list(self._forms.values()))
            made: Callable[[], Step] = getattr(self, f"_{form}")
            yield made()

    def _any(self) -> Table:
        return self.tables[self._dice.choice(sorted(self.tables))]

    def _changes(self) -> list[str]:
        return [
            statement
            for _ in range(self._dice.randint(2, _STATEMENTS_MAX))
            for statement in self._rows.change(self._any())
        ]

    def _single(self) -> Step:
        """Return one change; those that take several statements are a transaction."""
        table = self._any()
        return Step(self._number, f"a change of {table.name}", tuple(self._rows.change(table)))

    def _transaction(self) -> Step:
        return Step(self._number, "a transaction", tuple(self._changes()))

    def _rollback(self) -> Step:
        kept = self._kept()
        statements = tuple(self._changes())
        self._restore(kept)
        return Step(self._number, "a transaction that is rolled back", statements, commit=False)

    def _savepoint(self) -> Step:
        before, kept = self._changes(), self._kept()
        undone = self._changes()
        self._restore(kept)
        statements = [*before, "savepoint s", *undone, "rollback to savepoint s", *self._changes()]
        return Step(self._number, "a transaction with a savepoint", tuple(statements))

    def _idle(self) -> Step:
        return Step(self._number, "nothing", (), idle_s=self._dice.uniform(0.2, _IDLE_S_MAX))

    def _truncate(self) -> Step:
        """Return a truncate of several tables amid changes of them, in one transaction or not."""
        tables = [self.tables[name] for name in self._dice.sample(sorted(self.tables), 2)]
        statements = [*self._changes(), *self._rows.truncate(tables)]
        statements += [self._rows.insert(table, 3) for table in tables if self._dice.random() < 0.7]
        names = " and ".join(table.name for table in tables)
        return Step(self._number, f"a truncate of {names}", tuple(statements), self._dice.random() < 0.5)

    def _columns(self) -> Step:
        table, schemas = self._any(), self._schemas
        change = self._dice.choice([schemas.add_column, schemas.drop_column, schemas.rename_column])
        return self._altered(table, change)

    def _retypes(self) -> Step:
        schemas = self._schemas
        change = schemas.stray_column if self._dice.random() < 0.3 else schemas.widen_column
        return self._altered(self._any(), change)

    def _altered(self, table: Table, change: Callable[[Table], list[str]]) -> Step:
        """Return a change of a table, alone or in a transaction with changes of rows around it."""
        # Rows that only all their values tell apart are others afterwards, and nobody is told so.
        emptied = self._rows.truncate([table]) if table.keyless else []
        if self._dice.random() < 0.5:
            return Step(self._number, f"DDL of {table.name}", (*emptied, *change(table)), whole=False)
        statements = emptied or self._rows.change(table)
        statements += [*change(table), *self._rows.change(table)]
        return Step(self._number, f"DDL of {table.name} in a transaction", tuple(statements))

    def _tables(self) -> Step:
        (kind,) = self._dice.choices(["add", "drop", "replace"], [5, 2, 3])
        if kind == "drop":
            return Step(self._number, "a table dropped", tuple(self._schemas.drop_table()))
        made = self._schemas.add_table if kind == "add" else self._schemas.replace_table
        statements, captured = made()
        return Step(self._number, f"a table to {kind}", tuple(statements), captured=tuple(captured))

    def _kept(self) -> Tables:
        return {name: table.copy() for name, table in self.tables.items()}

    def _restore(self, kept: Tables) -> None:
        self.tables.clear()
        self.tables.update(kept)
