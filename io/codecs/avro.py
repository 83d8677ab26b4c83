"""Decode Debezium's envelope in Avro whose schema stands in a file.

A message is the bare body, or Avro's single-object encoding, which begins with the fingerprint of its schema.

Source: Avro 1.12 specification, "Binary Encoding", "Single-object encoding" and "Parsing Canonical Form for
Schemas"; Debezium documentation, "Avro serialization" and "Data change events".
"""

from __future__ import annotations

import struct
import zlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from tillstream.configs import Column
from tillstream.configs.events import Events
from tillstream.io.codecs.avro_envelope import EnvelopePlan, KeyPlan, envelope_plan, key_plan
from tillstream.io.codecs.avro_numbers import UNREADABLE
from tillstream.io.codecs.avro_reader import column_of
from tillstream.io.codecs.avro_schema import Node, SchemaError, parse_schema
from tillstream.io.codecs.base import DEFAULT_EVENTS, Codec, Headers, truncate_of
from tillstream.io.codecs.messages import message_of
from tillstream.pipelines.errors import ConfigError, MissingToolError, RecordError
from tillstream.pipelines.positions import CONNECTORS, position_of, postgres_position
from tillstream.pipelines.records import ChangeRecord, Operation, Position, RowSchema
from tillstream.pipelines.transactions import transaction_id

__all__ = ["AvroCodec", "EnvelopeCodec"]

_Plan = TypeVar("_Plan", EnvelopePlan, KeyPlan)

_OPERATIONS = {operation.value: operation for operation in Operation}
_ROW_OPERATIONS = {code: _OPERATIONS[code] for code in "rcud"}
_SINGLE_OBJECT = b"\xc3\x01"
_FINGERPRINTED = 10
_PLANS_MAX = 1000
_encode_key = msgspec.json.Encoder().encode
_encode_row = msgspec.json.Encoder(decimal_format="number").encode


class EnvelopeCodec(Codec):
    """Turn messages whose schemas are known into change records; the base of all Avro formats.

    The key is taken from the message's key; where that lacks a column, from the row. Arguments and attributes
    are those of `Codec`.

    Attributes:
        head_size: how many bytes before a body tell its schema.
        reads_keys: whether messages' keys can be read.
    """

    head_size: ClassVar[int] = 0
    reads_keys: bool = True

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        super().__init__(entity, key_columns, shards, columns, events)
        self._entity = entity
        self._tells = False
        self._escaped = events.field_names == "avro_unicode"
        self._schemas: dict[RowSchema, RowSchema] = {}
        self._envelopes: dict[bytes, EnvelopePlan] = {}
        self._keys: dict[bytes, KeyPlan] = {}
        self._refused: dict[bytes, RecordError] = {}

    def read_transactions(self) -> None:
        """Tell each change's transaction, as `Codec.read_transactions` says."""
        self._tells = True

    @abstractmethod
    def envelope(self, head: bytes) -> EnvelopePlan:
        """Return what reads messages that begin so.

        Raises:
            RecordError: `malformed`, `unknown_schema`, `unsupported_schema`.
            UnavailableError: where the schema cannot be had for now.
        """

    @abstractmethod
    def key(self, head: bytes) -> KeyPlan:
        """Return what reads keys that begin so; raises as `envelope` does, and `key_changed`."""

    def decode(
        self,
        key: bytes | None,
        value: bytes,
        offset: int,
        headers: Headers = None,  # noqa: ARG002
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message, as `Codec.decode` does.

        Raises:
            RecordError: `malformed`, `unknown_schema`, `unsupported_schema`, `unknown_operation`,
                `unsupported_operation`, `missing_row`, `missing_key`.
            UnavailableError: where the schema cannot be had for now.
        """
        size = self.head_size
        plan = self._envelopes.get(value[:size]) or self._found(value[:size], self._envelopes, self.envelope)
        try:
            (op, before, after, connector, time_us, snapshot, sequence, lsn, source, transaction) = plan.read(
                value, size
            )
        except UNREADABLE as error:
            raise _unreadable(error, plan, "value") from error
        if connector == "postgresql":
            position = postgres_position(sequence, lsn, snapshot)
        else:
            position = _position(connector, source)
        if transaction is not None:
            transaction = (transaction_id(transaction["id"]), transaction["total_order"])
        self.schema = plan.schema
        operation = _ROW_OPERATIONS.get(op)
        if operation is None:
            if op == "t":
                return truncate_of(offset, position, time_us, transaction)
            if op == "m" and not self._key_columns:
                return message_of(_encode_row({"message": after}), offset, position, time_us, transaction)
            raise _refused_operation(op)
        if after is None and op != "d":
            raise RecordError("missing_row", f"found op '{op}' without 'after', expected the row")
        key_values = self._key_values(key, before if op == "d" else after)
        if self._spelling.needed:
            key_values = self._spelling.spell(key_values)
        return zlib.crc32(_encode_key(key_values), self._seed) % self._shards, ChangeRecord(
            offset,
            operation,
            key_values,
            position,
            time_us,
            None if before is None else _encode_row(before),
            None if after is None else _encode_row(after),
            transaction,
        )

    @classmethod
    def topic_of(cls, value: bytes) -> str:  # noqa: ARG003
        """Refuse lines of files, which cannot be Avro: `malformed`."""
        raise RecordError(
            "malformed", "found a line of a file, expected a message: container files need no format"
        )

    def envelope_of(self, schema: Callable[[], Node]) -> EnvelopePlan:
        """Return what reads envelopes of a schema.

        Raises:
            RecordError: `unsupported_schema`.
        """
        try:
            plan = envelope_plan(schema(), escaped=self._escaped, tells=self._tells)
        except SchemaError as error:
            raise _unsupported(error, "value") from error
        # Schemas that differ in other things declare the same columns: one object.
        return plan._replace(schema=self._schemas.setdefault(plan.schema, plan.schema))

    def key_of(self, schema: Callable[[], Node]) -> KeyPlan:
        """Return what reads keys of a schema.

        Raises:
            RecordError: `unsupported_schema`, `key_changed`.
        """
        try:
            plan = key_plan(schema(), self._key_columns, escaped=self._escaped)
        except SchemaError as error:
            raise _unsupported(error, "key") from error
        self.check_key(plan.names)
        return plan

    def _found(self, head: bytes, plans: dict[bytes, _Plan], make: Callable[[bytes], _Plan]) -> _Plan:
        """Return a plan that is not there yet; what is wrong with a schema is kept like one."""
        error = self._refused.get(head)
        if error is not None:
            raise RecordError(error.reason, error.detail)
        try:
            plan = make(head)
        except RecordError as refused:
            # Whether a schema is known is the registry's to keep, and for a while only.
            if refused.reason not in ("unknown_schema", "malformed"):
                self._refused[head] = refused
            raise
        if len(plans) + len(self._refused) >= _PLANS_MAX:
            plans.clear()
            self._refused.clear()
        plans[head] = plan
        return plan

    def _key_values(self, key: bytes | None, row: dict[str, Any] | None) -> tuple[Any, ...]:
        values: Sequence[Any] = (None,)
        size = self.head_size
        if key and self.reads_keys:
            plan = self._keys.get(key[:size]) or self._found(key[:size], self._keys, self.key)
            try:
                values = plan.read(key, size)
            except UNREADABLE as error:
                raise _unreadable(error, plan, "key") from error
            if plan.is_scalar:
                return tuple(values)
        if None in values:
            found = row or {}
            values = [_scalar(found.get(column)) for column in self._key_columns]
        return self.scalar_key(values)


class AvroCodec(EnvelopeCodec):
    """Turn messages without an id of their schema into change records; the schema stands in a file.

    Args:
        entity: as of `Codec`; stands in place of `{entity}` in the names of the files.
        key_columns: as of `Codec`.
        shards: as of `Codec`.
        columns: as of `Codec`.
        events: name the files of the schemas.
    """

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        super().__init__(entity, key_columns, shards, columns, events)
        assert events.avro_schema_file is not None  # the config's checks
        self._file = events.avro_schema_file
        self._key_file = events.avro_key_schema_file
        self._single = self._key_single = b""
        self.reads_keys = self._key_file is not None

    def bind(self, client: str) -> None:  # noqa: ARG002
        """Read the schemas, so that what is wrong with a file is told before the first message.

        Raises:
            ConfigError: where a file cannot be read, or is no schema of an envelope or of the entity's key.
        """
        self._envelopes[b""], self._single = self._in_file("avro_schema_file", self._file, self.envelope_of)
        if self._key_file is not None:
            field = "avro_key_schema_file"
            self._keys[b""], self._key_single = self._in_file(field, self._key_file, self.key_of)

    def decode(
        self, key: bytes | None, value: bytes, offset: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message, as `EnvelopeCodec.decode` does."""
        if value.startswith(_SINGLE_OBJECT) and value.startswith(self._single):
            value = value[_FINGERPRINTED:]
        if key is not None and self.reads_keys and key.startswith(_SINGLE_OBJECT):
            key = key[_FINGERPRINTED:] if key.startswith(self._key_single) else key
        return super().decode(key, value, offset, headers)

    def envelope(self, head: bytes) -> EnvelopePlan:  # noqa: ARG002
        """Return what reads a message."""
        return self._envelopes[b""]

    def key(self, head: bytes) -> KeyPlan:  # noqa: ARG002
        """Return what reads a key."""
        return self._keys[b""]

    def _in_file(
        self, field: str, pattern: str, compiled: Callable[[Callable[[], Node]], _Plan]
    ) -> tuple[_Plan, bytes]:
        """Return what reads bodies of the schema in a file, and the bytes before them if there are any."""
        path = Path(pattern.replace("{entity}", self._entity))
        where = f"entity {self._entity!r}: source.events.{field}: {path}"
        try:
            text = path.read_bytes()
            return compiled(lambda: parse_schema(text)), _SINGLE_OBJECT + _fingerprint(text)
        except OSError as error:
            raise ConfigError(f"{where}: {error.strerror}") from error
        except RecordError as error:
            raise ConfigError(f"{where}: {error.detail}") from error


def _fingerprint(text: bytes) -> bytes:
    try:
        from fastavro.schema import fingerprint, to_parsing_canonical_form
    except ImportError as error:
        raise MissingToolError("found no fastavro: pip install 'tillstream[avro]'") from error
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(msgspec.json.decode(text)), "CRC-64-AVRO"))


def _position(connector: Any, source: Any) -> Position:
    if connector not in CONNECTORS:
        return ()
    if source is None:
        raise RecordError(
            "malformed", f"found connector {connector!r} with a source of Postgres, expected one of its own"
        )
    return position_of(source)


def _scalar(value: Any) -> Any:
    # As JSON has them.
    return _encode_key(value)[1:-1].decode() if isinstance(value, bytes) else value


def _unreadable(error: Exception, plan: EnvelopePlan | KeyPlan, what: str) -> RecordError:
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    if isinstance(error, (IndexError, struct.error)):
        text = "its end too soon, or a symbol that its enum has not"
    column = column_of(error, plan.columns)
    where = f" in column {column}" if column is not None else ""
    return RecordError("malformed", f"found {text:.200}{where}, expected a {what} as its schema says")


def _unsupported(error: SchemaError, what: str) -> RecordError:
    return RecordError("unsupported_schema", f"schema of the message's {what}: {error}")


def _refused_operation(code: str | None) -> RecordError:
    if code in _OPERATIONS:
        name = _OPERATIONS[code].name.lower()
        return RecordError("unsupported_operation", f"found a {name} event, expected a change of a row")
    return RecordError("unknown_operation", f"found op {code!r:.100}, expected one of r, c, u, d")
