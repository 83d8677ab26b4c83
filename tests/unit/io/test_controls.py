"""Control messages reach every shard, and what is none of them stays a replay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.io.controls import ControlMessage, read_control, starts_of
from tillstream.pipelines.records import ChangeBatch, DeadLetter, Operation

PLACE = ("tillstream.acme.replay", 0, 7)
MESSAGE = ControlMessage("sweep", "orders", "r1", (0, 50, 0, 50), 9, (3, 4))
# As the first release wrote it.
FIRST_FORM = (
    b'{"control":"sweep","entity":"orders","id":"r1","position":[0,50,0,50],"source_time_us":9,'
    b'"starts":[3,4],"version":1}'
)


@pytest.fixture
def config() -> ClientConfig:
    """Return a client of three shards."""
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:1"}},
            "entities": {"orders": {"topic": "acme.public.orders", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "flink": {"shards": 3},
        }
    )


def read(config: ClientConfig, value: bytes) -> list[ChangeBatch]:
    """Return the batches of a message that is one."""
    found = read_control(config, PLACE, value)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("value", [MESSAGE.encode(), FIRST_FORM])
def test_every_shard_gets_the_message(config: ClientConfig, value: bytes) -> None:
    """A batch for each shard holds a truncate at the position, and why it comes."""
    found = read(config, value)
    assert [batch.shard for batch in found] == [0, 1, 2]
    for batch in found:
        (record,) = batch.records
        assert (record.operation, record.position, record.source_time_us) == (
            Operation.TRUNCATE,
            (0, 50, 0, 50),
            9,
        )
        assert (batch.topic, batch.partition, record.offset) == PLACE
        assert batch.replay is not None
        assert batch.replay.action == "sweep"
        assert starts_of(batch.replay) == (3, 4)


def test_what_is_written_is_the_first_form() -> None:
    """Jobs of the first release read what this one writes."""
    assert MESSAGE.encode() == FIRST_FORM


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"version": 2}, "version 2, expected 1"),
        ({"entity": "nothing"}, "found entity 'nothing', expected one with a topic"),
        ({"control": "burn"}, "Invalid enum value 'burn'"),
    ],
)
def test_what_cannot_be_followed_is_a_dead_letter(
    config: ClientConfig, changed: dict[str, Any], said: str
) -> None:
    """A message of another release, of an unknown entity or of unknown meaning says so."""
    found = read_control(config, PLACE, json.dumps({**json.loads(FIRST_FORM), **changed}).encode())
    assert isinstance(found, DeadLetter)
    assert said in found.detail


def test_replays_are_left_alone(config: ClientConfig) -> None:
    """A message that is no control message is read as a replay."""
    assert read_control(config, PLACE, b'{"letter": "x"}') is None


class Message:
    """Be a message of Kafka."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def offset(self) -> int:
        """Return where it lies."""
        return 7

    def value(self) -> bytes:
        """Return what it says."""
        return self._value


def test_the_reader_gives_it_out(config: ClientConfig) -> None:
    """What comes through the replay topic leaves the reader as a frame for each shard."""
    collector = ChangeCollector(config)
    collector.add("tillstream.acme.replay", 0, [Message(FIRST_FORM)])
    frames = [each for each in collector.flush() if isinstance(each, tuple)]
    assert [ChangeBatch.decode(frame).shard for _, frame in frames] == [0, 1, 2]
