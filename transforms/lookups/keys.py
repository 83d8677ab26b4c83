"""Read which keys an event looks up, spelt as the looked-up entities spell theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from tillstream.configs import Entity
from tillstream.pipelines.decimals import KeySpelling
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.api import Lookup
from tillstream.transforms.lookups.messages import KeyValues

__all__ = ["LookupKeys"]

_INT_MAX = (1 << 63) - 1
# As the codecs read keys; null and absent are told apart here.
_Value = Annotated[int, msgspec.Meta(ge=-_INT_MAX, le=_INT_MAX)] | float | str | None | msgspec.UnsetType


class _Spelling:
    """Spell the key of one lookup."""

    def __init__(self, lookup: Lookup, entity: Entity, places: Sequence[int]) -> None:
        columns = entity.columns()
        kinds = {column.name: column.kind for column in columns}
        self._places = tuple(places)
        self._kinds = [kinds.get(name, "") for name in entity.key]
        self._spelling = KeySpelling(columns, tuple(entity.key))
        self.name = lookup.entity

    def spell(self, row: tuple[Any, ...]) -> KeyValues | None:
        values = tuple([row[place] for place in self._places])
        if None in values:
            return None
        values = tuple(map(_converted, values, self._kinds))
        return self._spelling.spell(values) if self._spelling.needed else values


class LookupKeys:
    """Read the keys that events of one flow look up, in one pass over the row.

    Args:
        lookups: of the flow's transform, by parameter.
        entities: of the config, by name.
    """

    def __init__(self, lookups: Mapping[str, Lookup], entities: Mapping[str, Entity]) -> None:
        columns = list(dict.fromkeys(column for each in lookups.values() for column in each.columns))
        fields: list[Any] = [(f"f{place}", _Value, msgspec.UNSET) for place in range(len(columns))]
        names = {f"f{place}": column for place, column in enumerate(columns)}
        self._columns = columns
        self._decode = msgspec.json.Decoder(msgspec.defstruct("Keys", fields, rename=names, gc=False)).decode
        self._spellings = [
            _Spelling(each, entities[each.entity], [columns.index(name) for name in each.columns])
            for each in lookups.values()
        ]

    def read(self, row: bytes) -> tuple[KeyValues | None, ...]:
        """Return the key of each lookup, in their order; None where a column of it is null.

        Args:
            row: of the event, as JSON.

        Raises:
            RecordError: `missing_key` where the row lacks a column, `malformed` where one holds no scalar.
        """
        try:
            found = msgspec.structs.astuple(self._decode(row))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError("malformed", f"found {error}, expected a row with keys to look up") from error
        if msgspec.UNSET in found:
            missing = self._columns[found.index(msgspec.UNSET)]
            names = ", ".join(dict.fromkeys(each.name for each in self._spellings))
            raise RecordError(
                "missing_key",
                f"found no {missing} in the row, expected the key by which {names} is looked up",
            )
        return tuple([each.spell(found) for each in self._spellings])


def _converted(value: Any, kind: str) -> Any:
    """Return a value as the codec of the looked-up entity reads it: by its contract, a number or text."""
    if kind.startswith("int"):
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value
    return str(value) if kind == "string" and not isinstance(value, str) else value
