"""Versions that are asked for come from outside of the job: what they raise is a letter's matter."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import pytest

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import (
    ChangeEvent,
    Mutation,
)
from tillstream.transforms.api import transform

from .job import BAD, Job, config


class Broken(beam.DoFn):
    """Raise outside of `process`; by the name of the method."""

    raises = ""

    def __init__(self) -> None:
        self._fail("__init__")

    def _fail(self, place: str) -> None:
        if place == self.raises:
            raise (RecordError("ours", "not ours") if place == "start_bundle" else SystemExit(f"no {place}"))

    def setup(self) -> None:
        """Raise or not."""
        self._fail("setup")

    def start_bundle(self) -> None:
        """Raise or not."""
        self._fail("start_bundle")

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Pass the row on."""
        assert event.after is not None
        yield event.upsert({**event.after, "by": 2})

    def finish_bundle(self) -> None:
        """Raise or not."""
        self._fail("finish_bundle")

    def teardown(self) -> None:
        """Raise whatever came before."""
        raise ValueError


BROKEN = [
    transform(f"acme.priced@2.0.{patch}")(type(f"Broken{patch}", (Broken,), {"raises": place}))
    for patch, place in enumerate(["__init__", "setup", "start_bundle", "finish_bundle"])
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.raises)
def test_a_version_that_cannot_be_set_up_opens_the_letter_anew(broken: type[Broken]) -> None:
    """Each time: nothing of it is kept, the job goes on, and so do other versions."""
    job = Job(config(), *BROKEN)
    job.events(BAD)
    chosen = f"acme.priced@2.0.{BROKEN.index(broken)}"
    for attempt in (5, 6):
        given = job.replay(1, BAD, attempt=attempt, seen=attempt - 1, transform=chosen)
        assert given[-1] == (1, "transform_failed")
    letter = job.letters.popitem()[1]
    assert (letter.attempt, letter.transform) == (6, chosen)
    assert letter.traceback is not None
    assert "_fail" in letter.traceback
    job.stage.finish_bundle()
    job.stage.start_bundle()
    assert job.replay(1, BAD, attempt=9, seen=6) == [(1, "XXX'"), (1, "replayed")]
    job.stage.teardown()
