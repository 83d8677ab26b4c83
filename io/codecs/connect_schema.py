"""Read the schemas that Kafka Connect's JsonConverter writes beside each payload (`schemas.enable=true`).

A schema is some ten times as long as its row, and the same for millions of messages: it is read once, and
known again by its bytes.

Source: Kafka Connect, `JsonConverter` and `JsonSchema` (type, optional, name, parameters, items, keys,
values, fields).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from tillstream.io.codecs.connect_types import Spelling, spelling_of
from tillstream.io.codecs.row_spelling import RowSpelling
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import RowSchema

__all__ = ["ConnectSchemas", "RowForm", "spelling_in"]

_SCHEMAS_MAX = 64
_DEPTH_MAX = 32
# Of an object, or null; empty where there is none.
_SCHEMA_STARTS = (b"{", b"n")

_decode = msgspec.json.Decoder().decode


class RowForm(NamedTuple):
    """Say what a message's schema tells of its rows.

    Attributes:
        schema: columns and types as a config spells them; empty where there is no schema of a row.
        spelling: respells a row; None where rows need none.
    """

    schema: RowSchema = ()
    spelling: RowSpelling | None = None


class _Wrapped(msgspec.Struct, gc=False):
    schema: msgspec.Raw = msgspec.Raw(b"")
    payload: msgspec.Raw = msgspec.Raw(b"")


_decode_wrapped = msgspec.json.Decoder(_Wrapped).decode


class ConnectSchemas:
    """Take the wrapping off messages, and know the schemas that were in it.

    Args:
        within: fields of an envelope whose schema is a row's, the first one that is there counting; none
            where the payload is the row.
        left_out: names of columns that are no part of rows.
    """

    def __init__(self, within: Iterable[str] = (), left_out: Collection[str] = ()) -> None:
        self._within = tuple(within)
        self._left_out = left_out
        self._known: dict[bytes, RowForm] = {}
        self._prefix = b""
        self._form = RowForm()

    def open(self, value: bytes) -> tuple[bytes, RowForm] | None:
        """Return the payload of a message and the form of its rows; None where it is not wrapped.

        Raises:
            RecordError: `malformed` for a schema that is none.
        """
        prefix = self._prefix
        if prefix and value.startswith(prefix) and value.endswith(b"}"):
            # The schema is not even looked at; the payload's decoder checks what is left.
            return value[len(prefix) : -1], self._form
        try:
            wrapped = _decode_wrapped(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        schema, payload = bytes(wrapped.schema), bytes(wrapped.payload)
        # Columns may be named so too.
        if schema[:1] not in _SCHEMA_STARTS or payload[:1] not in _SCHEMA_STARTS:
            return None
        form = self._known.get(schema)
        if form is None:
            form = self._read(schema)
            if len(self._known) >= _SCHEMAS_MAX:
                self._known.clear()
            self._known[schema] = form
        start = b'{"schema":%b,"payload":' % schema
        if len(value) == len(start) + len(payload) + 1 and value.startswith(start):
            self._prefix, self._form = start, form
        return payload, form

    def _read(self, text: bytes) -> RowForm:
        try:
            schema = _decode(text)
            if schema is None:
                return RowForm()
            row = _row_of(schema, self._within)
            columns = _columns_of(row) if row is not None else {}
        except (
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            RecursionError,
            msgspec.MsgspecError,
        ) as error:
            detail = f"found a schema that is none of Kafka Connect's: {error!r:.200}"
            raise RecordError("malformed", detail) from error
        kept = {name: each for name, each in columns.items() if name not in self._left_out}
        found = tuple((name, each.kind) for name, each in kept.items())
        # Schemas that differ in defaults or comments alone declare the same columns: one object.
        same = next((form.schema for form in self._known.values() if form.schema == found), found)
        respelt = {name: (each.kind, each.respell) for name, each in kept.items() if each.respell is not None}
        needed = respelt or len(kept) < len(columns)
        return RowForm(same, RowSpelling(respelt, self._left_out) if needed else None)


def spelling_in(schema: Mapping[str, Any], depth: int = 0) -> Spelling:
    """Return the spelling of one schema as JsonConverter writes it.

    Raises:
        ValueError, TypeError, LookupError: where it is no schema, or one inside of too many others.
    """
    if depth > _DEPTH_MAX:
        raise ValueError(f"found more than {_DEPTH_MAX} schemas inside of each other")
    inner = schema.get("items", schema.get("values"))
    return spelling_of(
        str(schema["type"]),
        schema.get("name"),
        schema.get("parameters"),
        None if inner is None else spelling_in(inner, depth + 1),
        [(str(each["field"]), spelling_in(each, depth + 1)) for each in schema.get("fields") or ()],
    )


def _row_of(schema: Mapping[str, Any], within: tuple[str, ...]) -> Mapping[str, Any] | None:
    if not within:
        return schema
    fields = {each["field"]: each for each in schema.get("fields") or ()}
    return next((fields[name] for name in within if name in fields), None)


def _columns_of(row: Mapping[str, Any]) -> dict[str, Spelling]:
    return {str(each["field"]): spelling_in(each) for each in row.get("fields") or ()}
