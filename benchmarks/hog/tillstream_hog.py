"""Take a whole processor, or all memory: what careless code does, for `benchmarks.neighbours`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.api import transform

_SPIN_S = 0.05
_BITE = 16 << 20  # bytes


@transform("hog.events@1.0.0")
class Hog(beam.DoFn):
    """Compute for a while, record by record, and give the row back."""

    def process(self, event: ChangeEvent) -> Iterator[dict[str, object] | None]:
        """Spin."""
        end_s = time.process_time() + _SPIN_S
        while time.process_time() < end_s:
            pass
        yield event.after


@transform("hog.memory@1.0.0")
class Glutton(beam.DoFn):
    """Take memory for each record until there is no more."""

    def process(self, event: ChangeEvent) -> list[dict[str, object] | None]:
        """Swell."""
        held = [event.after]
        while True:
            held.append({"all": b"x" * _BITE})
