"""Debezium's envelope becomes a change record, or says why it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.configs import Column
from tillstream.io.codecs.base import EVERY_SHARD
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.positions import position_of
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation

CODEC = DebeziumJsonCodec("orders", ("order_id",), 16)
KEY = b'{"order_id":42}'


def envelope(op: str | None = "c", **changes: Any) -> dict[str, Any]:
    """Return an envelope as the Postgres connector writes it."""
    return {
        "before": None,
        "after": {"order_id": 42, "total": "9.50"},
        "source": {
            "connector": "postgresql",
            "name": "acme",
            "ts_ms": 1700000000000,
            "ts_us": 1700000000000123,
            "sequence": '["100","104"]',
            "db": "source",
            "schema": "public",
            "table": "orders",
            "lsn": 104,
        },
        "op": op,
        **changes,
    }


def encoded(op: str | None = "c", **changes: Any) -> bytes:
    """Return the envelope's bytes."""
    return json.dumps(envelope(op, **changes), separators=(",", ":")).encode()


def test_a_create_keeps_its_row_encoded() -> None:
    """The row is not decoded here; position and time come from the source block."""
    _, record = CODEC.decode(KEY, encoded(), 7)
    assert record == ChangeRecord(
        7,
        Operation.CREATE,
        (42,),
        (0, 104, 1, 104),
        1700000000000123,
        None,
        b'{"order_id":42,"total":"9.50"}',
    )


@pytest.mark.parametrize("wrap_key", [True, False])
def test_the_schema_wrapping_is_taken_off(wrap_key: bool) -> None:  # noqa: FBT001
    """Connect's JsonConverter with schemas enabled gives the same record as without."""
    key = (
        json.dumps({"schema": {"type": "struct"}, "payload": {"order_id": 42}}).encode() if wrap_key else KEY
    )
    value = json.dumps({"schema": {"type": "struct"}, "payload": envelope()}, separators=(",", ":")).encode()
    assert CODEC.decode(key, value, 7) == CODEC.decode(KEY, encoded(), 7)


def test_a_delete_has_its_row_before() -> None:
    """A delete carries no row after it; its key is in the message's key."""
    _, record = CODEC.decode(KEY, encoded("d", before={"order_id": 42}, after=None), 1)
    assert (record.operation, record.key, record.before, record.after) == (
        Operation.DELETE,
        (42,),
        b'{"order_id":42}',
        None,
    )


def test_the_row_gives_the_key_where_the_message_has_none() -> None:
    """A message without key goes to the same shard as its twin with one."""
    assert CODEC.decode(None, encoded(), 7) == CODEC.decode(KEY, encoded(), 7)


def test_one_key_one_shard_and_entities_apart() -> None:
    """The shard depends on entity and key alone, and uses all shards."""
    shards = [CODEC.decode(b'{"order_id":%d}' % n, encoded(), 0)[0] for n in range(400)]
    other = DebeziumJsonCodec("customers", ("order_id",), 16)
    assert set(shards) == set(range(16))
    assert [other.decode(b'{"order_id":%d}' % n, encoded(), 0)[0] for n in range(400)] != shards


def test_a_truncate_concerns_every_shard() -> None:
    """A truncate has no key and no row, but its place in the source's order."""
    shard, record = CODEC.decode(None, encoded("t", before=None, after=None), 7)
    change = CODEC.decode(KEY, encoded(), 7)[1]
    assert shard == EVERY_SHARD
    assert (record.operation, record.key, record.before, record.after) == (Operation.TRUNCATE, (), None, None)
    assert (record.position, record.source_time_us) == (change.position, change.source_time_us)
    assert record.position


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"not json", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[1,2]", "malformed"),
        (b"[" * 50_000, "malformed"),
        (b'{"op":"c","after":{"order_id":1}}', "malformed"),
        (encoded("c", source={"connector": "postgresql", "sequence": "[oops"}), "malformed"),
        (b"{}", "unknown_operation"),
        (encoded("x"), "unknown_operation"),
        (b'{"op":"t"}', "unsupported_operation"),
        (encoded("m"), "unsupported_operation"),
        (encoded("u", after=None), "missing_row"),
        (encoded("c", after={"total": "1"}), "missing_key"),
        (encoded("c", after={"order_id": None}), "missing_key"),
        (encoded("d", after=None), "missing_key"),
        (encoded("c", after={"order_id": 1 << 70}), "malformed"),
        (encoded("c", after={"order_id": [1]}), "malformed"),
        (encoded("c", source={"connector": "postgresql", "ts_ms": 1 << 62}), "malformed"),
        (encoded("c", source={"connector": "postgresql", "lsn": 1 << 64}), "malformed"),
        (encoded("c", source={"connector": "postgresql", "sequence": f'["1","{1 << 64}"]'}), "malformed"),
    ],
)
def test_what_is_no_change_of_a_row_says_why(value: bytes, reason: str) -> None:
    """Each kind of bad record has a reason of its own."""
    with pytest.raises(RecordError) as caught:
        CODEC.decode(None, value, 0)
    assert caught.value.reason == reason


@given(st.binary(max_size=300), st.none() | st.binary(max_size=40))
def test_any_bytes_become_a_record_or_a_record_error(value: bytes, key: bytes | None) -> None:
    """Nothing that a topic may hold raises anything else."""
    try:
        _, record = CODEC.decode(key, value, 0)
    except RecordError:
        return
    batch = ChangeBatch("c", "e", 0, "t", 0, ("order_id",), (record,))
    assert ChangeBatch.decode(batch.encode()) == batch


def test_a_null_in_the_messages_key_is_no_key() -> None:
    """The row gives what the message's key leaves out."""
    assert CODEC.decode(b'{"order_id":null}', encoded(), 7) == CODEC.decode(KEY, encoded(), 7)


def test_a_missing_commit_lsn_counts_as_oldest() -> None:
    """Snapshot reads have no last commit; their sequence says null."""
    source = {**envelope()["source"], "sequence": '[null,"7"]', "snapshot": "first"}
    _, record = CODEC.decode(KEY, encoded("r", source=source), 0)
    assert record.position == (0, 7, 0, 7)


@pytest.mark.parametrize("wrapped", [True, False])
def test_other_connectors_have_positions_too(wrapped: bool) -> None:  # noqa: FBT001
    """The position is that of the connector's own order, with or without the schema's wrapping."""
    source = {"connector": "mysql", "ts_ms": 1, "file": "binlog.000007", "pos": 154, "row": 2}
    value = envelope(source=source)
    text = json.dumps({"schema": {}, "payload": value} if wrapped else value).encode()
    assert CODEC.decode(KEY, text, 0)[1].position == (0, *position_of(source)[1:])
    assert position_of(source) != ()


def test_the_topic_is_told_by_the_source() -> None:
    """Events in files find their entity by the topic that Debezium would have used."""
    assert DebeziumJsonCodec.topic_of(encoded()) == "acme.public.orders"
    with pytest.raises(RecordError):
        DebeziumJsonCodec.topic_of(b'{"op":"c"}')


_RATE = Column("order_id", "decimal", nullable=False, precision=10, scale=2)


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (['"1.5"', '"1.50"', '"1.500"', "1.5", "1.50", '"15E-1"'], "1.50"),
        (['"7"', "7", "7.0", '"7.00"'], "7.00"),
        (['"0"', '"-0.00"', "0"], "0.00"),
    ],
)
def test_spellings_of_a_decimal_key_are_one_key(spellings: list[str], key: str) -> None:
    """Equal decimals go to one shard with one key, however the source spells them."""
    codec = DebeziumJsonCodec("orders", ("order_id",), 1024, [_RATE])
    keys = [f'{{"order_id":{text}}}'.encode() for text in spellings]
    found = [codec.decode(each, encoded(), 0) for each in keys]
    assert len({shard for shard, _ in found}) == 1
    assert {record.key for _, record in found} == {(key,)}
    assert len({CODEC.decode(each, encoded(), 0)[1].key for each in keys}) > 1


@pytest.mark.parametrize("text", ["1.505", "abc", "12345678901", "sNaN"])
def test_a_decimal_key_that_does_not_fit_is_left_to_its_contract(text: str) -> None:
    """A key with too many digits, or of no number, keeps its spelling, and the contract refuses it."""
    codec = DebeziumJsonCodec("orders", ("order_id",), 16, [_RATE])
    _, record = codec.decode(json.dumps({"order_id": text}).encode(), encoded(), 0)
    assert record.key == (text,)
