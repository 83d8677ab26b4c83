"""Decode rows as Debezium's transform ExtractNewRecordState writes them, with or without their schema.

What the envelope told of a change comes in columns of the row (`add.fields`), in headers (`add.headers`), or
not at all. Those columns have names such as `__op`, `__lsn`, `__source_ts_ms`; they are no part of the row
and are taken out of it. Fields that get names of their own (`add.fields=lsn:place`) are not known here, and
stay in the row.

A change has a position as far as the connector's fields are there:

| connector | fields |
| --- | --- |
| postgresql | sequence, best with snapshot; or lsn |
| mysql, mariadb | file and pos, best with gtid, row and snapshot |
| sqlserver | commit_lsn and change_lsn, best with event_serial_no and snapshot |
| oracle | scn and commit_scn, best with snapshot, ssn and rs_id |
| mongodb | ts_ms and ord, with connector |

Without a position nothing is stale, and repeats are known by their place in the topic alone: use
deduplication by event_id, and know that a connector that sends again sends doubles, which end in the same
rows. Without `op` a change is an update, or a delete where `__deleted` says so. Without a time of the source,
it has 1970.

Deletes: by `rewrite` they are records with `__deleted`. By `delete-to-tombstone` they are tombstones, and by
`tombstone` a null in JSON (`null`, or a schema with a null payload); both have headers, and no fields. So
with these two positions are taken from headers alone, for all changes: a delete without a position among rows
that have one could be sent again behind the row that came after it, whose own repeat is known and dropped,
and would delete it.

Source: Debezium 3 documentation, "New Record State Extraction".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tillstream.configs import Column
from tillstream.configs.events import Events
from tillstream.io.codecs.base import DEFAULT_EVENTS, Headers
from tillstream.io.codecs.json_rows import INT_MAX, NULL, UNREADABLE, JsonCodec, unreadable
from tillstream.io.codecs.row_spelling import RowSpelling
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import position_of
from tillstream.pipelines.records import ChangeRecord, Operation, Position
from tillstream.pipelines.transactions import transaction_id

__all__ = ["FlattenedCodec"]

_PREFIX, _SOURCE_PREFIX = "__", "__source_"
_OF_SOURCE = (
    *(
        "version",
        "connector",
        "name",
        "ts_ms",
        "ts_us",
        "ts_ns",
        "snapshot",
        "db",
        "sequence",
        "schema",
        "table",
    ),
    *("txId", "lsn", "xmin", "server_id", "gtid", "file", "pos", "row", "thread", "query"),
    *("change_lsn", "commit_lsn", "event_serial_no"),
    *("scn", "commit_scn", "lcr_position", "rs_id", "ssn", "redo_thread", "user_name", "redo_sql", "row_id"),
    *(
        "start_scn",
        "start_ts_ms",
        "commit_ts_ms",
        "txSeq",
        "collection",
        "ord",
        "lsid",
        "txnNumber",
        "wallTime",
    ),
)
_OF_TRANSACTION = ("id", "total_order", "data_collection_order")
_LEFT_OUT = frozenset(
    [
        *(f"{_PREFIX}{name}" for name in ("op", "deleted", *_OF_SOURCE)),
        *(f"{_SOURCE_PREFIX}{name}" for name in _OF_SOURCE),
        *(f"{_PREFIX}transaction_{name}" for name in _OF_TRANSACTION),
    ]
)
# What a connector's order cannot do without; the first one whose fields are there counts. Changes of one row
# of Postgres have LSNs that rise.
_NEEDED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "postgresql": (("sequence",), ("lsn",)),
    "mysql": (("file", "pos"),),
    "mariadb": (("file", "pos"),),
    "sqlserver": (("commit_lsn", "change_lsn"),),
    "oracle": (("scn", "commit_scn"),),
    "mongodb": (("ts_ms", "ord", "connector"),),
}
_OPERATIONS = {each.value: each for each in Operation if each.value in "rcud"}
_TOMBSTONES = ("tombstone", "delete-to-tombstone")
_decode = msgspec.json.Decoder().decode


class FlattenedCodec(JsonCodec):
    """Turn rows into change records, and tell their shard; arguments are those of `JsonCodec`."""

    reads_headers = True
    within = ()
    left_out = _LEFT_OUT

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        super().__init__(entity, key_columns, shards, columns, events)
        # Then they are deletes, and only headers tell of them.
        self.reads_tombstones = events.delete_tombstone_handling_mode in _TOMBSTONES

    def decode(
        self, key: bytes | None, value: bytes, offset: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message, as `Codec.decode` does.

        Raises:
            RecordError: `malformed`, `unknown_operation`, `missing_key`.
        """
        opened = self.unwrap(value) if self._is_wrapped or value.startswith(b'{"schema"') else None
        text, form = opened or (value, self._plain)
        self._is_wrapped = opened is not None
        self.schema = form.schema
        if text == NULL and self.reads_tombstones:
            return self.tombstone(key, offset, 0, headers)
        row, found = (form.spelling or _AS_IT_IS).split(text)
        about = _About(found, headers)
        placed = _About({}, headers) if self.reads_tombstones else about
        code = about.text("op")
        operation = Operation.DELETE if about.is_deleted else _OPERATIONS.get(code or "u")
        if operation is None:
            raise RecordError("unknown_operation", f"found op {code!r:.100}, expected one of r, c, u, d")
        is_delete = operation is Operation.DELETE
        values = self.key_values(key, row)
        return self.shard_of(values), ChangeRecord(
            offset,
            operation,
            values,
            placed.position(),
            about.time_us(),
            row if is_delete else None,
            None if is_delete else row,
            about.transaction() if self._tells_transactions else None,
        )

    def tombstone(
        self, key: bytes | None, offset: int, time_us: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return the delete that a tombstone is, or a null.

        Raises:
            RecordError: `missing_key`, `malformed`.
        """
        about = _About({}, headers)
        values = self.key_values(key, NULL)
        return self.shard_of(values), ChangeRecord(
            offset,
            Operation.DELETE,
            values,
            about.position(),
            about.time_us() or time_us,
            None,
            None,
            about.transaction() if self._tells_transactions else None,
        )

    @classmethod
    def topic_of(cls, value: bytes) -> str:
        """Return `<name>.<schema>.<table>`, where the row has those fields, as `Codec.topic_of` does."""
        try:
            found = _decode(value)
        except UNREADABLE as error:
            raise unreadable(error, value, "a row of JSON") from error
        payload = found.get("payload") if isinstance(found, dict) else None
        row = payload if isinstance(payload, dict) else found
        about = _About(row if isinstance(row, dict) else {}, None)
        parts = (about.text("name"), about.text("schema") or about.text("db"), about.text("table"))
        if None in parts:
            raise RecordError(
                "malformed", "found no __name, __schema or __table in a row, expected those (add.fields)"
            )
        return ".".join(map(str, parts))


_AS_IT_IS = RowSpelling({}, _LEFT_OUT)


class _About:
    """Find what was told of a change, in the row's columns or in the message's headers.

    Args:
        columns: those that are no part of the row.
        headers: of the message.
    """

    def __init__(self, columns: Mapping[str, Any], headers: Headers) -> None:
        self._found = dict(columns)
        for name, value in headers or ():
            if name in _LEFT_OUT and value is not None:
                self._found.setdefault(name, _header_value(value))
        source: dict[str, Any] = {}
        for name, value in self._found.items():
            if value is not None:
                if name.startswith(_SOURCE_PREFIX):
                    source[name[len(_SOURCE_PREFIX) :]] = value
                else:
                    source.setdefault(name[len(_PREFIX) :], value)
        self._source = source

    def text(self, field: str) -> str | None:
        """Return a field of the envelope or its source as text; None where it was not told."""
        value = self._source.get(field)
        return None if value is None else str(value)

    @property
    def is_deleted(self) -> bool:
        """Tell whether the row is that of a delete."""
        return self._found.get(f"{_PREFIX}deleted") in ("true", True)

    def time_us(self) -> int:
        """Return the time of the change, or 0; that of the source before that of the connector."""
        for field, micros in (("source_ts_us", 1), ("source_ts_ms", 1000), ("ts_us", 1), ("ts_ms", 1000)):
            value = self._found.get(f"{_PREFIX}{field}")
            if value is not None:
                return _whole(field, value) * micros
        return 0

    def position(self) -> Position:
        """Return the place in the source's own order, or () where its fields were not told."""
        source = self._source
        connector = source.get("connector")
        for name in _NEEDED if connector is None else (str(connector),):
            for needed in _NEEDED.get(name, ()):
                if all(field in source for field in needed):
                    return position_of(source, name)
        return ()

    def transaction(self) -> tuple[str, int] | None:
        """Return the transaction's id and the change's number in it, or None."""
        found = (self._found.get(f"{_PREFIX}transaction_{name}") for name in _OF_TRANSACTION[:2])
        name, order = found
        return (
            None
            if name is None or order is None
            else (transaction_id(str(name)), _whole("transaction_total_order", order))
        )


def _header_value(value: bytes) -> Any:
    text = value.decode(errors="replace")
    if not text.startswith(('{"schema"', '"')):
        # Connect's SimpleHeaderConverter writes the bare value.
        return text
    try:
        found = _decode(text)
    except UNREADABLE:
        return text
    return found.get("payload") if isinstance(found, dict) else found


def _whole(field: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = INT_MAX
    if abs(number) > INT_MAX // 1000:
        raise RecordError("malformed", f"found {_PREFIX}{field} {value!r:.100}, expected a whole number")
    return number
