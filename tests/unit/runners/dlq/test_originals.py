"""Events are read again where they were, or found to be gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError, TopicPartition

from tillstream.runners.dlq.originals import _read


class Message:
    """Be a message, or the end of a partition."""

    def __init__(self, offset: int | None) -> None:
        self._offset = offset

    def error(self) -> Any:
        """Return the error that stands for the end."""
        return None if self._offset is not None else KafkaError(KafkaError._PARTITION_EOF)

    def offset(self) -> int:
        """Return its place."""
        assert self._offset is not None
        return self._offset

    def key(self) -> bytes:
        """Return its key."""
        return b"k"

    def value(self) -> bytes | None:
        """Return its value; the thirteenth is a tombstone."""
        return None if self._offset == 13 else b"%d" % self.offset()

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return its headers; the twelfth has one."""
        return [("op", b"c")] if self._offset == 12 else None


class Consumer:
    """Hold a topic `t` whose partition 0 has some offsets."""

    def __init__(self, *offsets: int) -> None:
        self._offsets = offsets
        self._at = 0
        self.assigned: list[int] = []

    def list_topics(self, timeout: float) -> Any:
        """Return what the cluster holds."""
        del timeout
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions={0: None})})

    def get_watermark_offsets(self, partition: TopicPartition, timeout: float) -> tuple[int, int]:
        """Return the bounds of what is held."""
        del partition, timeout
        return self._offsets[0], self._offsets[-1] + 1

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Go somewhere."""
        self._at = partitions[0].offset
        self.assigned.append(self._at)

    def poll(self, timeout: float) -> Message:
        """Return the next message."""
        del timeout
        left = [offset for offset in self._offsets if offset >= self._at]
        self._at = left[0] + 1 if left else self._at
        return Message(left[0] if left else None)


def test_events_are_found_or_gone() -> None:
    """Deleted and compacted ones, tombstones, and unknown topics and partitions are gone."""
    consumer = Consumer(10, 12, 13, 14, 9000)
    wanted = [("t", 0, offset) for offset in (9000, 5, 10, 11, 12, 13, 14, 9001)]
    found = _read(consumer, sorted([*wanted, ("t", 1, 10), ("u", 0, 10)]))
    assert {place: each[:2] for place, each in found.items()} == {
        ("t", 0, offset): (b"k", b"%d" % offset) for offset in (10, 12, 14, 9000)
    }
    assert {place[2]: each.headers for place, each in found.items() if each.headers} == {12: (("op", b"c"),)}


def test_events_that_lie_together_are_read_in_one_go() -> None:
    """Going somewhere else costs a request."""
    consumer = Consumer(*range(20), 9000)
    _read(consumer, [("t", 0, offset) for offset in (1, 2, 7, 9000)])
    assert consumer.assigned == [1, 9000]
