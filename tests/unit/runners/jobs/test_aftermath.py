"""What an undone version has left is looked for once the one of before has read again what there was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.capture import following
from tillstream.runners.jobs import aftermath
from tillstream.runners.jobs.aftermath import caught_up, look_after
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob

from .cluster import chosen


class Follower:
    """Follow a job that is read to the end at once, unless there is a fault."""

    fault: Exception | None = None
    generations: list[int | None]

    def __init__(self, *_: object) -> None:
        type(self).generations = []

    def ends(self, topic: str) -> dict[tuple[str, int], int]:
        """Return one partition."""
        if self.fault is not None:
            raise self.fault
        return {(topic, 0): 3}

    def await_read(
        self, ends: Mapping[Any, int], until_s: float, turn: Callable[[], None], generation: int | None = None
    ) -> None:
        """Take note of whose offsets count."""
        assert (dict(ends), until_s > 0) == ({("t", 0): 3}, True)
        turn()
        self.generations.append(generation)

    def await_checkpoint(self, *_: object) -> None:
        """Return at once."""

    def close(self) -> None:
        """Return at once."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClientConfig:
    """Return a client whose job is not there."""
    monkeypatch.setattr(following, "JobFollower", Follower)
    return chosen(tmp_path).load()


def test_what_the_undone_version_has_read_does_not_count(config: ClientConfig) -> None:
    """Its offsets are at the end of a quiet topic, before anything was read again."""
    assert caught_up(config, 7, 1)
    assert Follower.generations == [7]


@pytest.mark.parametrize(
    "fault",
    [
        confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)),
        UnavailableError("gone"),
    ],
)
def test_a_far_side_that_does_not_answer_spoils_no_roll_back(
    config: ClientConfig, monkeypatch: pytest.MonkeyPatch, fault: Exception, tmp_path: Path
) -> None:
    """It went well: only what is left cannot be told, and how to ask again is."""
    monkeypatch.setattr(Follower, "fault", fault)
    monkeypatch.setattr(aftermath, "leftovers", lambda *_: pytest.fail("looked too early"))
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(tmp_path))
    lines: list[str] = []
    entry = Entry("rollback", "done", generation=7)
    found = look_after(ClientJob(config, lines.append), config, entry, ("", ""), 1)
    assert found == {"leftovers": None, "letters": None}
    assert "rollback acme --leftovers" in lines[0]
