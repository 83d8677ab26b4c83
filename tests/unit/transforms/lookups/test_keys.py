"""Keys to look up are spelt as the looked-up entities spell theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.sharding import shard_of
from tillstream.transforms.api import Lookup
from tillstream.transforms.lookups.keys import LookupKeys

SHARDS = 16


def entities(**kinds: str) -> Any:
    """Return one entity, things, whose key's columns have these types; without any it has no contract."""
    thing = {"topic": "t", "key": list(kinds) or ["id"], "sinks": ["out"]}
    if kinds:
        thing["contract"] = kinds
    config = {
        "client": "shop",
        "source": {"files": {"paths": ["in.jsonl"]}},
        "entities": {"things": thing},
        "sinks": {"out": {"type": "files", "path": "/out"}},
    }
    return ClientConfig.model_validate(config).entities


def read(row: Any, on: str | tuple[str, ...], found: Any) -> Any:
    """Return what a row looks up."""
    return LookupKeys({"thing": Lookup("things", on=on)}, found).read(json.dumps(row).encode())[0]


@pytest.mark.parametrize(
    ("kind", "there", "here"),
    [
        ("int64", 5, 5),
        ("int64", 5, 5.0),
        ("int64", -5, "-5"),
        ("string", "5", 5),
        ("string", "å", "å"),
        ("decimal(10,2)", "1.5", "1.50"),
        ("decimal(10,2)", 1.5, "1.5"),
        ("decimal(10,2)", "-0.0", 0),
        ("uuid", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
    ],
)
def test_a_key_is_found_however_it_is_spelt(kind: str, there: Any, here: Any) -> None:
    """The event's key goes to the shard, and has the value, that the looked-up row's codec gives it."""
    found = entities(id=kind)
    source = {"connector": "postgresql", "lsn": 1, "ts_ms": 1}
    value = json.dumps({"op": "c", "before": None, "after": {"id": there}, "source": source}).encode()
    codec = DebeziumJsonCodec("things", ("id",), SHARDS, found["things"].columns())
    shard, record = codec.decode(None, value, 1)
    key = read({"thing_id": here}, "thing_id", found)
    assert (shard_of("things", key, SHARDS), key) == (shard, record.key)
    assert type(key[0]) is type(record.key[0])


def test_keys_of_several_columns_keep_the_order_of_the_other_entity() -> None:
    """What `on` names first is the first column of the other's key."""
    found = entities(country="string", town="int64")
    assert read({"a": 1, "b": "no"}, ("b", "a"), found) == ("no", 1)
    assert read({"a": None, "b": "no"}, ("b", "a"), found) is None


def test_a_row_that_does_not_say_is_refused() -> None:
    """A column that is missing is no null, and a list is no key."""
    with pytest.raises(
        RecordError, match="found no b in the row, expected the key by which things is looked up"
    ):
        read({"a": 1}, "b", entities())
    with pytest.raises(RecordError, match="expected a row with keys to look up"):
        read({"b": [1]}, "b", entities())
    assert read({"b": "x"}, "b", entities()) == ("x",)
