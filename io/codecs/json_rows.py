"""Read keys and rows that are JSON, wrapped in their schema or not."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from tillstream.configs import Column
from tillstream.configs.events import Events
from tillstream.io.codecs.base import DEFAULT_EVENTS, Codec
from tillstream.io.codecs.connect_schema import ConnectSchemas, RowForm
from tillstream.io.codecs.handling_modes import spelling_by_modes
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import RowSchema

__all__ = ["INT_MAX", "NULL", "UNREADABLE", "Int64", "JsonCodec", "Milliseconds", "unreadable"]

NULL = b"null"
INT_MAX = (1 << 63) - 1
Int64 = Annotated[int, msgspec.Meta(ge=-INT_MAX, le=INT_MAX)]
Milliseconds = Annotated[int, msgspec.Meta(ge=-(INT_MAX // 1000), le=INT_MAX // 1000)]
_KeyValue = Int64 | float | str

# What decoding raises, whatever the bytes.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class JsonCodec(Codec):
    """Be the base of codecs whose messages are JSON. Arguments and attributes are those of `Codec`.

    The key is taken from the message's key; where that lacks a column, from the row.

    Attributes:
        key_schema: columns and types of the message's key that was decoded last, where it declares them.
        within: names of the fields of an envelope, the first of which that is there tells the row's schema;
            none where the payload is the row.
        left_out: names of columns that are no part of rows.
    """

    within: ClassVar[tuple[str, ...]] = ("after", "before")
    left_out: ClassVar[Collection[str]] = ()

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        super().__init__(entity, key_columns, shards, columns, events)
        self.key_schema: RowSchema = ()
        # A Struct's fields must be identifiers; columns have any name.
        fields = [(f"f{place}", _KeyValue) for place in range(len(key_columns))]
        names = {field: column for (field, _), column in zip(fields, key_columns, strict=True)}
        row_key = msgspec.defstruct("RowKey", fields, rename=names, gc=False)
        # A key with other columns takes the other way, where it is looked at.
        key_type = msgspec.defstruct("Key", fields, rename=names, gc=False, forbid_unknown_fields=True)
        self._decode_row_key = msgspec.json.Decoder(row_key).decode
        self._decode_key = msgspec.json.Decoder(key_type).decode
        # Of messages that do not tell their schema.
        self._plain = RowForm((), spelling_by_modes(entity, columns, events, self.left_out))
        of_key = [column for column in columns if column.name in key_columns]
        self._plain_key = spelling_by_modes(entity, of_key, events)
        self._schemas = ConnectSchemas(self.within, self.left_out)
        self._key_schemas = ConnectSchemas()
        self._is_wrapped = self._key_is_wrapped = False
        self._tells_transactions = False

    def read_transactions(self) -> None:
        """Have each record tell its transaction, as `Codec.read_transactions` does."""
        self._tells_transactions = True

    def accept_other_keys(self) -> None:
        """Let messages have keys of other columns, as `Codec.accept_other_keys` says."""
        super().accept_other_keys()
        self._decode_key = self._decode_row_key

    def unwrap(self, value: bytes) -> tuple[bytes, RowForm] | None:
        """Return a message's payload and the form of its rows, or None where it has no wrapping.

        Raises:
            RecordError: `malformed` for a schema that is none.
        """
        opened = self._schemas.open(value)
        if opened is None or opened[1].schema:
            return opened
        return opened[0], self._plain

    def key_values(self, key: bytes | None, row: bytes) -> tuple[Any, ...]:
        """Return the values of the entity's key, in the config's order, as `Codec.shard_of` wants them.

        Args:
            key: the message's, as it was read.
            row: spelt, for the columns that the key lacks.

        Raises:
            RecordError: `missing_key`, `malformed`, `key_changed`.
        """
        try:
            if key and (self._key_is_wrapped or self._plain_key is not None):
                key = self._spelt_key(key)
            values = msgspec.structs.astuple(self._decode_key(key) if key else self._decode_row_key(row))
        except UNREADABLE:
            values = self._found_key_values(key, row)
        return self._spelling.spell(values) if self._spelling.needed else values

    def _spelt_key(self, key: bytes) -> bytes:
        opened = self._key_schemas.open(key)
        if opened is None:
            return key if self._plain_key is None else self._plain_key.respell(key)
        payload, form = opened
        self._key_is_wrapped, self.key_schema = True, form.schema
        spelling = form.spelling if form.schema else self._plain_key
        return payload if spelling is None or payload == NULL else spelling.respell(payload)

    def _found_key_values(self, key: bytes | None, row: bytes) -> tuple[Any, ...]:
        columns = self._key_columns
        found: dict[str, Any] = {}
        if key:
            if not self._key_is_wrapped and self._key_schemas.open(key) is not None:
                key = self._spelt_key(key)
            found = _object(key)
            self.check_key(found)
        values = [found.get(column) for column in columns]
        if None in values:
            found = _object(row)
            values = [found.get(column) for column in columns]
        return self.scalar_key(values)


def unreadable(error: Exception, value: bytes | msgspec.Raw, expected: str) -> RecordError:
    """Return the error of bytes that cannot be decoded.

    Args:
        error: as it was raised.
        value: that was decoded.
        expected: what it should have been.
    """
    found = str(error)
    if isinstance(error, msgspec.DecodeError) and _LONE_SURROGATE.search(bytes(value)):
        found = "half of a surrogate pair in a text, which is no character"
    return RecordError("malformed", f"found {found}, expected {expected}")


def _object(text: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode_object(text)
    except UNREADABLE:
        return {}
    return found
