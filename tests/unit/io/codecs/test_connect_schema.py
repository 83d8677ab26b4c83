"""Messages with their schema are spelt by it, and schemas are read once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.io.codecs import connect_schema
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.errors import RecordError

SOURCE = {"connector": "postgresql", "ts_ms": 1, "sequence": '["1","2"]'}
DAY = {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "day"}
ID = {"type": "int64", "optional": False, "field": "id"}
NAME = {"type": "string", "optional": True, "field": "name"}


def message(fields: list[dict[str, Any]], row: Any, *, op: str = "c", **more: Any) -> bytes:
    """Return an envelope with its schema, as JsonConverter writes it."""
    rows = [
        {"type": "struct", "fields": fields, "optional": True, "field": each} for each in ("before", "after")
    ]
    schema = {"type": "struct", "fields": [*rows, {"type": "string", "field": "op"}], **more}
    payload = {"before": None, "after": row, "source": SOURCE, "op": op}
    return json.dumps({"schema": schema, "payload": payload}, separators=(",", ":")).encode()


def codec(*key: str) -> DebeziumJsonCodec:
    """Return one that has seen nothing."""
    return DebeziumJsonCodec("orders", key or ("id",), 16)


def test_a_row_that_needs_no_respelling_stays_as_it_is() -> None:
    """Its bytes are those of the message."""
    text = message([ID, NAME], {"id": 1, "name": "x"}).replace(b'"name":"x"', b'"name": "x"')
    one = codec()
    _, record = one.decode(None, text, 0)
    assert record.after == b'{"id":1,"name": "x"}'
    assert one.schema == (("id", "int64"), ("name", "string"))


def test_a_schema_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages with the same schema do not have it read again, wherever they stand between others."""
    reads: list[bytes] = []
    read = connect_schema.ConnectSchemas._read

    def counting(self: connect_schema.ConnectSchemas, text: bytes) -> connect_schema.RowForm:
        reads.append(text)
        return read(self, text)

    monkeypatch.setattr(connect_schema.ConnectSchemas, "_read", counting)
    one = codec()
    for number in range(6):
        fields = [ID, DAY] if number % 2 else [ID, NAME]
        one.decode(None, message(fields, {"id": number, "day": 1, "name": "x"}), number)
    assert len(reads) == 2


def test_columns_that_stay_the_same_are_one_object() -> None:
    """A schema with another comment declares the same columns; one with another column does not."""
    one = codec()
    schemas = []
    for fields in ([ID, NAME], [ID, {**NAME, "doc": "what it is called"}], [ID, DAY], [ID, NAME]):
        one.decode(None, message(fields, {"id": 1, "name": None, "day": None}), 0)
        schemas.append(one.schema)
    assert schemas[0] is schemas[1] is schemas[3]
    assert schemas[2] == (("id", "int64"), ("day", "date"))


def test_a_message_of_another_layout_has_the_same_schema() -> None:
    """Space behind it, or the payload before the schema, changes nothing."""
    one, text = codec(), message([ID, DAY], {"id": 1, "day": 0})
    found = json.loads(text)
    turned = json.dumps({"payload": found["payload"], "schema": found["schema"]}).encode()
    for each in (text, text + b"\n", turned, b" " + text, text):
        _, record = one.decode(None, each, 0)
        assert json.loads(record.after or b"") == {"id": 1, "day": "1970-01-01Z"}


def test_no_more_schemas_are_kept_than_so_many() -> None:
    """A source that changes its schema with every message fills no memory."""
    schemas = connect_schema.ConnectSchemas(("after",))
    for number in range(200):
        assert schemas.open(message([ID], {"id": 1}, doc=str(number))) is not None
    assert len(schemas._known) <= 64


def test_null_stays_null_and_missing_stays_missing() -> None:
    """A column that the row lacks is not made up."""
    _, record = codec().decode(None, message([ID, DAY, NAME], {"id": 1, "day": None}), 0)
    assert record.after == b'{"id":1,"day":null}'


def test_a_keys_schema_spells_it() -> None:
    """A day in a key is spelt as in rows, with or without a schema of the key."""
    row = {"id": 1, "day": 1}
    key = json.dumps({"schema": {"type": "struct", "fields": [ID, DAY]}, "payload": row}).encode()
    one = codec("id", "day")
    found = [one.decode(each, message([ID, DAY], row), 0) for each in (key, None, key)]
    assert [record.key for _, record in found] == [(1, "1970-01-02Z")] * 3
    assert len({shard for shard, _ in found}) == 1
    assert one.key_schema == (("id", "int64"), ("day", "date"))


def test_messages_with_and_without_schema_may_follow_each_other() -> None:
    """A topic holds both when the converter's setting was changed."""
    one = codec()
    plain = json.dumps(
        {"before": None, "after": {"id": 1, "day": "1970-01-02Z"}, "source": SOURCE, "op": "c"}
    ).encode()
    wrapped = message([ID, DAY], {"id": 1, "day": 1})
    rows = []
    for text in (plain, wrapped, plain, wrapped):
        _, record = one.decode(None, text, 0)
        rows.append((json.loads(record.after or b""), bool(one.schema)))
    row = {"id": 1, "day": "1970-01-02Z"}
    assert rows == [(row, False), (row, True), (row, False), (row, True)]


@pytest.mark.parametrize("op", ["r", "u", "d"])
def test_rows_before_are_spelt_too(op: str) -> None:
    """A delete's only row is the one before."""
    text = message([ID, DAY], None, op=op).replace(
        b'"payload":{"before":null', b'"payload":{"before":{"id":1,"day":0}'
    )
    text = text if op == "d" else text.replace(b'"after":null', b'"after":{"id":1,"day":1}')
    _, record = codec().decode(None, text, 0)
    assert record.before == b'{"id":1,"day":"1970-01-01Z"}'


@pytest.mark.parametrize(
    ("fields", "row", "detail"),
    [
        ([ID, DAY], {"id": 1, "day": "x" * 500}, None),
        ([ID, DAY], {"id": 1, "day": [1]}, r"found \[1\] in column day, expected date"),
        ([ID, {"field": "day"}], {"id": 1}, "found a schema that is none of Kafka Connect's"),
        ([{"type": "int64"}], {"id": 1}, "found a schema that is none of Kafka Connect's"),
    ],
)
def test_what_is_wrong_is_told(fields: list[dict[str, Any]], row: Any, detail: str | None) -> None:
    """A value that is none of its type, and a schema that is none, say so; texts are left to contracts."""
    if detail is None:
        assert codec().decode(None, message(fields, row), 0)
        return
    with pytest.raises(RecordError, match=detail):
        codec().decode(None, message(fields, row), 0)


def test_a_schema_of_too_many_levels_is_refused() -> None:
    """Nothing recurses without end."""
    deep: dict[str, Any] = {"type": "int64"}
    for _ in range(40):
        deep = {"type": "array", "items": deep}
    with pytest.raises(RecordError, match="more than 32 schemas"):
        codec().decode(None, message([{**deep, "field": "id"}], {"id": 1}), 0)


def test_columns_named_schema_and_payload_are_columns() -> None:
    """They are no wrapping where they hold no objects."""
    schemas = connect_schema.ConnectSchemas()
    assert schemas.open(b'{"schema":"public","payload":"x"}') is None


@pytest.mark.parametrize("text", ["\\ud800", "\\udc00x", "x\\uDBFF\\u0041"])
def test_half_a_surrogate_pair_is_named(text: str) -> None:
    """The dead letter says what JSON libraries do not."""
    value = message([ID, NAME], {"id": 1, "name": "@"}).replace(b"@", text.encode())
    with pytest.raises(RecordError, match="half of a surrogate pair in a text, which is no character"):
        codec().decode(None, value, 0)
