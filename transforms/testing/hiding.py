"""Put made-up values in the place of personal data, of the same type, so that fixtures still pass contracts.

The same value of one PII class becomes the same stand-in everywhere in one recording, so that rows that
belong together still do. The salt is drawn for each recording and kept nowhere: nobody can try out which
value a stand-in is of, and two recordings cannot be put side by side.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import uuid
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from tillstream.configs import ClientConfig, Column
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.resolving import resolve
from tillstream.transforms.trust.masks import mask_names

__all__ = ["Hider", "Known", "known_columns"]

_DAYS = 20_000
_EPOCH = dt.date(1950, 1, 1)
# Debezium's schemas have no room for more.
_INTEGER_MAX = {"int16": 1 << 14, "int32": 1 << 30}
_BIG = 1 << 40

# Of each column that somebody described: its type, and its PII class, None where it holds no personal data.
Known = Mapping[str, "tuple[str, str | None]"]


def known_columns(config: ClientConfig, entity: str) -> dict[str, tuple[str, str | None]]:
    """Return what is known of the columns of an entity's rows, as its source has them.

    A column holds personal data where the entity's contract, the input of a transform that reads it or the
    contract of what that makes says so, or where one of these masks it.
    """
    config = resolve(config)
    found: dict[str, tuple[str, str | None]] = {}
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
        kind, known = found.get(column.name, (column.kind, None))
        found[column.name] = (kind, known or column.pii)
    for name, (_, pii) in masked.items():
        kind, known = found.get(name, ("string", None))
        found[name] = (kind, known or pii or name)
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

        Args:
            row: as the source sent it.
            known: from `known_columns`; empty where nobody described any, and then all stay.
        """
        if row is None:
            return None
        hidden = {}
        for name, value in row.items():
            kind, pii = known.get(name, ("", None))
            if name in known or not known:
                hidden[name] = value if pii is None or value is None else self.value(value, kind, pii)
        return hidden

    def value(self, value: Any, kind: str, pii: str) -> Any:
        """Return the stand-in of one value.

        Args:
            value: as JSON has it.
            kind: type of its column.
            pii: PII class; the same value of one class has one stand-in.
        """
        text = value if isinstance(value, str) else repr(value)
        digest = hmac.digest(self._salt, f"{pii}\0{text}".encode(), hashlib.sha256)
        number = int.from_bytes(digest[:8], "big")
        if isinstance(value, bool):
            return bool(number & 1)
        if isinstance(value, int):
            # Days and instants as numbers stay in the range of their type.
            return number % _INTEGER_MAX.get(kind, _BIG)
        if isinstance(value, float):
            return number % 1_000_000 / 100
        if isinstance(value, dict | list):
            return type(value)()
        return _text(kind, value, digest, number)


def _text(kind: str, value: str, digest: bytes, number: int) -> str:
    if kind == "decimal":
        return "".join(str(digest[i % 32] % 10) if each.isdigit() else each for i, each in enumerate(value))
    day = (_EPOCH + dt.timedelta(days=number % _DAYS)).isoformat()
    ending = "@example.com" if "@" in value else ""
    texts = {
        "date": day,
        "timestamp": f"{day}T00:00:00Z",
        "timestamptz": f"{day}T00:00:00Z",
        "time": f"{number % 24:02d}:00:00",
        "uuid": str(uuid.UUID(bytes=digest[:16], version=4)),
        "bytes": b64encode(digest[:12]).decode(),
        "json": "{}",
    }
    return texts.get(kind, digest.hex()[:12] + ending)
