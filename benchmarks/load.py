"""Fill a topic with Debezium's change events, the same ones for the same figures."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

__all__ = ["COLUMNS", "CUSTOMERS", "KEYS", "PEOPLE", "Load", "events_of", "fill"]

KEYS = 50_000
CUSTOMERS = 9_973
# Columns of the rows in order, with their types in a contract and in Postgres.
COLUMNS = {
    "order_id": ("int64", "bigint"),
    "customer_id": ("int64", "bigint"),
    "status": ("string", "text"),
    "total": ("decimal(12,2)", "numeric(12,2)"),
    "version": ("int64", "bigint"),
}
# Columns of personal data that rows have beside those, where they are asked for.
PEOPLE = {"email": ("string", "text"), "phone": ("string", "text")}
_SEED = 20_260_101
_DEADLINE_S = 60.0
_STATUSES = (b"placed", b"paid", b"packed", b"shipped", b"delivered")
_ENVELOPE = (
    b'{"before":null,"after":{"order_id":%d,"customer_id":%d,"status":"%s","total":"%d.%02d","version":%d},'
    b'"source":{"connector":"postgresql","name":"bench","ts_ms":%d,'
    b'"snapshot":"false","db":"shop","sequence":"[\\"%d\\",\\"%d\\"]","schema":"public","table":"orders",'
    b'"txId":%d,"lsn":%d},"transaction":null,"op":"%s","ts_ms":%d}'
)


@dataclass(frozen=True)
class Load:
    """Describe a full topic, and what a table of it must show.

    Attributes:
        topic: its name.
        partitions: of it.
        events: how many it holds.
        value_bytes: size of all values.
        rows: distinct keys.
        version_sum: sum of the last version of each key.
    """

    topic: str
    partitions: int
    events: int
    value_bytes: int
    rows: int
    version_sum: int


def events_of(events: int, keys: int = KEYS, *, people: bool = False) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (order, key, value) of each event; a key's first event is a create, the others updates."""
    chance = random.Random(_SEED)  # noqa: S311  (repeatable on purpose)
    known: set[int] = set()
    for version in range(1, events + 1):
        order = chance.randrange(keys)
        op = b"u" if order in known else b"c"
        known.add(order)
        at_ms, lsn = 1_760_000_000_000 + version, 24_000_000_000 + version * 64
        status, cents = _STATUSES[version % len(_STATUSES)], version * 37 % 100_000
        row = (order, order % CUSTOMERS, status, cents // 100, cents % 100, version)
        value = _ENVELOPE % (*row, at_ms, lsn - 8, lsn, version, lsn, op, at_ms + 5)
        if people:
            # Those of its customer.
            more = b'"email":"customer%d@example.com","phone":"+49170%08d","status":' % (row[1], row[1])
            value = value.replace(b'"status":', more, 1)
        yield order, b'{"order_id":%d}' % order, value


def fill(servers: str, events: int, partitions: int, keys: int = KEYS, *, people: bool = False) -> Load:
    """Fill the topic of these figures, unless it is full already, and return what it holds.

    Raises:
        RuntimeError: if the topic holds another number of events, as an interrupted run leaves it.
    """
    topic = f"bench.public.orders_{events}_{partitions}_{keys}{'_people' if people else ''}"
    _create(servers, topic, partitions)
    found = _count(servers, topic, partitions)
    if found not in (0, events):
        raise RuntimeError(f"topic {topic}: found {found} events, expected {events}: delete it and run again")
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 20, "queue.buffering.max.messages": 200_000}
    )
    value_bytes, last = 0, {}
    for version, (order, key, value) in enumerate(events_of(events, keys, people=people), start=1):
        value_bytes += len(value)
        last[order] = version
        if not found:
            _produce(producer, topic, key, value)
    if producer.flush(_DEADLINE_S):
        raise RuntimeError(f"topic {topic}: the broker did not take all events in {_DEADLINE_S:.0f} s")
    return Load(topic, partitions, events, value_bytes, len(last), sum(last.values()))


def _produce(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        try:
            return producer.produce(topic, value, key=key)
        except BufferError:
            producer.poll(0.1)


def _create(servers: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    if topic not in admin.list_topics(timeout=_DEADLINE_S).topics:
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(_DEADLINE_S)


def _count(servers: str, topic: str, partitions: int) -> int:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench-count"})
    try:
        return sum(_size(consumer, TopicPartition(topic, number)) for number in range(partitions))
    finally:
        consumer.close()


def _size(consumer: Consumer, partition: TopicPartition) -> int:
    end_s = time.monotonic() + _DEADLINE_S
    while True:
        try:
            first, end = consumer.get_watermark_offsets(partition, timeout=_DEADLINE_S)
            return int(end - first)
        except KafkaException:  # a new partition has no leader yet
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)
