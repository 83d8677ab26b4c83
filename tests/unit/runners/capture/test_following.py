"""A job is followed by the offsets that it publishes and the checkpoints that it completes."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import confluent_kafka
import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.capture import following
from tillstream.runners.capture.following import JobFollower


class Rest:
    """Be Flink: a job that completes one more checkpoint at each look."""

    url = "http://flink"
    last: ClassVar[Rest]

    def __init__(self, _: str) -> None:
        Rest.last = self
        self.ids = ["j1"]
        self.newest = 7
        self.completed = 5

    def running(self, _: str) -> list[str]:
        """Return the ids of the jobs that run."""
        return self.ids

    def checkpoints(self, _: str) -> dict[str, Any]:
        """Return what Flink's REST interface does."""
        self.completed += 1
        return {
            "history": [{"id": self.newest}, {"id": 3}],
            "latest": {"completed": {"id": self.completed}},
        }


class Consumer:
    """Be a client that knows a group's offsets."""

    metadata = "1"

    def __init__(self, _: dict[str, Any]) -> None:
        self.offset = 0

    def committed(self, partitions: list[Any], timeout: float) -> list[Any]:  # noqa: ARG002
        """Return the offsets of partitions, one further each time."""
        self.offset += 1
        return [
            confluent_kafka.TopicPartition(each.topic, each.partition, self.offset, self.metadata)
            for each in partitions
        ]


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> JobFollower:
    """Return a follower of a job that does not exist."""
    monkeypatch.setattr(following, "FlinkRest", Rest)
    monkeypatch.setattr(confluent_kafka, "Consumer", Consumer)
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:1"}},
            "entities": {"orders": {"topic": "acme.public.orders", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )
    return JobFollower(config, {})


def test_a_checkpoint_that_had_begun_before_does_not_count(follower: JobFollower) -> None:
    """Its barrier may have passed a shard before what is waited for."""
    turns: list[int] = []
    follower.await_checkpoint(time.monotonic() + 5, lambda: turns.append(1))
    assert len(turns) == 1  # looks find 7, which had begun, and 8
    assert Rest.last.completed == 8


def test_offsets_are_waited_for(follower: JobFollower) -> None:
    """A partition without messages is read to its end from the beginning."""
    turns: list[int] = []
    follower.await_read({("t", 0): 3, ("t", 1): 0}, time.monotonic() + 5, lambda: turns.append(1))
    assert len(turns) == 2


@pytest.mark.parametrize("metadata", ["", "1", "of another tool"])
def test_offsets_of_an_earlier_launch_do_not_count(
    follower: JobFollower, monkeypatch: pytest.MonkeyPatch, metadata: str
) -> None:
    """They are at the end already, whatever the job has still to read again."""
    monkeypatch.setattr(Consumer, "metadata", metadata)
    turns: list[int] = []

    def turn() -> None:
        turns.append(1)
        if len(turns) == 4:
            Consumer.metadata = "2"

    follower.await_read({("t", 0): 1}, time.monotonic() + 5, turn, 2)
    assert len(turns) == 4


def test_what_did_not_happen_is_said(follower: JobFollower) -> None:
    """The error names the job, and what it did not do."""
    with pytest.raises(StackError, match=r"job j1 did not read t in time"):
        follower.await_read({("t", 0): 99}, time.monotonic() - 1, lambda: None)


def test_a_job_that_ends_meanwhile_is_noticed(follower: JobFollower) -> None:
    """Nobody waits for a job that is not there."""
    Rest.last.ids = []
    with pytest.raises(UserError, match="found no job of it at http://flink"):
        follower.await_read({("t", 0): 99}, time.monotonic() + 5, lambda: None)
