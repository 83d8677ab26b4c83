"""Messages without an id of their schema are read by the schema of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from tests.corpus.conformance.connect_avro import body
from tests.unit.io.codecs.avro_messages import ID, PLAIN, event
from tillstream.configs import ClientConfig
from tillstream.configs.events import Events
from tillstream.io.codecs.avro import AvroCodec
from tillstream.io.codecs.base import codec_for
from tillstream.pipelines.errors import ConfigError, RecordError
from tillstream.pipelines.records import Operation


def schema_of_key(column: str) -> dict[str, Any]:
    """Return the schema of a key of one column."""
    return {"type": "record", "name": "Key", "fields": [{"name": column, "type": "long"}]}


def file_codec(folder: Path, schema: Any, **events: Any) -> AvroCodec:
    """Return a codec whose schema stands in a file."""
    (folder / "orders.avsc").write_text(schema if isinstance(schema, str) else json.dumps(schema))
    described = {"format": "avro", "avro_schema_file": str(folder / "{entity}.avsc"), **events}
    codec = AvroCodec("orders", ("id",), 16, (), Events.model_validate(described))
    codec.bind("acme")
    return codec


def test_a_message_without_a_head_has_the_schema_of_a_file(tmp_path: Path) -> None:
    """The file is the entity's; the key, without a file of its own, is the row's."""
    codec = file_codec(tmp_path, PLAIN)
    _, record = codec.decode(b"ignored", body(PLAIN, event()), 1)
    assert (record.key, record.after, codec.schema) == ((42,), b'{"id":42}', (("id", "int64"),))
    with pytest.raises(RecordError, match="malformed"):
        codec.decode(None, b"\xc3\x01" + b"\0" * 8 + body(PLAIN, event()), 1)


def test_single_objects_are_known_by_their_schemas_fingerprint(tmp_path: Path) -> None:
    """A head that is the schema's own is passed over, of values and of keys."""
    key = {"type": "record", "name": "Key", "fields": [ID]}
    (tmp_path / "key.avsc").write_text(json.dumps(key))
    codec = file_codec(tmp_path, PLAIN, avro_key_schema_file=str(tmp_path / "key.avsc"))
    heads = [
        b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))
        for schema in (key, PLAIN)
    ]
    value = body(PLAIN, event(op="d", after=None))
    for head_of_key, head in ((b"", b""), heads):
        _, record = codec.decode(head_of_key + body(key, {"id": 9}), head + value, 1)
        assert (record.key, record.operation) == ((9,), Operation.DELETE)


def test_a_file_that_is_no_schema_stops_the_launch(tmp_path: Path) -> None:
    """It is told with its path before the first message."""
    for schema, said in ((PLAIN["fields"][3], "orders.avsc: .*expected"), ("{", "orders.avsc: .*JSON")):
        with pytest.raises(ConfigError, match=said):
            file_codec(tmp_path, schema)
    (tmp_path / "orders.avsc").unlink()
    described = {"format": "avro", "avro_schema_file": str(tmp_path / "{entity}.avsc")}
    with pytest.raises(ConfigError, match=r"entity 'orders': source.events.avro_schema_file: .*No such file"):
        AvroCodec("orders", ("id",), 16, (), Events.model_validate(described)).bind("acme")


def test_a_key_file_that_is_no_schema_stops_the_launch(tmp_path: Path) -> None:
    """So do keys of other columns than the entity's; files are not looked at again once messages come."""
    key = tmp_path / "key.avsc"
    for schema, said in (
        ("{", "key.avsc: .*JSON"),
        (schema_of_key("region"), "key.avsc: found a message's key"),
    ):
        key.write_text(schema if isinstance(schema, str) else json.dumps(schema))
        with pytest.raises(ConfigError, match=said):
            file_codec(tmp_path, PLAIN, avro_key_schema_file=str(key))
    key.write_text(json.dumps(schema_of_key("id")))
    codec = file_codec(tmp_path, PLAIN, avro_key_schema_file=str(key))
    for path in (key, tmp_path / "orders.avsc"):
        path.unlink()
    _, record = codec.decode(body(schema_of_key("id"), {"id": 9}), body(PLAIN, event()), 1)
    assert record.key == (9,)


def test_keys_of_other_columns_may_be_meant(tmp_path: Path) -> None:
    """message_key: ignore is known before the key's schema is looked at."""
    for name, schema in (("prices", PLAIN), ("key", schema_of_key("region"))):
        (tmp_path / f"{name}.avsc").write_text(json.dumps(schema))
    events = {"format": "avro", "avro_schema_file": str(tmp_path / "{entity}.avsc")}
    events["avro_key_schema_file"] = str(tmp_path / "key.avsc")
    entity = {"topic": "acme.public.prices", "key": ["id"], "sinks": ["out"], "message_key": "ignore"}
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}, "events": events},
            "entities": {"prices": entity},
            "sinks": {"out": {"type": "files", "path": "out"}},
        }
    )
    key = body(schema_of_key("region"), {"region": 1})
    _, record = codec_for(config, "prices").decode(key, body(PLAIN, event()), 1)
    assert record.key == (42,)
