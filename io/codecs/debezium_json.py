"""Decode Debezium's JSON envelope, with or without its schema.

Source: Debezium documentation, "Data change events" of the PostgreSQL connector, and Kafka Connect's
JsonConverter for the `schema`/`payload` wrapping.

Only the envelope is decoded here. The rows inside stay bytes, because a row that is not delivered need
not be decoded, and one that is gets decoded and checked in one pass later.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation, Position

__all__ = ["DebeziumJsonCodec", "topic_of"]

_NULL = b"null"


class _Source(msgspec.Struct, gc=False):
    connector: str = ""
    name: str = ""
    db: str | None = None
    schema: str | None = None
    table: str | None = None
    ts_ms: int = 0
    ts_us: int | None = None
    sequence: str | None = None
    lsn: int | None = None


class _Envelope(msgspec.Struct, gc=False):
    op: str | None = None
    before: msgspec.Raw = msgspec.Raw(_NULL)
    after: msgspec.Raw = msgspec.Raw(_NULL)
    source: _Source | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_sequence = msgspec.json.Decoder(tuple[str | None, str | None]).decode
_encode = msgspec.json.Encoder().encode
_OPERATIONS = {operation.value: operation for operation in Operation}
_ROW_OPERATIONS = frozenset("rcud")


class DebeziumJsonCodec:
    """Turn one entity's messages into change records, and tell their shard.

    Args:
        entity: the entity's name; part of the shard's hash, so that entities spread apart.
        key_columns: names of the key's columns, in the config's order.
        shards: how many shards the client has.
    """

    def __init__(self, entity: str, key_columns: tuple[str, ...], shards: int) -> None:
        self._key_columns = key_columns
        self._shards = shards
        self._seed = zlib.crc32(entity.encode())

    def decode(self, key: bytes | None, value: bytes, offset: int) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message.

        The key is taken from the message's key; where that lacks a column, from the row.

        Args:
            key: the message's key as it was read, or None.
            value: the message's value as it was read; tombstones have none and do not come here.
            offset: place in the topic-partition.

        Raises:
            RecordError: `malformed`, `unknown_operation`, `unsupported_operation`, `missing_row`,
                `missing_key`.
        """
        envelope = _open_envelope(value)
        code = envelope.op
        if code not in _ROW_OPERATIONS:
            raise _refused_operation(code)
        source = envelope.source
        if source is None:
            raise RecordError("malformed", "found no 'source', expected Debezium's envelope")
        before = bytes(envelope.before)
        after = bytes(envelope.after)
        row = before if code == "d" else after
        if row == _NULL and code != "d":
            raise RecordError("missing_row", f"found op '{code}' without 'after', expected the row")
        key_values = self._key_values(key, row)
        shard = zlib.crc32(_encode(key_values), self._seed) % self._shards
        return shard, ChangeRecord(
            offset,
            _OPERATIONS[code],
            key_values,
            _position(source),
            source.ts_us if source.ts_us is not None else source.ts_ms * 1000,
            None if before == _NULL else before,
            None if after == _NULL else after,
        )

    def _key_values(self, key: bytes | None, row: bytes) -> tuple[Any, ...]:
        columns = self._key_columns
        if key:
            found = _object(key)
            try:
                return tuple([found[column] for column in columns])
            except KeyError:
                pass
        found = _object(row)
        missing = [column for column in columns if found.get(column) is None]
        if missing:
            raise RecordError(
                "missing_key",
                f"found no {', '.join(missing)} in the message's key nor in its row, "
                f"expected the entity's key ({', '.join(columns)})",
            )
        return tuple([found[column] for column in columns])


def _open_envelope(value: bytes) -> _Envelope:
    try:
        envelope = _decode_envelope(value)
        if envelope.payload:
            envelope = _decode_envelope(envelope.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected Debezium's JSON envelope") from error
    return envelope


def _object(text: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode_object(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    payload = found.get("payload")
    return payload if isinstance(payload, dict) and "schema" in found else found


def _refused_operation(code: str | None) -> RecordError:
    if code in _OPERATIONS:
        name = _OPERATIONS[code].name.lower()
        return RecordError("unsupported_operation", f"found a {name} event, expected a change of a row")
    return RecordError("unknown_operation", f"found op {code!r}, expected one of r, c, u, d")


def _position(source: _Source) -> Position:
    """Return the place in the source's own order; empty where the connector's order is not known here.

    Postgres: `source.sequence` holds the last commit's LSN and the change's own.
    """
    if source.connector != "postgresql":
        return ()
    if source.sequence is None:
        return (0, source.lsn or 0)
    try:
        commit, change = _decode_sequence(source.sequence)
        return (int(commit or 0), int(change or 0))
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordError(
            "malformed", f"found source.sequence {source.sequence!r}, expected two LSNs"
        ) from error


def topic_of(value: bytes) -> str:
    """Return the topic that Debezium would write this message to: `<name>.<schema>.<table>`.

    Raises:
        RecordError: `malformed`, as `DebeziumJsonCodec.decode` does.
    """
    source = _open_envelope(value).source
    if source is None or source.table is None:
        raise RecordError("malformed", "found no 'source.table', expected Debezium's envelope")
    return ".".join([source.name, source.schema or source.db or "", source.table])
