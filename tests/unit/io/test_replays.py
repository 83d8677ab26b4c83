"""What a person gives back is read from its topic, and keeps its first place."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.io.replays import ReplayMessage
from tillstream.io.sources.choosing import partitions_of
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch, Operation, Replay

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
        "sinks": {"out": {"type": "files", "path": "out"}},
    }
)
ROW = {"id": 7, "note": "x"}
SOURCE = {"connector": "postgresql", "ts_ms": 5, "sequence": '["3","4"]'}
VALUE = json.dumps({"op": "u", "after": ROW, "source": SOURCE}).encode()
MESSAGE = ReplayMessage(
    "abc", "replay", "t", 2, 40, "write", "orders", 1, "out", "acme.x@1.0.1", 9, 8, b'{"id":7}', VALUE
)


class Message:
    """Be a message of Kafka."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        """Return what it holds."""
        return self._value

    def offset(self) -> int:
        """Return its place."""
        return 11


def read(value: bytes, config: ClientConfig = CONFIG) -> list[Any]:
    """Return what the collector makes of a message of the replay topic."""
    collector = ChangeCollector(config)
    collector.add("tillstream.acme.replay", 0, [Message(value)])
    return [
        DeadLetterBatch.decode(found.value).letters[0]
        if isinstance(found, TaggedOutput)
        else ChangeBatch.decode(found[1])
        for found in collector.flush()
    ]


def test_the_event_comes_back_at_its_first_place() -> None:
    """It is decoded as at first, for the shard of its key, and says through what it came."""
    collector = ChangeCollector(CONFIG)
    collector.add_line(
        "f", 1, json.dumps({"op": "u", "after": ROW, "source": {**SOURCE, "name": "t"}}).encode()
    )
    (batch,) = read(MESSAGE.encode())
    (record,) = batch.records
    assert (batch.entity, batch.topic, batch.partition, record.offset) == ("orders", "t", 2, 40)
    assert (record.position, record.source_time_us, record.key) == ((0, 4, 1, 4), 5000, (7,))
    assert batch.replay == Replay(
        *("abc", "replay", "orders", "write", 1, "out", "acme.x@1.0.1", 9, 8),
        *("tillstream.acme.replay", 0, 11),
    )


def test_an_event_that_declares_its_columns_does_so_again() -> None:
    """Else an evolving contract would type them by their values."""
    row = {"type": "struct", "fields": [{"type": "int64", "field": "id"}], "field": "after"}
    payload = {"op": "u", "after": {"id": 7}, "source": SOURCE}
    value = json.dumps({"schema": {"type": "struct", "fields": [row]}, "payload": payload}).encode()
    (batch,) = read(msgspec.structs.replace(MESSAGE, value=value).encode())
    assert batch.schema == (("id", "int64"),)


def test_headers_come_back_with_their_event() -> None:
    """In some formats they have its position."""
    source = {**CONFIG.model_dump(by_alias=True)["source"], "events": {"format": "flattened"}}
    source["events"]["delete_tombstone_handling_mode"] = "rewrite"
    config = ClientConfig.model_validate({**CONFIG.model_dump(by_alias=True), "source": source})
    message = msgspec.structs.replace(MESSAGE, value=b'{"id":7}', headers=(("__lsn", b"9"), ("__op", None)))
    (batch,) = read(message.encode(), config)
    assert batch.records[0].position == (0, 9, 2, 9)


def test_a_change_that_only_its_letter_knows_comes_back_too() -> None:
    """Same shard, same place, same order as of the event itself."""
    saved = msgspec.structs.replace(
        MESSAGE,
        value=None,
        payload=b'{"op":"u","before":null,"after":%b}' % json.dumps(ROW).encode(),
        position=(0, 4, 1, 4),
        source_time_us=5000,
    )
    (whole,), (batch,) = read(MESSAGE.encode()), read(saved.encode())
    assert batch.shard == whole.shard
    (record,) = batch.records
    assert record == msgspec.structs.replace(whole.records[0], operation=Operation.UPDATE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": b"{"}, "malformed"),
        ({"topic": "gone"}, "unknown_topic"),
        ({"value": None, "payload": b"{}"}, "malformed"),
        ({"value": None, "payload": b'{"op":"u"}', "key": b"{}"}, "malformed"),
    ],
)
def test_what_still_cannot_be_read_is_a_letter_of_its_first_place(changes: dict[str, Any], said: str) -> None:
    """The letter is one of the attempt."""
    (letter,) = read(msgspec.structs.replace(MESSAGE, **changes).encode())
    assert (letter.reason, letter.offset, letter.attempt, letter.entity) == (said, 40, 9, "orders")


@pytest.mark.parametrize("value", [b"", b"{", b"[]", msgspec.structs.replace(MESSAGE, version=2).encode()])
def test_what_is_no_replay_is_a_letter_of_the_replay_topic(value: bytes) -> None:
    """Whoever wrote it finds it there."""
    (letter,) = read(value)
    assert (letter.reason, letter.topic, letter.offset) == ("malformed", "tillstream.acme.replay", 11)


def test_messages_of_this_version_stay_readable() -> None:
    """A message that waits in the topic is read by every later release."""
    text = (
        '{"letter":"abc","action":"replay","topic":"t","partition":2,"offset":40,"step":"transform",'
        f'"value":{json.dumps(__import__("base64").b64encode(VALUE).decode())},"version":1}}'
    )
    (batch,) = read(text.encode())
    assert (batch.records[0].offset, batch.replay.letter, batch.replay.entity) == (40, "abc", "")


def test_the_replay_topic_is_read_where_it_exists() -> None:
    """Beside the entities' topics, once, also where a source names its topics."""
    counts = {"t": 1, "other": 1, "tillstream.acme.replay": 1}
    assert partitions_of(CONFIG, counts) == [("t", 0), ("tillstream.acme.replay", 0)]
    assert partitions_of(CONFIG, {"t": 1}) == [("t", 0)]
    named = CONFIG.model_copy(
        update={"dead_letters": CONFIG.dead_letters.model_copy(update={"replay_topic": "r"})}
    )
    assert partitions_of(named, {**counts, "r": 1}) == [("r", 0), ("t", 0)]
