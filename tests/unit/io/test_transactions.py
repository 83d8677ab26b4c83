"""The reading stage tells where transactions end, and of events that it could not read."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS, ChangeCollector
from tillstream.io.sources.choosing import partitions_of
from tillstream.io.transactions import warn_of_missing
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch
from tillstream.pipelines.transactions import GATHERED, TRANSACTIONS, Ended, Share

TOPIC = "acme.transaction"


def config(atomicity: str = "transaction") -> ClientConfig:
    """Return a client of two tables."""
    entities = {
        name: {"topic": f"acme.public.{topic}", "key": ["id"], "sinks": ["out"]}
        for name, topic in (("orders", "orders"), ("odd", "odd_name"))
    }
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": entities,
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "delivery": {"atomicity": atomicity},
        }
    )


class Message:
    """Stand in for a message of Kafka."""

    def __init__(self, value: Any, offset: int = 0) -> None:
        self._value = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        self._offset = offset

    def key(self) -> bytes | None:
        """Return none."""
        return None

    def value(self) -> bytes | None:
        """Return the value."""
        return self._value

    def offset(self) -> int:
        """Return its place."""
        return self._offset

    def headers(self) -> None:
        """Return none."""


def told(topic: str, *values: Any, atomicity: str = "transaction") -> tuple[list[Share], list[Any]]:
    """Return shares, and reason and detail of dead letters, that messages become."""
    collector = ChangeCollector(config(atomicity))
    collector.add(topic, 3, [Message(value, n) for n, value in enumerate(values)])
    shares, letters = [], []
    for each in collector.flush():
        if isinstance(each, TaggedOutput) and each.tag == TRANSACTIONS:
            key, frame = each.value
            assert key == GATHERED
            shares.append(Share.decode(frame))
        elif isinstance(each, TaggedOutput) and each.tag == DEAD_LETTERS:
            letters += [(x.reason, x.detail) for x in DeadLetterBatch.decode(each.value).letters]
    return shares, letters


def end(name: str, **counts: int) -> dict[str, Any]:
    """Return an END as Debezium writes it."""
    collections = [{"data_collection": f"public.{table}", "event_count": n} for table, n in counts.items()]
    return {"status": "END", "id": name, "event_count": sum(counts.values()), "data_collections": collections}


def event(op: str = "c", **changes: Any) -> dict[str, Any]:
    """Return an event as Debezium writes it."""
    source = {"connector": "postgresql", "ts_ms": 1, "lsn": 5, "sequence": '["4","5"]'}
    block = {"id": "7:99", "total_order": 2, "data_collection_order": 1}
    return {"op": op, "after": {"id": 1}, "source": source, "transaction": block, **changes}


def test_ends_are_told_in_order() -> None:
    """Without a connector's own tables, without begins, with and without schema around them."""
    begin = {"status": "BEGIN", "id": "7:90"}
    wrapped = {"schema": {}, "payload": end("8:95", **{"odd name": 2})}
    shares, letters = told(TOPIC, begin, end("7:93", orders=2, others=5), end("9:97", others=1), wrapped)
    assert letters == []
    assert shares == [Share(TOPIC, ended=(Ended("7", {"orders": 2}, 3), Ended("8", {"odd": 2}, 3)))]


@pytest.mark.parametrize("value", [b"{", b"\xff", {"status": "END"}, {"status": "MIDDLE", "id": "7"}, b""])
def test_what_tells_nothing_becomes_a_dead_letter(value: Any) -> None:
    """Whoever wrote it there may be asked why."""
    shares, letters = told(TOPIC, value)
    assert shares == []
    assert [reason for reason, _ in letters] == ["malformed"]


def test_refused_events_count() -> None:
    """A transaction does not wait for what became a dead letter, where it can be told whose it was."""
    shares, letters = told("acme.public.orders", event(op="?"), {"payload": event(after=None)}, b"{")
    assert len(letters) == 3
    assert shares == [Share(TOPIC, "orders", ("7",), ((2, 2),))]


def test_records_tell_their_transaction_where_it_is_asked_for() -> None:
    """Row by row nobody reads it. The number behind the colon is that of the one event."""
    found = {}
    for atomicity in ("transaction", "row"):
        collector = ChangeCollector(config(atomicity))
        collector.add("acme.public.orders", 0, [Message(event())])
        ((_, frame),) = [each for each in collector.flush() if isinstance(each, tuple)]
        found[atomicity] = ChangeBatch.decode(frame).records[0].transaction
    assert found == {"transaction": ("7", 2), "row": None}


def test_the_topic_is_read_where_it_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Its absence is said, once there are tables' topics."""
    counts = {"acme.public.orders": 2, TOPIC: 1}
    assert (TOPIC, 0) in partitions_of(config(), counts)
    assert (TOPIC, 0) not in partitions_of(config("row"), counts)
    with caplog.at_level(logging.WARNING):
        warn_of_missing(config(), counts)
        warn_of_missing(config(), {})
        warn_of_missing(config("row"), ["acme.public.orders"])
        assert caplog.text == ""
        warn_of_missing(config(), ["acme.public.orders"])
    assert "found no topic acme.transaction" in caplog.text
