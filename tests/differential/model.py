"""Remember what the source's tables should look like: their columns and the keys of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tests.differential.kinds import Kind

__all__ = ["Column", "Key", "Step", "Table", "Tables"]

# Values of a key's columns, as SQL.
Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Column:
    """Describe a column that is not of the key.

    Attributes:
        name: of the column.
        kind: its type.
        big: whether its values are so large that they lie outside of their rows.
    """

    name: str
    kind: Kind
    big: bool = False


@dataclass
class Table:
    """Hold what is known of a table.

    Attributes:
        name: of the table.
        key_kind: one of KEYS.
        key: names and types of the key's columns; of a table without a key, the column that finds its rows.
        full: whether changes tell the whole row as it was before (REPLICA IDENTITY FULL).
        columns: the others, but for `version`, which numbers the statement that wrote a row last.
        rows: keys of its rows.
        stray: names of columns whose new type no contract follows, so that rows are refused by policy.
    """

    name: str
    key_kind: str
    key: tuple[tuple[str, Kind], ...]
    columns: list[Column] = field(default_factory=list)
    rows: dict[Key, None] = field(default_factory=dict)
    stray: set[str] = field(default_factory=set)
    full: bool = False

    @property
    def keyless(self) -> bool:
        """Tell whether the table has no key."""
        return self.key_kind == "tag"

    def copy(self) -> Table:
        """Return a table that changes by itself."""
        return replace(self, columns=list(self.columns), rows=dict(self.rows), stray=set(self.stray))

    @property
    def loses_values(self) -> bool:
        """Tell whether rows with another key may be refused, because a large value of theirs is not told."""
        return not self.full and any(column.big for column in self.columns)

    @property
    def key_names(self) -> list[str]:
        """Return the names of the key's columns."""
        return [name for name, _ in self.key]


Tables: TypeAlias = dict[str, Table]


@dataclass(frozen=True)
class Step:
    """Say what happens next.

    Attributes:
        number: from 1 on.
        what: in a few words.
        statements: of SQL, run in one transaction where `whole`, else each by itself.
        whole: whether they are one transaction.
        commit: whether that transaction is committed.
        idle_s: how long nothing happens afterwards, in seconds.
        captured: statements that are run when the capture knows which tables there are now; None where they
            are the same as before.
    """

    number: int
    what: str
    statements: tuple[str, ...]
    whole: bool = True
    commit: bool = True
    idle_s: float = 0.0
    captured: tuple[str, ...] | None = None
