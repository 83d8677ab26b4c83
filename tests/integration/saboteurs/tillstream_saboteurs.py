"""Break, one at a time, what exactly-once rests on: imported also by the job's own processes."""

from __future__ import annotations

import os

import apache_beam as beam

from tillstream.io.stable_input import StableInputParDo
from tillstream.io.write_mutations import WriteMutationsOnce


class WriteWithoutLedger(WriteMutationsOnce):
    """Write what comes, as if no batch could come twice."""

    def setup(self) -> None:
        """Open the sinks without saying who writes: they keep no ledger then."""
        self._writer = None
        super().setup()


class ScatterBatches(beam.PTransform):
    """Give a shard's batches to any writer."""

    def __init__(self, write: beam.DoFn) -> None:
        super().__init__()
        self._write = write

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Replace each batch's key by a random one."""
        return (
            batches
            | "Scatter" >> beam.Map(_scatter).with_output_types(beam.typehints.Tuple[bytes, bytes])
            | "Write" >> StableInputParDo(self._write).with_output_types(bytes)
        )


def _scatter(element: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    return os.urandom(8), element[1]
