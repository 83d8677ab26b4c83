"""Messages that are no change of a row are read in Avro too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.corpus.conformance.connect_avro import body
from tests.registry_server import RegistryServer
from tests.unit.io.codecs.avro_messages import PLAIN, event, message
from tillstream.configs import ClientConfig
from tillstream.io.codecs.avro_values import json_of
from tillstream.io.collector import ChangeCollector
from tillstream.io.transactions import TransactionReader
from tillstream.pipelines.errors import RecordError, UnavailableError
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch
from tillstream.pipelines.transactions import Ended

COLLECTION = {
    "type": "record",
    "name": "Collection",
    "fields": [{"name": "data_collection", "type": "string"}, {"name": "event_count", "type": "long"}],
}
TOLD = {
    "type": "record",
    "name": "TransactionMetadataValue",
    "fields": [
        {"name": "status", "type": "string"},
        {"name": "id", "type": "string"},
        {"name": "event_count", "type": ["null", "long"]},
        {"name": "data_collections", "type": ["null", {"type": "array", "items": COLLECTION}]},
    ],
}
END = {
    "status": "END",
    "id": "700:9",
    "event_count": 3,
    "data_collections": [{"data_collection": "public.orders", "event_count": 3}],
}


@pytest.fixture
def config() -> Iterator[ClientConfig]:
    """Yield a client whose transactions arrive whole, and whose registry knows two schemas."""
    with RegistryServer({1: json.dumps(TOLD), 2: "no schema"}) as server:
        events = {"format": "debezium_avro", "schema_registry": {"urls": [server.url]}}
        yield ClientConfig.model_validate(
            {
                "client": "acme",
                "source": {"kafka": {"bootstrap_servers": "b:9092"}, "events": events},
                "entities": {
                    "orders": {
                        "topic": "acme.public.orders",
                        "key": ["id"],
                        "contract": {"id": "int64"},
                        "sinks": ["db"],
                    }
                },
                "sinks": {"db": {"type": "postgres", "host": "h", "database": "d", "user": "u"}},
                "delivery": {"atomicity": "transaction"},
            }
        )


def test_the_end_of_a_transaction_is_read(config: ClientConfig) -> None:
    """It says the same as in JSON."""
    reader = TransactionReader(config)
    reader.end("acme.transaction", 0, b"\0\0\0\0\1" + body(TOLD, END))
    (share,) = reader.flush()
    assert share.ended == (Ended("700", {"orders": 3}, 0),)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "malformed"),
        (b"{}", "malformed"),
        (b"\0\0\0\0\1", "malformed"),
        (b"\0\0\0\0\2", "unsupported_schema"),
        (b"\0\0\0\0\3", "unknown_schema"),
    ],
)
def test_what_cannot_be_read_says_why(config: ClientConfig, value: bytes, reason: str) -> None:
    """Each has its reason; an event that was refused and cannot be read names no transaction."""
    with pytest.raises(RecordError) as raised:
        json_of(config)(value)
    assert raised.value.reason == reason
    reader = TransactionReader(config)
    reader.refuse("orders", "acme.public.orders", value)
    assert list(reader.flush()) == []


class Message(NamedTuple):
    """Stand in for confluent_kafka's."""

    body: bytes

    def value(self) -> bytes:
        """Return what it holds."""
        return self.body

    def key(self) -> bytes | None:
        """Return None: it has none."""
        return None

    def offset(self) -> int:
        """Return some place."""
        return 7


def test_a_poll_becomes_batches_that_declare_their_columns_and_dead_letters() -> None:
    """A message whose schema nobody knows does not hold up those beside it."""
    with RegistryServer({1: json.dumps(PLAIN)}) as server:
        collector = ChangeCollector(plain_config(server.url))
        values = [message(1, PLAIN, event()), b"\0\0\0\0\x09", message(1, PLAIN, event(op="u"))]
        collector.add("acme.public.orders", 0, [Message(value) for value in values])
        (_, frame), letters = collector.flush()
    batch = ChangeBatch.decode(frame)
    assert batch.schema == (("id", "int64"),)
    assert [record.operation.value for record in batch.records] == ["c", "u"]
    assert [letter.reason for letter in DeadLetterBatch.decode(letters.value).letters] == ["unknown_schema"]


def test_an_outage_of_the_registry_makes_no_dead_letter() -> None:
    """The poll fails as a whole, so that the job restarts and reads it again."""
    with RegistryServer({}) as server:
        collector = ChangeCollector(plain_config(server.url))
    with pytest.raises(UnavailableError, match=r"schema registry at 127\.0\.0\.1"):
        collector.add("acme.public.orders", 0, [Message(message(1, PLAIN, event()))])
    assert list(collector.flush()) == []


def plain_config(url: str) -> ClientConfig:
    """Return a client that reads Avro, and does not wait for its registry."""
    events = {"format": "debezium_avro", "schema_registry": {"urls": [url], "retry_s_max": 0}}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}, "events": events},
            "entities": {"orders": {"topic": "acme.public.orders", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "out"}},
        }
    )
