"""What a connector tells of itself is counted and passed over."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.io.service_topics import ServiceTopics

ENTITY = {"key": ["id"], "sinks": ["out"]}


def client(*topics: str, **more: Any) -> ClientConfig:
    """Return a client whose entities have these topics."""
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092", "topics": ["^.*"]}},
            "entities": {f"e{number}": {**ENTITY, "topic": topic} for number, topic in enumerate(topics)},
            "sinks": {"out": {"type": "files", "path": "out"}},
            **more,
        }
    )


class Message:
    """Be what the collector needs of a message."""

    def __init__(self, value: bytes | None) -> None:
        self._value = value

    def value(self) -> bytes | None:
        """Return the value."""
        return self._value

    def key(self) -> None:
        """Return no key."""

    def offset(self) -> int:
        """Return an offset."""
        return 7


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("__debezium-heartbeat.shop", "heartbeat"),
        ("shop", "schema_change"),
        ("shop.transaction", "transaction"),
        ("shop.message", "message"),
        ("mssql.db", "schema_change"),
        ("tillstream.acme.notifications", "notification"),
        ("tillstream.acme.signals", "signal"),
        ("shop.public", None),
        ("shop.public.others", None),
        ("other.message", None),
        ("message", None),
    ],
)
def test_topics_are_told_by_their_names(topic: str, kind: str | None) -> None:
    """The prefix is that of an entity's topic, and a table's topic is never taken for another."""
    topics = ServiceTopics(client("shop.public.orders", "mssql.db.dbo.orders", "plain"))
    assert topics.kind_of(topic) == kind


@pytest.mark.parametrize("value", [b'{"ts_ms":1}', b"not json", b"\xff", b"[" * 50_000, b"\0\0\0\0\1x", None])
@pytest.mark.parametrize("topic", ["__debezium-heartbeat.shop", "shop", "shop.transaction", "shop.message"])
def test_nothing_in_them_becomes_a_dead_letter(topic: str, value: bytes | None) -> None:
    """Whatever they hold goes by, also where tables are frozen."""
    collector = ChangeCollector(client("shop.public.orders", schema_evolution={"tables": "freeze"}))
    collector.add(topic, 0, [Message(value)])
    assert list(collector.flush()) == []


def test_a_table_that_nobody_knows_still_does() -> None:
    """A topic that may be a table's is no service topic."""
    collector = ChangeCollector(client("shop.public.orders"))
    collector.add("shop.public.others", 0, [Message(b"{}")])
    assert len(list(collector.flush())) == 1


def test_an_entity_s_topic_is_its_own() -> None:
    """An entity that names the topic of messages gets what is in it."""
    collector = ChangeCollector(client("shop.public.orders", "shop.message"))
    collector.add("shop.message", 0, [Message(b"not json")])
    assert len(list(collector.flush())) == 1
