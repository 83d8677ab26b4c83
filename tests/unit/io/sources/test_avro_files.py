"""Avro container files are read as lines of the same events."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, writer

from tests.unit.io.codecs.avro_messages import ID, envelope, event
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.io.sources.files import read_lines
from tillstream.pipelines.errors import RecordError

# Named by the connector alone, so that the writer takes what is to be in the file.
DECIMAL = {
    "type": "bytes",
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "connect.parameters": {"scale": "2"},
}
SCHEMA = envelope([ID, {"name": "total", "type": ["null", DECIMAL]}])
EVENTS = [event(after={"id": number, "total": b"\x01\x00"}) for number in range(300)]


def written(folder: Path, codec: str = "null", schema: Any = SCHEMA, records: Any = EVENTS) -> Path:
    """Return a file of several blocks."""
    path = folder / "events.avro"
    with path.open("wb") as file:
        writer(file, parse_schema(schema), records, codec=codec, sync_interval=1000)
    return path


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "zstandard"])
def test_each_record_is_an_event(tmp_path: Path, codec: str) -> None:
    """All blocks are read, whatever compresses them; rows have their one spelling."""
    lines = list(read_lines(written(tmp_path, codec)))
    assert len(lines) == 300
    _, record = DebeziumJsonCodec("orders", ("id",), 16).decode(None, lines[299], 1)
    assert (record.key, record.position) == ((299,), (0, 2, 1, 2))
    assert json.loads(record.after or b"") == {"id": 299, "total": "2.56"}


def test_what_is_whole_of_a_damaged_file_is_read(tmp_path: Path) -> None:
    """The rest becomes a dead letter that names the file; no byte of it does more."""
    path = written(tmp_path)
    whole = path.read_bytes()
    cut = [whole[:end] for end in range(0, len(whole), 97)]
    places = range(0, len(whole), 97)
    spoilt = [whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :] for place in places]
    refused = []
    for content in (*cut, *spoilt):
        path.write_bytes(content)
        lines = read_lines(path)
        with suppress(RecordError):
            assert len(list(lines)) <= 300
            continue
        refused.append(content)
    assert len(refused) > len(places)
    path.write_bytes(whole[:-100])
    with pytest.raises(RecordError, match=rf"unreadable_file: .*{path}"):
        list(read_lines(path))


@pytest.mark.parametrize(
    ("schema", "records"),
    [("long", [1, 2]), ({"type": "record", "name": "R", "fields": []}, [{}])],
)
def test_other_files_are_refused(tmp_path: Path, schema: Any, records: Any) -> None:
    """A file of numbers holds no events, and records without a byte could be any number."""
    with pytest.raises(RecordError, match=r"unreadable_file: .*expected records"):
        list(read_lines(written(tmp_path, schema=schema, records=records)))
