"""Changes come out of CloudEvents, in structured and in binary mode."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.io.codecs.base import EVERY_SHARD
from tillstream.io.codecs.cloudevents import CloudEventsCodec
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord, Operation

CODEC = CloudEventsCodec("orders", ("id",), 16)
ATTRIBUTES = {
    "id": "name:acme;lsn:29274832;txId:565",
    "source": "/debezium/postgresql/acme",
    "specversion": "1.0",
    "type": "io.debezium.connector.postgresql.DataChangeEvent",
    "time": "2026-01-13T13:55:39.738Z",
    "datacontenttype": "application/json",
    "iodebeziumop": "u",
    "iodebeziumconnector": "postgresql",
    "iodebeziumname": "acme",
    "iodebeziumtsms": "1578923739738",
    "iodebeziumsnapshot": "false",
    "iodebeziumdb": "shop",
    "iodebeziumschema": "public",
    "iodebeziumtable": "orders",
    "iodebeziumsequence": '["8","9"]',
    "iodebeziumlsn": "9",
    "iodebeziumxmin": None,
}
DATA = {"before": {"id": 1, "a": 1}, "after": {"id": 1, "a": 2}}
RECORD = ChangeRecord(
    7, Operation.UPDATE, (1,), (0, 9, 1, 9), 1578923739738000, b'{"id":1,"a":1}', b'{"id":1,"a":2}'
)


def event(data: Any = DATA, **changes: Any) -> bytes:
    """Return an event; an attribute that is ... is left out."""
    found = {**ATTRIBUTES, "data": data, **changes}
    return json.dumps(
        {name: each for name, each in found.items() if each is not ...}, separators=(",", ":")
    ).encode()


def test_attributes_tell_of_the_change() -> None:
    """Numbers of 64 bits are text in them."""
    assert CODEC.decode(b'{"id":1}', event(), 7)[1] == RECORD
    assert CODEC.decode(None, event(data={"schema": None, "payload": DATA}), 7)[1] == RECORD


def test_headers_are_attributes_in_binary_mode() -> None:
    """The message is the data alone."""
    headers = [(f"ce_{name}", str(value).encode()) for name, value in ATTRIBUTES.items() if value is not None]
    data = json.dumps(DATA, separators=(",", ":")).encode()
    assert CODEC.decode(None, data, 7, headers)[1] == RECORD


def test_microseconds_come_before_milliseconds() -> None:
    """Newer connectors send both."""
    assert (
        CODEC.decode(None, event(iodebeziumtsus="1578923739738001"), 7)[1].source_time_us == 1578923739738001
    )


def test_a_truncate_goes_everywhere() -> None:
    """It has no row."""
    shard, record = CODEC.decode(None, event(data={"before": None, "after": None}, iodebeziumop="t"), 7)
    assert (shard, record.operation, record.position) == (EVERY_SHARD, Operation.TRUNCATE, (0, 9, 1, 9))


def test_transactions_are_told_where_they_are_asked_for() -> None:
    """The second number of the id is each event's own."""
    codec = CloudEventsCodec("orders", ("id",), 16)
    value = event(iodebeziumtxid="565:9", iodebeziumtxtotalorder="3")
    assert codec.decode(None, value, 7)[1].transaction is None
    codec.read_transactions()
    assert codec.decode(None, value, 7)[1].transaction == ("565", 3)


def test_other_connectors_have_positions_too() -> None:
    """Attributes have no underscores."""
    value = event(iodebeziumconnector="sqlserver", iodebeziumcommitlsn="00000027:00000758:0005")
    assert CODEC.decode(None, value, 7)[1].position == (0, 0x27, 0x758, 5, 1, 0, 0, 0, 0)
    assert CODEC.decode(None, event(iodebeziumconnector="db2"), 7)[1].position == ()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x", "malformed"),
        (b"{}", "malformed"),
        (event(specversion=...), "malformed"),
        (event(data=...), "malformed"),
        (event(data="AAAAAAEAAgICAg=="), "malformed"),
        (event(iodebeziumop=...), "malformed"),
        (event(iodebeziumop=[]), "malformed"),
        (event(iodebeziumop="m"), "unsupported_operation"),
        (event(iodebeziumop="x"), "unknown_operation"),
        (event(data={"before": None, "after": None}), "missing_row"),
        (event(data={"after": {"a": 1}}), "missing_key"),
        (event(iodebeziumtsms="x"), "malformed"),
        (event(iodebeziumsequence="x"), "malformed"),
    ],
)
def test_what_is_no_change_says_why(value: bytes, reason: str) -> None:
    """Each becomes a dead letter; data in Avro is one of them."""
    with pytest.raises(RecordError) as caught:
        CODEC.decode(None, value, 0)
    assert caught.value.reason == reason


def test_the_topic_is_told_by_the_attributes() -> None:
    """Lines of files find their entity so."""
    assert CloudEventsCodec.topic_of(event()) == "acme.public.orders"
    with pytest.raises(RecordError):
        CloudEventsCodec.topic_of(event(iodebeziumtable=...))
