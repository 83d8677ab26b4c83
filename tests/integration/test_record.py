"""Fixtures are recorded from Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.testing import Table, load_fixture, stream
from tillstream.transforms.testing.envelopes import envelope

from .rig_kafka import Broker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TOPIC = "recorded.public.people"
PEOPLE = Table("people", key="id")
CONFIG = """
client: recorded
source:
  kafka: {{bootstrap_servers: "{address}"}}
entities:
  people:
    topic: recorded.public.people
    key: [id]
    contract:
      id: int64
      name: {{type: string, pii: name}}
    sinks: [out]
sinks:
  out: {{type: files, path: out}}
"""


@pytest.fixture
def config(broker: Broker, tmp_path: Path) -> Path:
    """Return the config of a client whose topic holds nine changes, and a tombstone, in two partitions."""
    settings = {"bootstrap.servers": broker.address}
    admin = AdminClient(settings)
    (made,) = admin.create_topics([NewTopic(TOPIC, 2, 1)]).values()
    made.result(30)
    producer = Producer(settings)
    for number, event in enumerate(
        stream(*[PEOPLE.created({"id": i, "name": f"Ann {i}", "secret": "x"}) for i in range(9)])
    ):
        producer.produce(
            TOPIC, envelope(event, TOPIC), b'{"id":%d}' % number, number % 2, timestamp=1000 + number
        )
    producer.produce(TOPIC, None, b'{"id":8}', 0, timestamp=2000)
    assert producer.flush(30) == 0
    path = tmp_path / "recorded.yaml"
    path.write_text(CONFIG.format(address=broker.address))
    return path


def test_events_of_all_partitions_come_in_the_order_of_their_time(config: Path) -> None:
    """The oldest, or the newest; names are hidden, what no contract has is left out, tombstones are none."""
    found = {}
    for option in ("--force", "--newest"):
        out = config.with_name(f"people{option}.jsonl")
        arguments = ["transforms", "record", str(config), "people", "--out", str(out), "--count", "4", option]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "4 events of people" in done.output
        assert "Ann" not in out.read_text()
        assert "secret" not in out.read_text()
        found[option] = [event.key["id"] for event in load_fixture(out)]
    assert found == {"--force": [0, 1, 2, 3], "--newest": [5, 6, 7, 8]}
