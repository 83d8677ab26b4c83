"""Say how a canary is run, and which differences it lets pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError

__all__ = ["CanaryOptions", "Tolerance"]


@dataclass(frozen=True)
class CanaryOptions:
    """Hold what a person chooses of a canary.

    Attributes:
        seconds: how long the client's changes are gathered that both versions then read.
        changes_min: fewest of them that make a comparison.
        deadline_s: how long both versions may take to read them, seconds.
        tolerate: entities, and columns as entity.column, that are meant to change.
        expect_changes: promote whatever the difference is; it is shown.
        diff_file: takes every difference as a JSON line; none by default.
        folder: of the shadow; TaskManagers must see it too. Default: `canary` beside the histories.
    """

    seconds: float = 30.0
    changes_min: int = 1
    deadline_s: float = 300.0
    tolerate: Collection[str] = ()
    expect_changes: bool = False
    diff_file: Path | None = None
    folder: Path | None = None


class Tolerance:
    """Tell which differences are meant.

    Args:
        named: entities, and columns as entity.column.
    """

    def __init__(self, named: Collection[str]) -> None:
        self._entities = {each for each in named if "." not in each}
        self._columns = {tuple(each.split(".", 1)) for each in named if "." in each}

    @classmethod
    def checked(cls, named: Collection[str], *configs: ClientConfig) -> Tolerance:
        """Return the tolerance; raises UserError where neither version has what is named."""
        known: dict[str, set[str]] = {}
        unchecked = set()
        for config in configs:
            for name, entity in config.entities.items():
                known.setdefault(name, set()).update(column.name for column in entity.columns())
                if entity.contract is None:
                    unchecked.add(name)
        for each in named:
            entity_name, _, column = each.partition(".")
            if entity_name not in known:
                raise UserError(
                    f"--tolerate {each}: found no entity {entity_name!r}, expected one of {_list(known)}"
                )
            if column and entity_name not in unchecked and column not in known[entity_name]:
                raise UserError(
                    f"--tolerate {each}: found no column {column!r}, expected one of "
                    f"{_list(known[entity_name])}"
                )
        return cls(named)

    def takes(self, entity: str, columns: Collection[str]) -> bool:
        """Tell whether a difference in some columns of an entity is meant; of a whole row without columns."""
        if entity in self._entities:
            return True
        return bool(columns) and all((entity, column) in self._columns for column in columns)


def _list(names: Collection[str] | Mapping[str, object]) -> str:
    return ", ".join(sorted(names))
