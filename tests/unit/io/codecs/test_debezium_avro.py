"""Avro messages mean what the same messages in JSON mean, or say why they cannot be read."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.registry_server import RegistryServer
from tests.unit.io.codecs.avro_messages import ID, PLAIN, SOURCE, dict_of, envelope, event, message
from tillstream.configs.events import Events
from tillstream.io.codecs.avro_columns import unescaped
from tillstream.io.codecs.base import EVERY_SHARD
from tillstream.io.codecs.debezium_avro import DebeziumAvroCodec
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import Operation

REAL = Path(__file__).parents[3] / "corpus" / "avro" / "messages.jsonl.gz"


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    """Yield a registry without a schema."""
    with RegistryServer({}) as server:
        yield server


def codec_of(registry: RegistryServer, *key: str, **events: Any) -> DebeziumAvroCodec:
    """Return a codec of some entity."""
    described = {"format": "debezium_avro", "schema_registry": {"urls": [registry.url]}, **events}
    return DebeziumAvroCodec("orders", key, 16, (), Events.model_validate(described))


def plain(row: bytes | None) -> dict[str, Any] | None:
    """Return a row's values; JsonConverter, of whose messages the corpus was made, reads NaN as 0."""
    found: dict[str, Any] | None = row and json.loads(row)
    return found and {
        name: 0 if value in ("NaN", "Infinity", "-Infinity") else value for name, value in found.items()
    }


def test_real_events_mean_the_same_in_avro(registry: RegistryServer) -> None:
    """What the connector wrote, in JSON and by a real converter for a real registry, is the same record."""
    events = 0
    for line in gzip.decompress(REAL.read_bytes()).decode().splitlines():
        found = json.loads(line)
        if "answer" in found:
            registry.schemas[found["id"]] = found["answer"]
            continue
        key, value = found["key"], found["value"]
        if value is None or '"field":"after"' not in value:
            continue
        columns = list(json.loads(key)["payload"]) if key else []
        in_json, in_avro = DebeziumJsonCodec("orders", tuple(columns), 16), codec_of(registry, *columns)
        for codec in (in_json, in_avro):
            codec.read_transactions()
        avro_key, avro_value = (
            each and base64.b64decode(each) for each in (found["avro_key"], found["avro_value"])
        )
        shard, record = in_json.decode(key and key.encode(), value.encode(), 3)
        shard_, record_ = in_avro.decode(avro_key, avro_value, 3)
        rows = {"before": plain(record.before), "after": plain(record.after)}
        assert {"before": plain(record_.before), "after": plain(record_.after)} == rows
        without = {"before": None, "after": None}
        assert (shard_, replace(record_, **without)) == (shard, replace(record, **without))
        assert dict(in_avro.schema) == dict(in_json.schema)
        events += 1
    assert events > 20


def test_each_message_is_read_by_its_own_schema(registry: RegistryServer) -> None:
    """Schemas change within a topic, forth and back; each is asked for once, and declares its columns."""
    grown = envelope([ID, {"name": "note", "type": ["null", "string"]}])
    registry.schemas = {1: json.dumps(PLAIN), 2: json.dumps(grown)}
    codec = codec_of(registry, "id")
    old, new = message(1, PLAIN, event()), message(2, grown, event(after={"id": 42, "note": "n"}))
    schemas = []
    for each in (old, new, old, new):
        _, record = codec.decode(None, each, 1)
        schemas.append((codec.schema, record.after))
    assert schemas[:2] == [
        ((("id", "int64"),), b'{"id":42}'),
        ((("id", "int64"), ("note", "string")), b'{"id":42,"note":"n"}'),
    ]
    assert schemas[2][0] is schemas[0][0]
    assert schemas[3][0] is schemas[1][0]
    assert sorted(registry.paths) == ["/schemas/ids/1", "/schemas/ids/2"]


def test_the_key_is_that_of_the_message_or_of_the_row(registry: RegistryServer) -> None:
    """A message without a key has its row's; a delete with a null row has the message's."""
    key = {"type": "record", "name": "Key", "fields": [ID]}
    registry.schemas = {1: json.dumps(PLAIN), 2: json.dumps(key)}
    codec = codec_of(registry, "id")
    assert codec.decode(None, message(1, PLAIN, event()), 1)[1].key == (42,)
    deleted = message(1, PLAIN, event(op="d", after=None))
    _, record = codec.decode(message(2, key, {"id": 43}), deleted, 1)
    assert (record.key, record.before, record.operation) == ((43,), None, Operation.DELETE)
    with pytest.raises(RecordError, match="missing_key"):
        codec.decode(None, deleted, 1)


def test_a_key_of_bytes_is_that_of_json(registry: RegistryServer) -> None:
    """Bytes in a key are base64, from the message and from the row."""
    raw = {"name": "raw", "type": "bytes"}
    schema, key = envelope([raw]), {"type": "record", "name": "Key", "fields": [raw]}
    registry.schemas = {1: json.dumps(schema), 2: json.dumps(key)}
    codec = codec_of(registry, "raw")
    value = message(1, schema, event(after={"raw": b"\0\xff"}))
    of_message = codec.decode(message(2, key, {"raw": b"\0\xff"}), value, 1)[1].key
    assert of_message == codec.decode(None, value, 1)[1].key == ("AP8=",)


def test_a_key_of_other_columns_is_refused(registry: RegistryServer) -> None:
    """A table that is keyed otherwise than the config says is told, unless the config says that it may."""
    key = {"type": "record", "name": "Key", "fields": [{"name": "other", "type": "long"}]}
    registry.schemas = {1: json.dumps(PLAIN), 2: json.dumps(key)}
    arguments = (message(2, key, {"other": 1}), message(1, PLAIN, event()), 1)
    for _ in range(2):
        with pytest.raises(RecordError, match="key_changed"):
            codec_of(registry, "id").decode(*arguments)
    accepting = codec_of(registry, "id")
    accepting.accept_other_keys()
    assert accepting.decode(*arguments)[1].key == (42,)


def test_a_truncate_concerns_every_shard(registry: RegistryServer) -> None:
    """It has a position and no row."""
    registry.schemas = {1: json.dumps(PLAIN)}
    found = codec_of(registry, "id").decode(None, message(1, PLAIN, event(op="t", after=None)), 1)
    assert (found[0], found[1].operation, found[1].position) == (
        EVERY_SHARD,
        Operation.TRUNCATE,
        (0, 2, 1, 2),
    )


def test_a_logical_message_is_a_row_of_an_entity_without_a_key(registry: RegistryServer) -> None:
    """It is what it is in JSON; an entity with a key refuses it."""
    fields = [{"name": "prefix", "type": ["null", "string"]}, {"name": "content", "type": ["null", "bytes"]}]
    block = {"type": "record", "name": "Block", "fields": fields}
    schema = envelope([ID])
    schema["fields"] = [*schema["fields"][2:], {"name": "message", "type": ["null", block]}]
    registry.schemas = {1: json.dumps(schema)}
    told = {"source": SOURCE, "op": "m", "ts_ms": 6, "message": {"prefix": "p", "content": b"hello"}}
    in_json = {**told, "message": {"prefix": "p", "content": "aGVsbG8="}}
    expected = DebeziumJsonCodec("orders", (), 16).decode(None, json.dumps(in_json).encode(), 1)
    assert codec_of(registry).decode(None, message(1, schema, told), 1) == expected
    with pytest.raises(RecordError, match="unsupported_operation"):
        codec_of(registry, "id").decode(None, message(1, schema, told), 1)


def test_other_connectors_have_their_own_positions(registry: RegistryServer) -> None:
    """Where the source is not a Postgres connector's it is read whole."""
    fields = [{"name": name, "type": kind} for name, kind in (("connector", "string"), ("ts_ms", "long"))]
    fields += [
        {"name": "file", "type": "string"},
        {"name": "pos", "type": "long"},
        {"name": "row", "type": "int"},
    ]
    schema = envelope([ID], fields)
    registry.schemas = {1: json.dumps(schema)}
    source = {"connector": "mysql", "ts_ms": 7, "file": "binlog.000003", "pos": 154, "row": 2}
    _, record = codec_of(registry, "id").decode(None, message(1, schema, event(source=source)), 1)
    assert (record.position, record.source_time_us) == ((0, 0, 3, 154, 1, 2), 7000)


@pytest.mark.parametrize(
    ("source", "position", "time_us"),
    [
        ({"ts_us": None}, (0, 2, 1, 2), 5000),
        ({"sequence": None, "lsn": 9}, (0, 9, 2, 9), 5001),
        ({"sequence": '["1",null]', "lsn": 9}, (0, 9, 1, 9), 5001),
        ({"snapshot": "first"}, (0, 2, 0, 2), 5001),
    ],
)
def test_what_is_passed_over_is_read_where_it_is_needed(
    registry: RegistryServer, source: dict[str, Any], position: tuple[int, ...], time_us: int
) -> None:
    """Milliseconds count without microseconds, the LSN without a sequence."""
    registry.schemas = {1: json.dumps(PLAIN)}
    value = message(1, PLAIN, event(source={**SOURCE, **source}))
    _, record = codec_of(registry, "id").decode(None, value, 1)
    assert (record.position, record.source_time_us) == (position, time_us)


def test_releases_without_microseconds_are_read(registry: RegistryServer) -> None:
    """Then milliseconds are all that there is."""
    fields = [each for each in dict_of(PLAIN)["source"]["fields"] if each["name"] != "ts_us"]
    schema = envelope([ID], fields)
    registry.schemas = {1: json.dumps(schema)}
    assert codec_of(registry, "id").decode(None, message(1, schema, event()), 1)[1].source_time_us == 5000


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"\1\0\0\0\1", "malformed"),
        (b"\0\0\0", "malformed"),
        (b'{"op":"c"}', "malformed"),
        (b"\0\0\0\0\1", "malformed"),
        (b"\0\0\0\0\x09", "unknown_schema"),
        (b"\0\xff\xff\xff\xff", "unknown_schema"),
        (b"\0\0\0\0\2\0", "unsupported_schema"),
        (b"\0\0\0\0\3\0", "unsupported_schema"),
        (message(1, PLAIN, event(op="x")), "unknown_operation"),
        (message(1, PLAIN, event(op="m")), "unsupported_operation"),
        (message(1, PLAIN, event(after=None)), "missing_row"),
        (message(1, PLAIN, event(source={**SOURCE, "ts_us": None, "ts_ms": 1 << 62})), "malformed"),
        (message(1, PLAIN, event(source={**SOURCE, "sequence": "nonsense"})), "malformed"),
    ],
)
def test_what_cannot_be_read_says_why(registry: RegistryServer, value: bytes, reason: str) -> None:
    """Each has its reason, the second time too."""
    registry.schemas = {1: json.dumps(PLAIN), 2: '"string"', 3: "no schema"}
    codec = codec_of(registry, "id")
    for _ in range(2):
        with pytest.raises(RecordError) as raised:
            codec.decode(None, value, 1)
        assert raised.value.reason == reason


def test_a_value_that_its_column_cannot_have_is_told_with_it(registry: RegistryServer) -> None:
    """The column stands in the sentence, the value does not."""
    fields = [{"name": "scale", "type": "int"}, {"name": "value", "type": "bytes"}]
    decimal = {"type": "record", "name": "io.debezium.data.VariableScaleDecimal", "fields": fields}
    schema = envelope([ID, {"name": "free", "type": ["null", decimal]}])
    registry.schemas = {1: json.dumps(schema)}
    value = message(1, schema, event(after={"id": 1, "free": {"scale": 1 << 30, "value": b"7"}}))
    with pytest.raises(RecordError, match=r"malformed: .* in column free"):
        codec_of(registry, "id").decode(None, value, 1)


FUZZED = envelope(
    [
        ID,
        {
            "name": "total",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}],
        },
        {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
        {"name": "at", "type": {"type": "long", "connect.name": "io.debezium.time.NanoTimestamp"}},
        {"name": "attrs", "type": {"type": "map", "values": "double"}},
    ]
)
ROW = {"id": 7, "total": b"\x01\x02", "tags": ["a", None], "at": 1, "attrs": {"x": 0.5}}


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_bytes_do_more_than_become_a_dead_letter(data: st.DataObject) -> None:
    """Whatever a message holds, it becomes a record or a RecordError."""
    fuzzed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        fuzzed[data.draw(st.integers(5, len(fuzzed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(5, len(fuzzed)))
    for value in (bytes(fuzzed), bytes(fuzzed[:cut]), GOOD[:5] + data.draw(st.binary(max_size=80))):
        for key in (None, value):
            try:
                shard, record = FUZZ_CODEC.decode(key, value, 1)
            except RecordError:
                continue
            assert shard < 16
            assert record.after is None or json.loads(record.after)


GOOD = message(1, FUZZED, event(before=ROW, after=ROW))
FUZZ_CODEC = codec_of(RegistryServer({1: json.dumps(FUZZED)}).__enter__(), "id")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("order_u005fid", "order_id"),
        ("_u00fcber", "über"),
        ("_u4e2d_u6587", "中文"),
        ("_u436_u43e", "жо"),
        ("_ud83d_ude00", "😀"),
        ("plain_u", "plain_u"),
    ],
)
def test_escaped_names_are_read(name: str, plain: str, registry: RegistryServer) -> None:
    """Names of columns, the key's too, are the table's where the config says that they are escaped."""
    assert unescaped(name) == plain
    schema = envelope([{"name": name, "type": "long"}])
    key = {"type": "record", "name": "Key", "fields": [{"name": name, "type": "long"}]}
    registry.schemas = {1: json.dumps(schema), 2: json.dumps(key)}
    codec = codec_of(registry, plain, field_names="avro_unicode")
    value = message(1, schema, event(after={name: 1}))
    _, record = codec.decode(message(2, key, {name: 1}), value, 1)
    assert (record.key, json.loads(record.after or b"")) == ((1,), {plain: 1})
