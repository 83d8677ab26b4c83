"""Say what becomes of changes that the contracts do not know of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel

__all__ = ["EntityEvolution", "EvolutionPolicy", "SchemaEvolution", "policy_of"]

Policy: TypeAlias = Literal["evolve", "freeze", "discard_row", "discard_value"]
_ByColumn = dict[Annotated[str, StringConstraints(pattern=forms.COLUMN)], Policy]

_COLUMNS = (
    "Of columns that a contract lacks. evolve: they are delivered, typed by their values, and the sinks "
    "widen. freeze: the job stops. discard_row: the row becomes a dead letter. discard_value: they are left "
    "out."
)
_TYPES = (
    "Of values that do not fit their column's type. evolve: the column is widened where that is safe, else "
    "as discard_row. freeze: the job stops. discard_row: the row becomes a dead letter. discard_value: null "
    "takes their place where it fits, else as discard_row."
)
_BY_COLUMN = "Policy of single columns, by name; it goes before the other two."


class EntityEvolution(ConfigModel):
    """Say what becomes of an entity's rows that its contract, or its transform's input, does not know of."""

    columns: Policy | None = Field(default=None, description=f"{_COLUMNS} Default: the client's.")
    types: Policy | None = Field(default=None, description=f"{_TYPES} Default: the client's.")
    by_column: _ByColumn = Field(default={}, description=f"{_BY_COLUMN} Added to the client's.")


class SchemaEvolution(ConfigModel):
    """Say what becomes of changes that the contracts do not know of."""

    tables: Literal["discard_row", "freeze"] = Field(
        default="discard_row",
        description=(
            "Of topics that no entity names. discard_row: their changes become dead letters. freeze: the job "
            "stops. They do not evolve: an entity needs a key and sinks."
        ),
    )
    keys: Literal["discard_row", "freeze"] = Field(
        default="discard_row",
        description=(
            "Of messages whose key has other columns than their entity's, where its message_key is match. "
            "discard_row: the changes become dead letters key_changed. freeze: the job stops. They do not "
            "evolve: other rows would be one, or one would be two."
        ),
    )
    columns: Policy = Field(default="discard_value", description=_COLUMNS)
    types: Policy = Field(default="discard_row", description=_TYPES)
    by_column: _ByColumn = Field(default={}, description=_BY_COLUMN)


@dataclass(frozen=True)
class EvolutionPolicy:
    """Hold what holds for one entity.

    Attributes:
        columns: of columns that the contract lacks.
        types: of values that do not fit.
        by_column: of single columns.
    """

    columns: Policy = "discard_value"
    types: Policy = "discard_row"
    by_column: dict[str, Policy] = field(default_factory=dict)

    @property
    def is_plain(self) -> bool:
        """Tell whether contracts do all that is asked for by themselves."""
        return self == EvolutionPolicy()

    @property
    def evolves(self) -> bool:
        """Tell whether rows may come to sinks with other columns than the contract's."""
        return "evolve" in (self.columns, self.types, *self.by_column.values())


def policy_of(client: SchemaEvolution, entity: EntityEvolution | None) -> EvolutionPolicy:
    """Return what holds for an entity: what it says itself, else what its client says."""
    own = entity or EntityEvolution()
    return EvolutionPolicy(
        own.columns or client.columns, own.types or client.types, {**client.by_column, **own.by_column}
    )
