"""Rows are never merged under another key than the source's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import codec_for
from tillstream.io.collector import ChangeCollector
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch

ROW = {"id": 1, "region": "eu", "amount": 5}


def client(*, keys: str = "discard_row", **entity: Any) -> ClientConfig:
    """Return a client whose sales are keyed by id."""
    sales = {"topic": "t.public.sales", "key": ["id"], "sinks": ["out"], **entity}
    return ClientConfig.model_validate(
        {
            "client": "keyed",
            "source": {"kafka": {"bootstrap_servers": "127.0.0.1:1"}},
            "entities": {"sales": sales},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "schema_evolution": {"keys": keys},
        }
    )


def event(op: str = "u") -> bytes:
    """Return an envelope of the row."""
    source = {"connector": "postgresql", "name": "t", "schema": "public", "table": "sales"}
    source |= {"ts_ms": 1000, "sequence": '["5","5"]'}
    return json.dumps({"op": op, "before": None, "after": ROW, "source": source}).encode()


def wrapped(key: dict[str, Any]) -> bytes:
    """Return a key with its schema, as JsonConverter writes one."""
    kinds = {int: "int64", str: "string"}
    fields = [{"field": name, "type": kinds[type(value)], "optional": False} for name, value in key.items()]
    return json.dumps({"schema": {"type": "struct", "fields": fields}, "payload": key}).encode()


def plain(key: dict[str, Any]) -> bytes:
    """Return a key without its schema."""
    return json.dumps(key).encode()


@pytest.mark.parametrize("spelt", [plain, wrapped])
@pytest.mark.parametrize(
    ("entity_key", "key"),
    [
        (["id"], {"id": 1, "region": "eu"}),
        (["id", "region"], {"id": 1}),
        (["id"], {"region": "eu"}),
        (["id"], {"order_id": 1}),
    ],
)
def test_a_key_of_other_columns_is_refused(spelt: Any, entity_key: list[str], key: dict[str, Any]) -> None:
    """More columns would make several rows one, fewer or others leave rows behind; the row may have them."""
    codec = codec_for(client(key=entity_key), "sales")
    with pytest.raises(
        RecordError, match=r"message's key of \(.*\), expected the entity's key \(.*ignore"
    ) as told:
        codec.decode(spelt(key), event(), 1)
    assert told.value.reason == "key_changed"


@pytest.mark.parametrize("spelt", [plain, wrapped])
def test_who_keys_by_other_columns_on_purpose_says_so(spelt: Any) -> None:
    """Columns that the message's key lacks are taken from the row."""
    codec = codec_for(client(message_key="ignore"), "sales")
    for key in ({"id": 1, "region": "eu"}, {"region": "eu"}, {"order_id": 7}, {"id": 1}):
        assert codec.decode(spelt(key), event(), 1)[1].key == (1,)


@pytest.mark.parametrize("key", [None, b"", b"17", b'"1"', b"{}", b"not json"])
def test_messages_without_columns_in_their_key_are_keyed_by_their_row(key: bytes | None) -> None:
    """There is nothing that could differ."""
    assert codec_for(client(), "sales").decode(key, event(), 1)[1].key == (1,)


def test_the_order_of_a_keys_columns_is_the_configs() -> None:
    """Messages may have them in another."""
    codec = codec_for(client(key=["region", "id"]), "sales")
    assert codec.decode(plain({"id": 1, "region": "eu"}), event(), 1)[1].key == ("eu", 1)


class Message:
    """Be what the collector needs of a Kafka message."""

    def __init__(self, key: dict[str, Any], offset: int) -> None:
        self._key, self._offset = plain(key), offset

    def key(self) -> bytes:
        """Return the key."""
        return self._key

    def value(self) -> bytes:
        """Return an event."""
        return event()

    def offset(self) -> int:
        """Return the offset."""
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of time, and milliseconds."""
        return 1, 1000


def test_a_changed_key_leaves_dead_letters_and_the_rest_goes_on() -> None:
    """Those of before and after the change are delivered."""
    collector = ChangeCollector(client())
    keys = [{"id": 1}, {"id": 1, "region": "eu"}, {"id": 1}]
    collector.add("t.public.sales", 0, [Message(key, at) for at, key in enumerate(keys)])
    batch, letters = collector.flush()
    assert isinstance(batch, tuple)
    assert [record.offset for record in ChangeBatch.decode(batch[1]).records] == [0, 2]
    (letter,) = DeadLetterBatch.decode(letters.value).letters  # type: ignore[union-attr]
    assert (letter.reason, letter.entity, letter.offset) == ("key_changed", "sales", 1)


def test_a_changed_key_stops_the_job_where_keys_are_frozen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names client, entity and both keys."""
    monkeypatch.setenv(FLIGHTS_VARIABLE, str(tmp_path))
    collector = ChangeCollector(client(keys="freeze"))
    with pytest.raises(
        SchemaFrozenError, match=r"'keyed', entity 'sales': found .*\(id, region\).* is freeze"
    ):
        collector.add("t.public.sales", 0, [Message({"id": 1, "region": "eu"}, 0)])
