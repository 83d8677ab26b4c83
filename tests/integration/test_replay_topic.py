"""Events are read again from a broker, and given back through a topic of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tillstream.configs import ClientConfig
from tillstream.io.replays import ReplayMessage
from tillstream.io.sinks.letter_store import open_store
from tillstream.pipelines.records import DeadLetter
from tillstream.runners.dlq import give_back

from .rig_kafka import Broker

pytestmark = pytest.mark.integration

LETTER = DeadLetter("acme", "orders", "write", "refused_by_sink", "", "events", 0, 0, sink="out")


def test_letters_are_sent_in_order_with_their_events(broker: Broker, tmp_path: Path) -> None:
    """What is gone, or too large for the topic, is refused by name; the others follow each other."""
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": broker.address}},
            "entities": {"orders": {"topic": "events", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": str(tmp_path)}},
        }
    )
    admin = AdminClient({"bootstrap.servers": broker.address})
    settings = {"max.message.bytes": "4000000"}
    (made,) = admin.create_topics([NewTopic("events", 1, 1, config=settings)]).values()
    made.result()
    producer = Producer({"bootstrap.servers": broker.address, "message.max.bytes": 4_000_000})
    large = os.urandom(1_200_000)
    for value in (b"gone", b"first", b"not asked for", large, b"last"):
        producer.produce("events", value, key=b"k")
        producer.flush(30)
    (deleted,) = admin.delete_records([TopicPartition("events", 0, 1)]).values()
    deleted.result()

    store = open_store(config)
    store.write_dead_letters([msgspec.structs.replace(LETTER, offset=offset) for offset in (4, 3, 1, 0)])
    letters = store.find("")
    outcome = give_back.replay(config, letters)
    refused = {each.letter.offset: outcome.refused.get(each.id, "") for each in letters}
    assert "no longer holds offset 0" in refused[0]
    assert "raise that topic's max.message.bytes" in refused[3]
    assert [refused[1], refused[4]] == ["", ""]
    assert len(outcome.sent) == 2
    messages = [
        msgspec.json.decode(message.value() or b"", type=ReplayMessage)
        for message in broker.read("tillstream.acme.replay")
    ]
    assert [(each.offset, each.key, each.value) for each in messages] == [
        (1, b"k", b"first"),
        (4, b"k", b"last"),
    ]
    assert {(each.action, each.step, each.sink, each.seen) for each in messages} == {
        ("replay", "write", "out", 0)
    }
    assert {each.attempt for each in messages} == set(outcome.sent.values())
    assert json.loads(messages[0].encode())["version"] == 1
    store.close()
