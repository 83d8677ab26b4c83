"""Decode Debezium's JSON envelope, with or without its schema.

Source: Debezium documentation, "Data change events" of the PostgreSQL connector, and Kafka Connect's
JsonConverter for the `schema`/`payload` wrapping.

Only the envelope is decoded here. The rows inside stay bytes, because a row that is not delivered need
not be decoded, and one that is gets decoded and checked in one pass later. Rows that the message's schema or
the connector's handling modes say to be spelt otherwise get their one spelling here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from tillstream.io.codecs.base import Headers, truncate_of
from tillstream.io.codecs.json_rows import (
    INT_MAX,
    NULL,
    UNREADABLE,
    Int64,
    JsonCodec,
    Milliseconds,
    unreadable,
)
from tillstream.io.codecs.messages import message_of
from tillstream.io.codecs.mongodb import document_of, key_of
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import CONNECTORS, position_of, postgres_position
from tillstream.pipelines.records import ChangeRecord, Operation, Position
from tillstream.pipelines.transactions import transaction_id

__all__ = ["DebeziumJsonCodec"]


class _Source(msgspec.Struct, gc=False):
    connector: str = ""
    ts_ms: Milliseconds = 0
    ts_us: Int64 | None = None
    snapshot: str | bool | None = None
    sequence: str | None = None
    lsn: Int64 | None = None


class _Table(msgspec.Struct):
    name: str = ""
    db: str | None = None
    schema: str | None = None
    table: str | None = None
    collection: str | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    before: msgspec.Raw = msgspec.Raw(NULL)
    after: msgspec.Raw = msgspec.Raw(NULL)
    source: _Source | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")

    @property
    def told(self) -> tuple[str, int] | None:
        """Return nothing: it costs time, and few want it."""
        return None


class _Transaction(msgspec.Struct, gc=False):
    id: str
    total_order: int


class _TellingEnvelope(_Envelope, gc=False):
    transaction: _Transaction | None = None

    @property
    def told(self) -> tuple[str, int] | None:
        """Return the transaction, as of `ChangeRecord`."""
        found = self.transaction
        return None if found is None else (transaction_id(found.id), found.total_order)


class _AnySource(msgspec.Struct):
    source: dict[str, Any] = {}


class _Named(msgspec.Struct):
    source: _Table | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


_Opened = TypeVar("_Opened", _Envelope, _Named, _AnySource)
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_telling = msgspec.json.Decoder(_TellingEnvelope).decode
_decode_any_source = msgspec.json.Decoder(_AnySource).decode
_decode_table = msgspec.json.Decoder(_Named).decode
_encode = msgspec.json.Encoder().encode
_OPERATIONS = {operation.value: operation for operation in Operation}
_STREAM = (None, False, "false")
_ROW_OPERATIONS = frozenset("rcud")


class DebeziumJsonCodec(JsonCodec):
    """Turn one entity's messages into change records, and tell their shard.

    Arguments and attributes are those of `JsonCodec`.
    """

    _decode_envelope: Callable[[bytes | msgspec.Raw], _Envelope] = _decode_envelope

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
        text: bytes | msgspec.Raw = value
        form = self._plain
        opened = self.unwrap(value) if self._is_wrapped else None
        if opened is not None:
            text, form = opened
        envelope = _open(text, self._decode_envelope)
        if envelope.payload and opened is None:
            # The first one that is wrapped tells that others are.
            self._is_wrapped = True
            text, form = self.unwrap(value) or (envelope.payload, form)
            envelope = _open(text, self._decode_envelope)
        self.schema = form.schema
        code, source = envelope.op, envelope.source
        if code not in _ROW_OPERATIONS:
            if code == "t" and source is not None:
                return truncate_of(offset, _position(source, text), _time_us(source), envelope.told)
            if code == "m" and source is not None and not self._key_columns:
                return message_of(text, offset, _position(source, text), _time_us(source), envelope.told)
            raise _refused_operation(code)
        if source is None:
            raise RecordError("malformed", "found no 'source', expected Debezium's envelope")
        before = bytes(envelope.before)
        after = bytes(envelope.after)
        if form.spelling is not None:
            before, after = (row if row == NULL else form.spelling.respell(row) for row in (before, after))
        if source.connector == "mongodb":
            before, after, key = document_of(before), document_of(after), key_of(key)
        row = before if code == "d" else after
        if row == NULL and code != "d":
            raise _missing_row(code, source.connector)
        key_values = self.key_values(key, row)
        shard = zlib.crc32(_encode(key_values), self._seed) % self._shards
        return shard, ChangeRecord(
            offset,
            _OPERATIONS[code],
            key_values,
            _position(source, text),
            _time_us(source),
            None if before == NULL else before,
            None if after == NULL else after,
            envelope.told,
        )

    def read_transactions(self) -> None:
        """Have each record tell its transaction, as `Codec.read_transactions` does."""
        self._decode_envelope = _decode_telling

    @classmethod
    def topic_of(cls, value: bytes) -> str:
        """Return `<name>.<schema>.<table>` out of a message's source block, as `Codec.topic_of` does."""
        named = _open(value, _decode_table)
        source = (_open(named.payload, _decode_table) if named.payload else named).source
        table = None if source is None else source.table or source.collection
        if source is None or table is None:
            raise RecordError("malformed", "found no 'source.table', expected Debezium's envelope")
        return ".".join([source.name, source.schema or source.db or "", table])


def _open(value: bytes | msgspec.Raw, decode: Callable[[bytes | msgspec.Raw], _Opened]) -> _Opened:
    try:
        return decode(value)
    except UNREADABLE as error:
        raise unreadable(error, value, "Debezium's JSON envelope") from error


def _time_us(source: _Source) -> int:
    return source.ts_us if source.ts_us is not None else source.ts_ms * 1000


def _missing_row(code: str, connector: str) -> RecordError:
    found = f"found op '{code}' without 'after', expected the row"
    if connector == "mongodb":
        found += ": set the connector's capture.mode to change_streams_update_full"
    return RecordError("missing_row", found)


def _refused_operation(code: str | None) -> RecordError:
    if code in _OPERATIONS:
        name = _OPERATIONS[code].name.lower()
        return RecordError("unsupported_operation", f"found a {name} event, expected a change of a row")
    return RecordError("unknown_operation", f"found op {code!r}, expected one of r, c, u, d")


def _position(source: _Source, value: bytes | msgspec.Raw) -> Position:
    """Return the place in the source's own order; empty where the connector's order is not known here."""
    if source.connector != "postgresql":
        return position_of(_open(value, _decode_any_source).source) if source.connector in CONNECTORS else ()
    sequence, snapshot = source.sequence, None if source.snapshot in _STREAM else "true"
    if sequence is not None and snapshot is None:
        # The usual form, '["123","456"]', without the cost of a decoder.
        commit, _, change = sequence[2:-2].partition('","')
        if commit.isdecimal() and change.isdecimal():
            commit_lsn, lsn = int(commit), int(change)
            if 0 < commit_lsn <= lsn <= INT_MAX:
                return (0, lsn, 1, lsn)
    return postgres_position(sequence, source.lsn, snapshot)
