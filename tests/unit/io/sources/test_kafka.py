"""Reading a partition: from the offset that is asked for, and only when there is something."""

from __future__ import annotations

import time
from typing import Any

import confluent_kafka
import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LAUNCH_VARIABLE, LaunchParameters
from tillstream.io.read_changes import ReadChanges, Ticks, _encode_tick, encode_offset
from tillstream.io.sources.kafka import KafkaReader

CONFIG: dict[str, Any] = {
    "client": "a",
    "source": {"kafka": {"bootstrap_servers": "b:9092"}},
    "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
    "sinks": {"out": {"type": "files", "path": "/out"}},
}


class Message:
    """Be a record of topic `t`."""

    def __init__(self, partition: int, offset: int) -> None:
        self._at = partition, offset

    def topic(self) -> str:
        """Return its topic."""
        return "t"

    def partition(self) -> int:
        """Return its partition."""
        return self._at[0]

    def offset(self) -> int:
        """Return its offset."""
        return self._at[1]

    def error(self) -> None:
        """Return None: it is a record."""


class Broker:
    """Stand for librdkafka's consumer, and what it has fetched."""

    fetched: list[Message]
    settings: dict[str, Any]

    def __init__(self, settings: dict[str, Any], logger: Any = None) -> None:  # noqa: ARG002
        type(self).fetched, type(self).settings = [], settings

    def incremental_assign(self, partitions: list[Any]) -> None:
        """Take note of nothing."""

    def list_topics(self, timeout: float) -> Any:  # noqa: ARG002
        """Return one topic of two partitions."""
        topic = type("Topic", (), {"partitions": {0: None, 1: None}, "error": None})
        return type("Metadata", (), {"topics": {"t": topic}})

    def consume(self, count: int, timeout: float) -> list[Message]:  # noqa: ARG002
        """Return what was fetched."""
        found = self.fetched
        type(self).fetched = []
        return found

    def close(self) -> None:
        """End."""


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in the consumer's place."""
    monkeypatch.setattr(confluent_kafka, "Consumer", Broker)


def config(**kafka: int) -> ClientConfig:
    """Return a client with some settings of its source."""
    source = {"kafka": {"bootstrap_servers": "b:9092", **kafka}}
    return ClientConfig.model_validate({**CONFIG, "source": source})


def test_a_partition_is_drained_when_this_process_reads_it_and_nothing_has_come() -> None:
    """What is found by looking is taken later, from its offset on."""
    reader = KafkaReader(config().kafka, "a", "group")
    assert not reader.is_drained(("t", 0), 0.0)
    assert reader.take(("t", 0), 5, 0.0) == []
    assert reader.is_drained(("t", 0), 0.0)
    Broker.fetched = [Message(0, 5), Message(0, 6)]
    assert not reader.is_drained(("t", 0), 0.0)
    assert [each.offset() for each in reader.take(("t", 0), 5, 0.0)] == [5, 6]
    assert reader.is_drained(("t", 0), 0.0)


def test_what_was_taken_before_tells_nothing() -> None:
    """After a restart the job's state may be at an earlier offset than the reader."""
    reader = KafkaReader(config().kafka, "a", "group")
    reader.take(("t", 0), 5, 0.0)
    assert not reader.is_drained(("t", 0), time.monotonic())


def test_quiet_partitions_get_no_ticks() -> None:
    """An idle job runs its first stage alone; those that others may poll get theirs."""
    ticks = Ticks(config())
    ticks.setup()
    try:
        assert len(list(ticks.process(b""))) == 2
        ticks._session.take(("t", 0), 0)
        assert len(list(ticks.process(b""))) == 1
        Broker.fetched = [Message(0, 0)]
        assert len(list(ticks.process(b""))) == 2
    finally:
        ticks.teardown()


@pytest.mark.parametrize(("poll_ms", "wait_ms"), [(50, 50), (200, 200), (5000, 500)])
def test_an_idle_reader_asks_as_often_as_it_is_polled(poll_ms: int, wait_ms: int) -> None:
    """But twice a second, so that a new partition need not wait."""
    KafkaReader(config(poll_interval_ms=poll_ms).kafka, "a", "group")
    assert Broker.settings["fetch.wait.max.ms"] == wait_ms
    # Else each record comes by itself.
    assert Broker.settings["fetch.min.bytes"] > 1


def test_published_offsets_name_their_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for one launch must not take another one's for it."""
    published: list[tuple[int, str]] = []

    def commit(_: Broker, offsets: list[Any], asynchronous: bool) -> None:  # noqa: FBT001
        assert asynchronous
        published.extend((each.offset, each.metadata) for each in offsets)

    monkeypatch.setattr(Broker, "commit", commit, raising=False)
    monkeypatch.setenv(LAUNCH_VARIABLE, LaunchParameters(7, 1).encode())
    KafkaReader(config().kafka, "a", "group").publish({("t", 0): 5})
    assert published == [(5, "7")]


def test_the_first_poll_says_where_reading_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing has come: nothing is read again then. Later ones say what they have read."""
    published: list[dict[tuple[str, int], int]] = []
    read = ReadChanges(config())
    read.setup()
    try:
        monkeypatch.setattr(read._session.reader, "publish", published.append)
        state = type("State", (), {"read": lambda _: encode_offset(5), "write": lambda *_: None})()
        for tick_ms in (1 << 50, 1 << 51):
            assert list(read.process((b"key", _encode_tick(("t", 0, tick_ms))), state)) == []
    finally:
        read.teardown()
    assert published == [{("t", 0): 5}, {}]
