"""Take a whole processor: what a client's careless code does, for `benchmarks.neighbours`."""

from __future__ import annotations

import time
from collections.abc import Iterator

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.api import transform

_SPIN_S = 0.05


@transform("hog.events@1.0.0")
class Hog(beam.DoFn):
    """Compute for a while, record by record, and give the row back."""

    def process(self, event: ChangeEvent) -> Iterator[dict[str, object] | None]:
        """Spin."""
        end_s = time.process_time() + _SPIN_S
        while time.process_time() < end_s:
            pass
        yield event.after
