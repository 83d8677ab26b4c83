"""What the Kafka sink does beyond what all sinks do."""

from __future__ import annotations

import base64
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from tillstream.io.sinks import Sink, Writer
from tillstream.io.sinks.kafka_groups import Group
from tillstream.io.sinks.kafka_producers import Sender
from tillstream.pipelines.errors import SinkError, SinkUnavailableError, StaleWriterError

from .rig_kafka import Broker, KafkaRig
from .sink_rigs import ENTITIES, batch, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ONE, TWO, THREE = (1, "new", "1.00"), (2, "new", "2.00"), (3, "new", "3.00")
WRITER = Writer(1, 4, 2)
FIRST = {"generation": 1, "first": 1}


@pytest.fixture
def kafka(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> KafkaRig:
    """Return the sink's rig, on topics of its own."""
    return KafkaRig(broker, monkeypatch)


@pytest.fixture
def opened(kafka: KafkaRig) -> Iterator[Callable[..., Sink]]:
    """Return a function that opens a sink with some fields of its config."""
    sinks: list[Sink] = []

    def open_sink(**model: Any) -> Sink:
        sink = kafka.sink(**model)
        sink.open()
        sinks.append(sink)
        return sink

    yield open_sink
    for sink in sinks:
        sink.close()


@pytest.fixture
def admin(broker: Broker) -> AdminClient:
    """Return what changes topics."""
    return AdminClient({"bootstrap.servers": broker.address})


def done(futures: dict[Any, Any]) -> None:
    """Wait until the broker has done what it was asked for."""
    for future in futures.values():
        future.result(30)


def test_messages_say_what_changed(kafka: KafkaRig, opened: Callable[..., Sink]) -> None:
    """Key and value are JSON; a delete is a tombstone that carries its origin in headers."""
    written(opened(), [batch("stock", ("a", 1, 5), (1, "a"), offset=7)])
    upsert, delete = kafka.broker.read(f"{kafka.prefix}.stock")
    assert orjson.loads(upsert.key()) == orjson.loads(delete.key()) == {"store": 1, "sku": "a"}
    assert orjson.loads(upsert.value()) == {
        "_op": "upsert",
        "_source_time_us": 1_760_000_000_000_007,
        "_topic": "acme.public.stock",
        "_partition": 0,
        "_offset": 7,
        "_index": 0,
        "sku": "a",
        "store": 1,
        "on_hand": 5,
    }
    assert delete.value() is None
    assert (dict(delete.headers())["_op"], dict(delete.headers())["_offset"]) == (b"delete", b"8")


def test_a_key_keeps_its_partition_and_order(kafka: KafkaRig, opened: Callable[..., Sink]) -> None:
    """Over several partitions each key's changes are in one, in their order."""
    sink = opened(partitions=4, writer=WRITER)
    for sequence in range(1, 6):
        rows = [(key, f"{sequence}", "1.00") for key in range(20)]
        written(sink, [batch("orders", *rows, offset=100 * sequence, sequence=sequence, **FIRST)])
    found = kafka.broker.read(f"{kafka.prefix}.orders")
    places: dict[bytes, set[int]] = {}
    states: dict[bytes, list[str]] = {}
    for message in found:
        places.setdefault(message.key(), set()).add(message.partition())
        states.setdefault(message.key(), []).append(orjson.loads(message.value())["status"])
    assert set(map(len, places.values())) == {1}
    assert len(set().union(*places.values())) == 4
    assert list(states.values()) == [["1", "2", "3", "4", "5"]] * 20


def test_a_commit_whose_answer_is_lost_is_not_repeated(
    kafka: KafkaRig, opened: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is not known whether a transaction was committed, the ledger tells."""
    sink = opened(writer=WRITER)
    written(sink, [batch("orders", ONE, sequence=1, **FIRST)])
    commit = Sender.commit

    def lose(sender: Sender, timeout_s: float) -> None:
        monkeypatch.setattr(Sender, "commit", commit)
        commit(sender, timeout_s)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "lost"))

    monkeypatch.setattr(Sender, "commit", lose)
    written(sink, [batch("orders", TWO, offset=1, sequence=2, **FIRST)])
    written(sink, [batch("orders", THREE, offset=2, sequence=3, **FIRST)])
    assert kafka.log("orders") == [0, 1, 2]


def test_a_writer_that_was_only_slow_goes_on(
    kafka: KafkaRig, opened: Callable[..., Sink], broker: Broker
) -> None:
    """A fence without a successor that wrote, as after a transaction that timed out, is no reason to die."""
    sink = opened(writer=WRITER)
    written(sink, [batch("orders", ONE, sequence=1, **FIRST)])
    identity = next(key for _, key in Group._all if "-p2k128s4-0" in key)
    other = Sender({"bootstrap.servers": broker.address}, [1_000_000], identity)
    other.begin(30)
    written(sink, [batch("orders", TWO, offset=1, sequence=2, **FIRST)])
    assert kafka.log("orders") == [0, 1]


ZOMBIE = """
import sys
sys.path.insert(0, {tests!r})
from integration.sink_rigs import ENTITIES, batch, written
from tillstream.configs import KafkaSink
from tillstream.io.sinks import Writer, sink_class
from tillstream.pipelines.errors import StaleWriterError
model = KafkaSink.model_validate({model!r})
sink = sink_class("kafka")("sink", "acme", model, ENTITIES, Writer(1, 4, 2))
sink.open()
written(sink, [batch("orders", (1, "new", "1.00"), sequence=1, generation=1, first=1)])
print("wrote", flush=True)
sys.stdin.readline()
try:
    written(sink, [batch("orders", (2, "zombie", "2.00"), offset=1, sequence=2, generation=1, first=1)])
except StaleWriterError as error:
    print("stale", error, flush=True)
"""


def test_a_leftover_process_is_fenced(
    kafka: KafkaRig, opened: Callable[..., Sink], request: pytest.FixtureRequest
) -> None:
    """A process that wakes up after its successor wrote the same batch dies, and leaves no trace."""
    model = {"type": "kafka", "bootstrap_servers": kafka.broker.address, "topic_prefix": kafka.prefix}
    program = ZOMBIE.format(tests=str(request.config.rootpath / "tests"), model={**model, "partitions": 1})
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zombie:
        assert zombie.stdin is not None
        assert zombie.stdout is not None
        assert zombie.stdout.readline() == "wrote\n"
        sink = opened(writer=WRITER)
        written(sink, [batch("orders", ONE, sequence=1, **FIRST)])
        written(sink, [batch("orders", TWO, offset=1, sequence=2, **FIRST)])
        zombie.stdin.write("go on\n")
        zombie.stdin.flush()
        said = zombie.stdout.readline()
        zombie.stdin.close()
    assert said.startswith("stale tillstream-acme-sink-")
    written(sink, [batch("orders", THREE, offset=2, sequence=3, **FIRST)])
    assert kafka.log("orders") == [0, 1, 2]
    assert kafka.rows("orders") == [ONE, TWO, THREE]


def test_a_leftover_of_another_parallelism_is_fenced_before_it_commits(
    kafka: KafkaRig, opened: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has begun its first transaction, and stands nowhere but in its announcement."""
    zombie = opened(writer=Writer(1, 4, 1))
    commits: list[bool] = []
    commit = Sender.commit

    def overtaken(sender: Sender, timeout_s: float) -> None:
        commits.append(True)
        if len(commits) == 2:  # the first is the announcement's
            successor = opened(writer=WRITER)
            written(successor, [batch("orders", ONE, sequence=1, **FIRST)])
        commit(sender, timeout_s)

    monkeypatch.setattr(Sender, "commit", overtaken)
    with pytest.raises(StaleWriterError):
        written(zombie, [batch("orders", ONE, sequence=1, **FIRST)])
    assert kafka.log("orders") == [0]


def test_a_row_too_large_becomes_a_dead_letter(
    kafka: KafkaRig, opened: Callable[..., Sink], admin: AdminClient
) -> None:
    """What its topic does not take is refused, also where the limit came down while the sink was open."""
    sink = opened(writer=WRITER)
    written(sink, [batch("orders", ONE, sequence=1, **FIRST)])
    entry = ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(ResourceType.TOPIC, f"{kafka.prefix}.orders", incremental_configs=[entry])
    done(admin.incremental_alter_configs([topic]))
    # No compression helps it.
    noise = base64.b64encode(random.Random(7).randbytes(6000)).decode()  # noqa: S311
    rows = [TWO, (9, noise, "1.00"), *((number, noise[:900], "1.00") for number in range(20, 40))]
    letters = written(sink, [batch("orders", *rows, offset=10, sequence=2, **FIRST)])
    assert [letter.offset for letter in letters] == [11]
    assert "expected at most 4800: max.message.bytes of its topic" in letters[0].detail
    assert kafka.log("orders") == [0, 10, *range(12, 32)]


def test_a_ledger_that_forgets_is_refused(
    kafka: KafkaRig, opened: Callable[..., Sink], admin: AdminClient
) -> None:
    """A ledger topic that is there already must be compacted."""
    done(admin.create_topics([NewTopic(f"{kafka.prefix}.tillstream_ledger", 5, 1)]))
    with pytest.raises(SinkError, match=r"tillstream_ledger: found cleanup.policy delete, expected compact"):
        opened(writer=WRITER)


def test_a_ledger_that_was_repartitioned_is_refused(
    kafka: KafkaRig, opened: Callable[..., Sink], admin: AdminClient
) -> None:
    """Its entries would not be found again, and so written twice."""
    sink = opened(writer=WRITER)
    written(sink, [batch("orders", ONE, sequence=1, **FIRST)])
    sink.close()
    done(admin.create_partitions([NewPartitions(f"{kafka.prefix}.tillstream_ledger", 9)]))
    with pytest.raises(SinkError, match="found 9 partitions, expected 5"):
        written(opened(writer=WRITER), [batch("orders", ONE, sequence=1, **FIRST)])


def test_a_broker_that_is_not_there_is_named(kafka: KafkaRig) -> None:
    """After bounded retries the error names the address and what to check."""
    sink = kafka.sink(retry_s_max=0, bootstrap_servers="127.0.0.1:1")
    with pytest.raises(SinkUnavailableError, match=r"from Kafka at 127.0.0.1:1 within 0 s: .*: check that"):
        sink.open()


def test_topics_are_as_the_config_says(
    opened: Callable[..., Sink], kafka: KafkaRig, admin: AdminClient
) -> None:
    """Rows' topics get the partitions that are asked for; the ledger's may be named."""
    opened(partitions=3, ledger_topic=f"{kafka.prefix}-own", writer=WRITER)
    topics = admin.list_topics(timeout=30).topics
    assert {len(topics[f"{kafka.prefix}.{entity}"].partitions) for entity in ENTITIES} == {3}
    assert len(topics[f"{kafka.prefix}-own"].partitions) == 5
    assert f"{kafka.prefix}.tillstream_ledger" not in topics
