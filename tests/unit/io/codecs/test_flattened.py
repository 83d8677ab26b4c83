"""Rows without an envelope become changes as far as their fields tell."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs.events import Events
from tillstream.io.codecs.base import Headers
from tillstream.io.codecs.flattened import FlattenedCodec
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation

KEY = b'{"id":1}'


def codec(mode: str = "rewrite") -> FlattenedCodec:
    """Return one for a mode of the transform."""
    events = Events.model_validate({"format": "flattened", "delete_tombstone_handling_mode": mode})
    return FlattenedCodec("orders", ("id",), 16, (), events)


def decoded(headers: Headers = None, **columns: Any) -> ChangeRecord:
    """Return the record of a row."""
    return codec().decode(KEY, json.dumps({"id": 1, "name": "x", **columns}).encode(), 7, headers)[1]


def test_a_bare_row_is_an_update_without_place_or_time() -> None:
    """Nothing is made up; the row's bytes are the message's."""
    text = b'{"id": 1,  "__mine": 2}'
    assert codec().decode(None, text, 7)[1] == ChangeRecord(7, Operation.UPDATE, (1,), (), 0, None, text)


@pytest.mark.parametrize(
    ("columns", "position"),
    [
        ({"__lsn": 9}, (0, 9, 2, 9)),
        ({"__source_lsn": "9"}, (0, 9, 2, 9)),
        ({"__source_sequence": '["5","9"]', "__lsn": 9}, (0, 9, 1, 9)),
        ({"__sequence": '[null,"9"]', "__source_snapshot": "first"}, (0, 9, 0, 9)),
        ({"__connector": "postgresql", "__sequence": '["5","9"]'}, (0, 9, 1, 9)),
        ({"__file": "binlog.000007", "__pos": 4, "__row": 2}, (0, 0, 7, 4, 1, 2)),
        ({"__source_connector": "mongodb", "__source_ts_ms": 5000, "__source_ord": 3}, (0, 5, 3, 1, 0)),
        ({"__source_connector": "mysql", "__source_pos": 4}, ()),
        ({"__source_connector": "db2", "__lsn": 4}, ()),
        ({"__op": "u"}, ()),
    ],
)
def test_positions_come_from_the_fields_that_are_there(
    columns: dict[str, Any], position: tuple[Any, ...]
) -> None:
    """The connector is named, or told by its fields; what it cannot do without must be there."""
    found = decoded(**columns)
    assert found.position == position
    assert json.loads(found.after or b"") == {"id": 1, "name": "x"}


@pytest.mark.parametrize(
    ("columns", "time_us"),
    [
        ({"__source_ts_us": 5, "__source_ts_ms": 1}, 5),
        ({"__source_ts_ms": 5, "__ts_us": 1}, 5000),
        ({"__ts_us": 5}, 5),
        ({"__ts_ms": "5"}, 5000),
        ({}, 0),
    ],
)
def test_times_are_the_sources_before_the_connectors(columns: dict[str, Any], time_us: int) -> None:
    """Milliseconds and microseconds both will do."""
    assert decoded(**columns).source_time_us == time_us


@pytest.mark.parametrize(
    ("columns", "operation"),
    [
        ({"__op": "r"}, Operation.SNAPSHOT),
        ({"__op": "c", "__deleted": "false"}, Operation.CREATE),
        ({"__op": "d", "__deleted": "true"}, Operation.DELETE),
        ({"__deleted": "true"}, Operation.DELETE),
        ({"__deleted": True}, Operation.DELETE),
        ({"__deleted": "false"}, Operation.UPDATE),
    ],
)
def test_operations(columns: dict[str, Any], operation: Operation) -> None:
    """A rewritten delete says so in a column."""
    found = decoded(**columns)
    assert found.operation is operation
    assert (found.after is None) == (operation is Operation.DELETE)
    assert json.loads(found.before or found.after or b"") == {"id": 1, "name": "x"}


@pytest.mark.parametrize("value", [b"9", b'"9"', b'{"schema":{"type":"int64"},"payload":9}'])
def test_headers_tell_what_the_row_does_not(value: bytes) -> None:
    """Whichever converter wrote them; columns come first."""
    headers = [("__lsn", value), ("__op", b"c"), ("other", b"x"), ("__source_ts_ms", None)]
    found = decoded(headers, __op="u")
    assert (found.position, found.operation) == ((0, 9, 2, 9), Operation.UPDATE)


@pytest.mark.parametrize("mode", ["tombstone", "delete-to-tombstone"])
def test_a_tombstone_is_the_delete_at_its_position(mode: str) -> None:
    """Its headers tell where, as they do of rows."""
    one = codec(mode)
    assert one.reads_tombstones
    headers = [("__sequence", b'["5","9"]'), ("__source_ts_ms", b"3")]
    shard, found = one.tombstone(KEY, 8, 5, headers)
    assert found == ChangeRecord(8, Operation.DELETE, (1,), (0, 9, 1, 9), 3000, None, None)
    assert shard == one.decode(KEY, b'{"id":1}', 7)[0]
    assert one.tombstone(KEY, 8, 5)[1].source_time_us == 5
    assert one.decode(KEY, b'{"id":1}', 7, headers)[1].position == (0, 9, 1, 9)


@pytest.mark.parametrize("value", [b"null", b'{"schema":{"type":"struct","fields":[]},"payload":null}'])
def test_a_null_is_a_delete_too(value: bytes) -> None:
    """By the default mode the converter writes it in place of a tombstone, because there is a schema."""
    headers = [("__sequence", b'["5","9"]')]
    for _ in range(2):
        found = codec("tombstone").decode(KEY, value, 8, headers)[1]
        assert found == ChangeRecord(8, Operation.DELETE, (1,), (0, 9, 1, 9), 0, None, None)
    with pytest.raises(RecordError, match="no JSON object"):
        codec("rewrite").decode(KEY, value, 8, headers)


@pytest.mark.parametrize("mode", ["tombstone", "delete-to-tombstone"])
def test_fields_place_no_row_where_deletes_have_none(mode: str) -> None:
    """A position of rows alone would make a repeated delete final, because it is never stale."""
    row = b'{"id":1,"__sequence":"[\\"5\\",\\"9\\"]","__op":"c"}'
    assert codec(mode).decode(KEY, row, 9)[1] == ChangeRecord(
        9, Operation.CREATE, (1,), (), 0, None, b'{"id":1}'
    )


@pytest.mark.parametrize("mode", ["rewrite", "rewrite-with-tombstone", "drop"])
def test_other_tombstones_tell_nothing(mode: str) -> None:
    """The delete was a record of its own, or there is none."""
    assert not codec(mode).reads_tombstones


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"[]", "malformed"),
        (b'{"name":1}', "missing_key"),
        (b'{"id":1,"__op":"x"}', "unknown_operation"),
        (b'{"id":1,"__op":[]}', "unknown_operation"),
        (b'{"id":1,"__sequence":5}', "malformed"),
        (b'{"id":1,"__source_ts_ms":"x"}', "malformed"),
        (b'{"id":1,"__source_ts_us":1e400}', "malformed"),
        (b'{"id":1,"__source_ts_us":1e300}', "malformed"),
        (b'{"id":1,"__source_ts_us":1e999999999}', "malformed"),
        (b'{"id":1,"__file":"b.1","__pos":1e999999999}', "malformed"),
    ],
)
def test_what_is_no_row_says_why(value: bytes, reason: str) -> None:
    """Each becomes a dead letter."""
    with pytest.raises(RecordError) as caught:
        codec().decode(None, value, 0)
    assert caught.value.reason == reason


def test_a_line_tells_its_topic_where_the_fields_are_there() -> None:
    """Files need name, schema and table among the fields that were added."""
    row = {"__name": "acme", "__schema": "public", "__source_table": "orders"}
    for value in (row, {"schema": {}, "payload": row}):
        assert FlattenedCodec.topic_of(json.dumps(value).encode()) == "acme.public.orders"
    for text in (b"{}", b"[]", b"x"):
        with pytest.raises(RecordError):
            FlattenedCodec.topic_of(text)
