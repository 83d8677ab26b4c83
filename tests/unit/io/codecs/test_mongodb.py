"""Documents of MongoDB become rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.io.codecs.mongodb import plain
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeRecord

SOURCE = {"connector": "mongodb", "ts_ms": 1558965508000, "ord": 31, "snapshot": "false"}


def decode(key: Any, op: str, after: Any = None, **more: Any) -> ChangeRecord:
    """Return the record of an event."""
    value = {"op": op, "before": None, "after": after, "source": SOURCE, **more}
    codec = DebeziumJsonCodec("things", ("id",), 4)
    return codec.decode(json.dumps(key).encode(), json.dumps(value).encode(), 0)[1]


@pytest.mark.parametrize(
    ("extended", "spelt"),
    [
        ({"$oid": "596e275826f08b2730779e1f"}, "596e275826f08b2730779e1f"),
        ({"$numberLong": "9007199254740993"}, 9007199254740993),
        ({"$numberInt": "-1"}, -1),
        ({"$numberDouble": "1.5"}, 1.5),
        ({"$numberDouble": "NaN"}, "NaN"),
        ({"$numberDecimal": "1.50"}, "1.50"),
        ({"$date": {"$numberLong": "1558965508001"}}, "2019-05-27T13:58:28.001000Z"),
        ({"$date": 0}, "1970-01-01T00:00:00Z"),
        ({"$date": "2019-05-27T13:58:28Z"}, "2019-05-27T13:58:28Z"),
        ({"$binary": {"base64": "AP8=", "subType": "00"}}, "AP8="),
        ({"$binary": "AP8=", "$type": "00"}, "AP8="),
        ({"$uuid": "3b241101-e2bb-4255-8caf-4136c566a962"}, "3b241101-e2bb-4255-8caf-4136c566a962"),
        ({"a": [{"$numberLong": "1"}, {"b": {"$numberInt": "2"}}]}, {"a": [1, {"b": 2}]}),
        ({"$timestamp": {"t": 1, "i": 2}}, {"$timestamp": {"t": 1, "i": 2}}),
        ({"$numberInt": "1", "other": 2}, {"$numberInt": "1", "other": 2}),
        (None, None),
        (True, True),
    ],
)
def test_extended_json_is_spelt_as_rows_are(extended: Any, spelt: Any) -> None:
    """What has no spelling of its own stays JSON."""
    assert plain(extended) == spelt


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"$oid": "596e275826f08b2730779e1f"}', "596e275826f08b2730779e1f"),
        ("1004", 1004),
        ('{"$numberLong": "1004"}', 1004),
        ('"1234"', "1234"),
    ],
)
def test_the_key_is_the_document_s_id(text: str, key: Any) -> None:
    """Of a delete it is all that is told."""
    assert decode({"id": text}, "d").key == (key,)


def test_the_row_is_the_document() -> None:
    """With its columns at the top, its `_id` among them."""
    record = decode({"id": "1"}, "c", '{"_id": {"$numberInt": "1"}, "at": {"$date": 0}}')
    assert record.after == b'{"id":1,"at":"1970-01-01T00:00:00Z"}'


def test_a_field_of_the_name_id_stays_apart() -> None:
    """The document's `_id` is the key, and nothing is left out."""
    assert decode({"id": "1"}, "c", '{"_id": 1, "id": 2}').after == b'{"id":1,"id_":2}'


def test_an_update_without_its_document_is_refused() -> None:
    """Its parts alone are no row; the sentence says how to get the whole."""
    with pytest.raises(RecordError, match="change_streams_update_full") as caught:
        decode({"id": "1"}, "u", updateDescription={"updatedFields": '{"a": 1}'})
    assert caught.value.reason == "missing_row"


@pytest.mark.parametrize(
    ("key", "after"),
    [
        ({"id": "1"}, "[1]"),
        ({"id": "1"}, "{"),
        ({"id": "1"}, '{"n": {"$numberLong": "x"}}'),
        ({"id": "1"}, '{"n": {"$numberDouble": []}}'),
        ({"id": "1"}, '{"n": {"$date": [1]}}'),
        ({"id": "1"}, '{"n": {"$date": 1e300}}'),
        ({"id": "1"}, '{"n": {"$date": 99999999999999999}}'),
        ({"id": "1"}, '{"n": {"$binary": "?"}}'),
        ({"id": "1"}, '{"n": ' + "[" * 5000 + "]" * 5000 + "}"),
        ({"id": "{"}, '{"_id": 1}'),
        ({"other": "1"}, '{"_id": 1}'),
        ([], '{"_id": 1}'),
        (1, '{"_id": 1}'),
    ],
)
def test_what_is_no_document_is_refused(key: Any, after: str) -> None:
    """As a dead letter, never as a crash."""
    with pytest.raises(RecordError) as caught:
        decode(key, "c", after)
    assert caught.value.reason == "malformed"
