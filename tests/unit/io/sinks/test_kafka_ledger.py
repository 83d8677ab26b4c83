"""Every shard has one writer and one place in the ledger topic."""

from __future__ import annotations

import orjson
import pytest

from tillstream.io.sinks.base import Writer
from tillstream.io.sinks.kafka_ledger import Layout, LedgerTopic, partitions_for
from tillstream.io.sinks.ledger import Entry, Stream


@pytest.mark.parametrize(("shards", "parallelism"), [(1, 1), (16, 3), (100, 8)])
def test_each_shard_has_one_writer(shards: int, parallelism: int) -> None:
    """The shards of all subtasks together are all shards, each once."""
    layout = Layout.of("acme", "lake", "ledger", Writer(1, shards, parallelism, 128))
    spread = [shard for subtask in range(parallelism) for shard in layout.shards_of(subtask)]
    assert spread == list(range(shards))


def test_writers_of_other_jobs_have_other_names() -> None:
    """Client, sink, ledger and layout tell transactional ids apart; the generation does not."""
    writer = Writer(1, 16, 2, 128)
    same = [Layout.of("acme", "lake", "a", each) for each in (writer, writer._replace(generation=2))]
    assert same[0].transactional_id(0) == same[1].transactional_id(0)
    others = [
        Layout.of("globex", "lake", "a", writer),
        Layout.of("acme", "pond", "a", writer),
        Layout.of("acme", "lake", "b", writer),
        Layout.of("acme", "lake", "a", writer._replace(shards=4)),
        Layout.of("acme", "lake", "a", writer._replace(parallelism=4)),
        Layout.of("acme", "lake", "a", writer._replace(max_parallelism=4)),
    ]
    prefixes = {layout.prefix for layout in (same[0], *others)}
    assert len(prefixes) == 1 + len(others)


@pytest.mark.parametrize("shards", [1, 4, 32, 1024])
def test_announcements_have_a_partition_of_their_own(shards: int) -> None:
    """No open transaction of rows holds up who looks for other writers."""
    layout = Layout.of("acme", "lake", "ledger", Writer(1, shards, 1, 1024))
    ledger = LedgerTopic(partitions_for(shards), layout, {})
    places = {ledger.partition(shard) for shard in range(shards)}
    assert places == set(range(partitions_for(shards) - 1))
    assert ledger.announcement("w")[:2] == (partitions_for(shards) - 1, b"acme/lake/@w")


def test_a_record_names_stream_entry_and_writer() -> None:
    """What lies in the topic can be read by a person."""
    ledger = LedgerTopic(5, Layout.of("acme", "lake", "ledger", Writer(1, 4, 1)), {})
    entry = Entry(1, 7, 4, {"t/0": (3, 0)}, {})
    partition, key, value = ledger.record(Stream("orders", 3), entry, "w")
    assert (partition, key) == (3, b"acme/lake/orders/3")
    line = orjson.loads(value)
    assert (line["writer"], line["partitions"], orjson.loads(line["entry"])["sequence"]) == ("w", 5, 7)
