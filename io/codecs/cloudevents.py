"""Decode changes inside of CloudEvents, as Debezium's CloudEventsConverter writes them.

Structured mode: the message is a JSON object whose attributes `iodebezium...` hold the operation and the
source block, and whose `data` holds the row before and after, wrapped in its schema or not. Binary mode,
which other producers use: the attributes are headers `ce_...`, and the message is the data. Attributes have
the names of the source block's fields without what is no letter or digit; numbers of 64 bits are text.

`data` in Avro is not read here, nor events without extension attributes
(`extension.attributes.enable=false`), which tell neither operation nor position.

Sources: Debezium 3 documentation, "Exporting CloudEvents"; CloudEvents 1.0.2, "JSON Event Format" and "Kafka
Protocol Binding".
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from tillstream.io.codecs.base import Headers, truncate_of
from tillstream.io.codecs.json_rows import INT_MAX, NULL, UNREADABLE, JsonCodec, unreadable
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import CONNECTORS, position_of
from tillstream.pipelines.records import ChangeRecord, Operation
from tillstream.pipelines.transactions import transaction_id

__all__ = ["CloudEventsCodec"]

_PREFIX, _HEADER_PREFIX = "iodebezium", "ce_"
_EXPECTED = "a CloudEvent of Debezium's in JSON"
_POSITION_FIELDS = (
    *(
        "sequence",
        "lsn",
        "snapshot",
        "file",
        "pos",
        "row",
        "gtid",
        "commit_lsn",
        "change_lsn",
        "event_serial_no",
    ),
    *("scn", "commit_scn", "rs_id", "ssn", "lcr_position", "txSeq", "ts_ms", "ord", "txnNumber"),
)
_ATTRIBUTES = {_PREFIX + field.replace("_", ""): field for field in _POSITION_FIELDS}
_OF_POSTGRES = {_PREFIX + field: field for field in ("sequence", "lsn", "snapshot")}
_ROW_OPERATIONS = {each.value: each for each in Operation if each.value in "rcud"}


class _Data(msgspec.Struct, gc=False):
    before: msgspec.Raw = msgspec.Raw(NULL)
    after: msgspec.Raw = msgspec.Raw(NULL)


# What is read of events; other attributes are passed over without a look.
_READ = ("op", "connector", "name", "db", "schema", "table", "tsus", "txid", "txtotalorder")
_NAMES = (
    "specversion",
    *(_PREFIX + name for name in _READ),
    *(n for n in _ATTRIBUTES if n != _PREFIX + "schema"),
)
_Event = msgspec.defstruct(
    "_Event", [("data", msgspec.Raw, msgspec.Raw(b"")), *((name, Any, None) for name in _NAMES)], gc=False
)

_decode_event = msgspec.json.Decoder(_Event).decode
_decode_data = msgspec.json.Decoder(_Data).decode
_encode = msgspec.json.Encoder().encode


class CloudEventsCodec(JsonCodec):
    """Turn CloudEvents into change records, and tell their shard. Arguments are those of `JsonCodec`."""

    reads_headers = True

    def decode(
        self, key: bytes | None, value: bytes, offset: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message, as `Codec.decode` does.

        Raises:
            RecordError: `malformed`, `unknown_operation`, `unsupported_operation`, `missing_row`,
            `missing_key`.
        """
        attributes, data = _opened(value, headers)
        code = attributes.get(_PREFIX + "op")
        if not isinstance(code, str):
            raise RecordError(
                "malformed",
                f"found no attribute {_PREFIX}op, expected {_EXPECTED} (extension.attributes.enable=true)",
            )
        position = _position(attributes)
        time_us = _time_us(attributes)
        transaction = _transaction(attributes) if self._tells_transactions else None
        operation = _ROW_OPERATIONS.get(code)
        if operation is None:
            if code == "t":
                return truncate_of(offset, position, time_us, transaction)
            reason = "unsupported_operation" if code == "m" else "unknown_operation"
            raise RecordError(reason, f"found op {code!r:.100}, expected one of r, c, u, d, t")
        before, after = self._rows(data)
        is_delete = operation is Operation.DELETE
        if after is None and not is_delete:
            raise RecordError("missing_row", f"found op '{code}' without 'after', expected the row")
        key_values = self.key_values(key, (before if is_delete else after) or NULL)
        shard = zlib.crc32(_encode(key_values), self._seed) % self._shards
        record = ChangeRecord(offset, operation, key_values, position, time_us, before, after, transaction)
        return shard, record

    @classmethod
    def topic_of(cls, value: bytes) -> str:
        """Return `<name>.<schema>.<table>` out of a message's attributes, as `Codec.topic_of` does."""
        attributes, _ = _opened(value, None)
        name, table = attributes.get(_PREFIX + "name"), attributes.get(_PREFIX + "table")
        schema = attributes.get(_PREFIX + "schema") or attributes.get(_PREFIX + "db") or ""
        if not isinstance(name, str) or not isinstance(table, str):
            raise RecordError("malformed", f"found no attribute {_PREFIX}table, expected {_EXPECTED}")
        return f"{name}.{schema}.{table}"

    def _rows(self, data: bytes) -> tuple[bytes | None, bytes | None]:
        opened = self.unwrap(data) if self._is_wrapped or data.startswith(b'{"schema"') else None
        self._is_wrapped = opened is not None
        text, form = opened or (data, self._plain)
        self.schema = form.schema
        try:
            found = _decode_data(text)
        except UNREADABLE as error:
            raise unreadable(error, text, "rows before and after, in JSON, as the event's data") from error
        rows = [None if row == NULL else row for row in (bytes(found.before), bytes(found.after))]
        if form.spelling is not None:
            rows = [None if row is None else form.spelling.respell(row) for row in rows]
        return rows[0], rows[1]


def _opened(value: bytes, headers: Headers) -> tuple[dict[str, Any], bytes]:
    """Return the attributes and the data of an event, in either mode."""
    of_headers = {
        name.removeprefix(_HEADER_PREFIX): None if text is None else text.decode(errors="replace")
        for name, text in headers or ()
        if name.startswith(_HEADER_PREFIX)
    }
    if "specversion" in of_headers:
        return of_headers, value
    try:
        event = _decode_event(value)
    except UNREADABLE as error:
        raise unreadable(error, value, _EXPECTED) from error
    attributes = msgspec.structs.asdict(event)
    data = bytes(attributes.pop("data"))
    if attributes["specversion"] is None or not data:
        raise RecordError("malformed", f"found no 'specversion' or no 'data', expected {_EXPECTED}")
    return attributes, data


def _position(attributes: dict[str, Any]) -> tuple[Any, ...]:
    connector = attributes.get(_PREFIX + "connector")
    if not isinstance(connector, str) or connector not in CONNECTORS:
        return ()
    found = {
        field: value
        for name, field in (_OF_POSTGRES if connector == "postgresql" else _ATTRIBUTES).items()
        if (value := attributes.get(name)) is not None and isinstance(value, (str, int))
    }
    return position_of(found, connector)


def _time_us(attributes: dict[str, Any]) -> int:
    for name, micros in ((_PREFIX + "tsus", 1), (_PREFIX + "tsms", 1000)):
        value = attributes.get(name)
        if value is not None:
            return _whole(name, value, INT_MAX // micros) * micros
    return 0


def _transaction(attributes: dict[str, Any]) -> tuple[str, int] | None:
    name, order = attributes.get(_PREFIX + "txid"), attributes.get(_PREFIX + "txtotalorder")
    return (
        None
        if name is None or order is None
        else (transaction_id(str(name)), _whole("txtotalorder", order, INT_MAX))
    )


def _whole(name: str, value: Any, bound: int) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = bound + 1
    if abs(number) > bound:
        raise RecordError("malformed", f"found attribute {name} {value!r:.100}, expected a whole number")
    return number
