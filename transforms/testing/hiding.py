"""Put made-up values in the place of personal data, of the same type, so that fixtures still pass contracts.

The same value of one PII class becomes the same stand-in everywhere in one recording, so that rows that
belong together still do. The salt is drawn for each recording and kept nowhere: nobody can try out which
value a stand-in is of, and two recordings cannot be put side by side.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from tillstream.configs import ClientConfig, Column
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.resolving import resolve
from tillstream.transforms.testing.stand_ins import stand_in
from tillstream.transforms.trust.masks import mask_names
from tillstream.transforms.trust.nested import replaced_inside

__all__ = ["Hider", "Known", "known_columns"]

# Of each column that somebody described: what is known of it, and its PII class, None where it has none.
Known = Mapping[str, "tuple[Column, str | None]"]


def known_columns(config: ClientConfig, entity: str) -> dict[str, tuple[Column, str | None]]:
    """Return what is known of the columns of an entity's rows, as its source has them.

    A column holds personal data where the entity's contract, the input of a transform that reads it or the
    contract of what that makes says so, or where one of these masks it.
    """
    config = resolve(config)
    found: dict[str, tuple[Column, str | None]] = {}
    columns: list[Column] = list(config.entities[entity].columns())
    masked = dict(mask_names(config, entity))
    for flow in flows_of(config, registry_of(config)).get(entity, ()):
        if flow.info is not None and flow.info.input is not None:
            columns += columns_of_model(flow.info.input)
        made = [] if flow.info is None else [name for name in flow.info.outputs if name is not None]
        for name in (flow.target, *made):
            columns += config.entities[name].columns()
            masked |= mask_names(config, name)
    for column in columns:
        first, known = found.get(column.name, (column, None))
        found[column.name] = (first, known or column.pii)
    for name, (_, pii) in masked.items():
        first, known = found.get(name, (Column(name, "string", nullable=True), None))
        found[name] = (first, known or pii or name)
    return found


class Hider:
    """Make stand-ins.

    Args:
        salt: of the recording.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def row(self, row: Mapping[str, Any] | None, known: Known) -> dict[str, Any] | None:
        """Return a row with stand-ins for personal data, and without columns that nobody described.

        What bears the name of a column with personal data is hidden inside of other columns too, JSON in
        texts included, as in dead letters.

        Args:
            row: as the source sent it.
            known: from `known_columns`; empty where nobody described any, and then all stay.
        """
        if row is None:
            return None

        def replace(name: str, value: Any) -> Any:
            column, pii = known.get(name, (None, None))
            if column is None or pii is None or value is None:
                return value
            return self.value(value, column, pii)

        described = {name: value for name, value in row.items() if name in known or not known}
        return replaced_inside(described, replace) if known else described

    def value(self, value: Any, column: Column, pii: str) -> Any:
        """Return the stand-in of one value.

        Args:
            value: as JSON has it.
            column: that it is of.
            pii: PII class; the same value of one class has one stand-in.
        """
        text = value if isinstance(value, str) else repr(value)
        return stand_in(value, column, hmac.digest(self._salt, f"{pii}\0{text}".encode(), hashlib.sha256))
