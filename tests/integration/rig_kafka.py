"""Look behind the Kafka sink, on a broker that is killed and stopped."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from tillstream.configs import KafkaSink
from tillstream.io.sinks import Sink, Writer, sink_class
from tillstream.io.sinks.kafka_producers import Sender
from tillstream.io.sinks.kafka_topics import end_offsets
from tillstream.runners.local import process
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.state import State

from .sink_rigs import ENTITIES, Rig, Seen, replayed

_WAIT_S = 60.0


class Broker:
    """Give tests a broker, and let them take it away and bring it back."""

    def __init__(self, folder: Path) -> None:
        self._stack = LocalStack.open(folder)
        self._stack.up(["kafka"])

    @property
    def address(self) -> str:
        """Return its host and port."""
        return self._stack.addresses.kafka

    def signal(self, number: signal.Signals) -> None:
        """Send the broker's process a signal; a killed one is gone when this returns."""
        known = process.alive(State.load(self._stack.layout).processes["kafka"])
        assert known is not None
        os.kill(known.pid, number)
        if number is signal.SIGKILL:
            known.wait(30)

    def start(self) -> None:
        """Bring the broker back."""
        self._stack.up(["kafka"])

    def remove(self) -> None:
        """Stop the broker for good."""
        self._stack.down(wipe=True)

    def read(self, topic: str) -> list[Message]:
        """Return all committed messages of a topic, partition by partition."""
        admin = AdminClient({"bootstrap.servers": self.address})
        if topic not in admin.list_topics(timeout=_WAIT_S).topics:
            return []
        count = len(admin.list_topics(topic, timeout=_WAIT_S).topics[topic].partitions)
        ends = end_offsets(admin, topic, range(count), _WAIT_S)
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "look",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        try:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in range(count)])
            return _committed(consumer, dict(ends))
        finally:
            consumer.close()


def _committed(consumer: Consumer, ends: dict[int, int]) -> list[Message]:
    waiting = {partition for partition, end in ends.items() if end > 0}
    found: list[Message] = []
    deadline_s = time.monotonic() + _WAIT_S
    while waiting:
        assert time.monotonic() < deadline_s, f"{waiting} have no end"
        for message in consumer.consume(1000, 0.05):
            error = message.error()
            if error is None:
                found.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise AssertionError(error)
            elif message.offset() >= ends[message.partition()]:
                waiting.discard(message.partition())
    return sorted(found, key=lambda message: (message.partition(), message.offset()))


class KafkaRig(Rig):
    """Look behind the Kafka sink: its rows are what replaying its topics gives."""

    _numbers = itertools.count()

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.broker = broker
        self.prefix = f"t{next(self._numbers)}"
        self._monkeypatch = monkeypatch
        for name in ("kafka", "kafka_producers"):
            logger = logging.getLogger(f"tillstream.io.sinks.{name}")
            monkeypatch.setattr(logger, "handlers", [Seen(self.refused_once)])

    def sink(self, *, retry_s_max: int = 60, writer: Writer | None = None, **model: Any) -> Sink:
        """Return a sink that writes topics of one partition, so that what it wrote has one order."""
        fields = {"bootstrap_servers": self.broker.address, "topic_prefix": self.prefix, "partitions": 1}
        fields |= {"type": "kafka", "retry_s_max": retry_s_max, **model}
        return sink_class("kafka")("sink", "acme", KafkaSink.model_validate(fields), ENTITIES, writer)

    def rows(self, entity: str) -> list[tuple[Any, ...]]:
        """Replay the topic of an entity."""
        return replayed(entity, self._lines(entity))

    def log(self, entity: str) -> list[int] | None:
        """Return the offsets that committed messages tell."""
        return [line["_offset"] for line in self._lines(entity)]

    def letters(self) -> list[dict[str, Any]]:
        """Return what the compacted topic of dead letters ends in."""
        found = self.broker.read(f"{self.prefix}.tillstream_dead_letters")
        return list({message.key(): orjson.loads(message.value()) for message in found}.values())

    def take_away(self) -> None:
        """Kill the broker."""
        self.broker.signal(signal.SIGKILL)

    def bring_back(self) -> None:
        """Start it again."""
        self.broker.start()

    def hold(self) -> None:
        """Stop the broker in its tracks."""
        self.broker.signal(signal.SIGSTOP)

    def let_go(self) -> None:
        """Let the broker go on."""
        self.broker.signal(signal.SIGCONT)

    def die_before_commit(self) -> None:
        """Kill the broker when all messages are there, and start it again."""
        commit = Sender.commit

        def crash(sender: Sender, timeout_s: float) -> None:
            self._monkeypatch.setattr(Sender, "commit", commit)
            self.take_away()
            self.bring_back()
            commit(sender, timeout_s)

        self._monkeypatch.setattr(Sender, "commit", crash)

    def _lines(self, entity: str) -> list[dict[str, Any]]:
        return [_line(message) for message in self.broker.read(f"{self.prefix}.{entity}")]


def _line(message: Message) -> dict[str, Any]:
    if message.value() is not None:
        line: dict[str, Any] = orjson.loads(message.value())
        return line
    told = {name: value.decode() for name, value in message.headers()}
    key: dict[str, Any] = orjson.loads(message.key())
    return {**told, **key, "_offset": int(told["_offset"]), "_index": int(told["_index"])}
