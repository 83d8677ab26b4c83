"""Decode Debezium's JSON envelope, with or without its schema.

Source: Debezium documentation, "Data change events" of the PostgreSQL connector, and Kafka Connect's
JsonConverter for the `schema`/`payload` wrapping.

Only the envelope is decoded here. The rows inside stay bytes, because a row that is not delivered need
not be decoded, and one that is gets decoded and checked in one pass later.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import msgspec

from tillstream.configs import Column
from tillstream.io.codecs.base import Codec, Headers, truncate_of
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import CONNECTORS, position_of, postgres_position
from tillstream.pipelines.records import ChangeRecord, Operation, Position

__all__ = ["DebeziumJsonCodec"]

_NULL = b"null"
_INT_MAX = (1 << 63) - 1
_Int64 = Annotated[int, msgspec.Meta(ge=-_INT_MAX, le=_INT_MAX)]
_KeyValue = _Int64 | float | str
_Milliseconds = Annotated[int, msgspec.Meta(ge=-(_INT_MAX // 1000), le=_INT_MAX // 1000)]


class _Source(msgspec.Struct, gc=False):
    connector: str = ""
    ts_ms: _Milliseconds = 0
    ts_us: _Int64 | None = None
    snapshot: str | bool | None = None
    sequence: str | None = None
    lsn: _Int64 | None = None


class _Table(msgspec.Struct):
    name: str = ""
    db: str | None = None
    schema: str | None = None
    table: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    before: msgspec.Raw = msgspec.Raw(_NULL)
    after: msgspec.Raw = msgspec.Raw(_NULL)
    source: _Source | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


class _AnySource(msgspec.Struct):
    source: dict[str, Any] = {}
    payload: msgspec.Raw = msgspec.Raw(b"")


class _Named(msgspec.Struct):
    source: _Table | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


_Opened = TypeVar("_Opened", _Envelope, _Named, _AnySource)
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_any_source = msgspec.json.Decoder(_AnySource).decode
_decode_table = msgspec.json.Decoder(_Named).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode
_OPERATIONS = {operation.value: operation for operation in Operation}
_STREAM = (None, False, "false")
_ROW_OPERATIONS = frozenset("rcud")


class DebeziumJsonCodec(Codec):
    """Turn one entity's messages into change records, and tell their shard.

    The key is taken from the message's key; where that lacks a column, from the row. Arguments and attributes
    are those of `Codec`.
    """

    def __init__(
        self, entity: str, key_columns: tuple[str, ...], shards: int, columns: Sequence[Column] = ()
    ) -> None:
        super().__init__(entity, key_columns, shards, columns)
        # A Struct's fields must be identifiers; columns have any name.
        fields = [(f"f{place}", _KeyValue) for place in range(len(key_columns))]
        names = {field: column for (field, _), column in zip(fields, key_columns, strict=True)}
        self._decode_key = msgspec.json.Decoder(
            msgspec.defstruct("Key", fields, rename=names, gc=False)
        ).decode

    def decode(
        self,
        key: bytes | None,
        value: bytes,
        offset: int,
        headers: Headers = None,  # noqa: ARG002
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message, as `Codec.decode` does.

        Raises:
            RecordError: `malformed`, `unknown_operation`, `unsupported_operation`, `missing_row`,
                `missing_key`.
        """
        envelope = _open(value, _decode_envelope)
        code, source = envelope.op, envelope.source
        if code not in _ROW_OPERATIONS:
            if code == "t" and source is not None:
                return truncate_of(offset, _position(source, value), _time_us(source))
            raise _refused_operation(code)
        if source is None:
            raise RecordError("malformed", "found no 'source', expected Debezium's envelope")
        before = bytes(envelope.before)
        after = bytes(envelope.after)
        row = before if code == "d" else after
        if row == _NULL and code != "d":
            raise RecordError("missing_row", f"found op '{code}' without 'after', expected the row")
        key_values = self._key_values(key, row)
        if self._spelling.needed:
            key_values = self._spelling.spell(key_values)
        shard = zlib.crc32(_encode(key_values), self._seed) % self._shards
        return shard, ChangeRecord(
            offset,
            _OPERATIONS[code],
            key_values,
            _position(source, value),
            _time_us(source),
            None if before == _NULL else before,
            None if after == _NULL else after,
        )

    @classmethod
    def topic_of(cls, value: bytes) -> str:
        """Return `<name>.<schema>.<table>` out of a message's source block, as `Codec.topic_of` does."""
        source = _open(value, _decode_table).source
        if source is None or source.table is None:
            raise RecordError("malformed", "found no 'source.table', expected Debezium's envelope")
        return ".".join([source.name, source.schema or source.db or "", source.table])

    def _key_values(self, key: bytes | None, row: bytes) -> tuple[Any, ...]:
        try:
            return msgspec.structs.astuple(self._decode_key(key or row))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._found_key_values(key, row)

    def _found_key_values(self, key: bytes | None, row: bytes) -> tuple[Any, ...]:
        columns = self._key_columns
        found = _object(key) if key else {}
        values = [found.get(column) for column in columns]
        if None in values:
            found = _object(row)
            values = [found.get(column) for column in columns]
        return self.scalar_key(values)


def _open(value: bytes, decode: Callable[[bytes | msgspec.Raw], _Opened]) -> _Opened:
    try:
        opened = decode(value)
        return decode(opened.payload) if opened.payload else opened
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected Debezium's JSON envelope") from error


def _object(text: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode_object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    payload = found.get("payload")
    return payload if isinstance(payload, dict) and "schema" in found else found


def _time_us(source: _Source) -> int:
    return source.ts_us if source.ts_us is not None else source.ts_ms * 1000


def _refused_operation(code: str | None) -> RecordError:
    if code in _OPERATIONS:
        name = _OPERATIONS[code].name.lower()
        return RecordError("unsupported_operation", f"found a {name} event, expected a change of a row")
    return RecordError("unknown_operation", f"found op {code!r}, expected one of r, c, u, d")


def _position(source: _Source, value: bytes) -> Position:
    """Return the place in the source's own order; empty where the connector's order is not known here."""
    if source.connector != "postgresql":
        return position_of(_open(value, _decode_any_source).source) if source.connector in CONNECTORS else ()
    sequence, snapshot = source.sequence, None if source.snapshot in _STREAM else "true"
    if sequence is not None and snapshot is None:
        # The usual form, '["123","456"]', without the cost of a decoder.
        commit, _, change = sequence[2:-2].partition('","')
        if commit.isdecimal() and change.isdecimal():
            commit_lsn, lsn = int(commit), int(change)
            if 0 < commit_lsn <= lsn <= _INT_MAX:
                return (0, lsn, 1, lsn)
    return postgres_position(sequence, source.lsn, snapshot)
