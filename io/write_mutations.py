"""Write mutation batches and dead letters through a client's sinks: the last stages of every pipeline."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.io.sinks import Sink, open_sink
from tillstream.pipelines.records import DeadLetter, DeadLetterBatch, MutationBatch

__all__ = ["WriteDeadLetters", "WriteMutations"]

# Bounds memory where a bundle is a whole bounded input.
_BUFFERED_MUTATIONS_MAX = 50_000


class WriteMutations(beam.DoFn):
    """Write each bundle's mutations, one transaction a sink.

    Input: (shard key, MutationBatch frame), a shard's batches in order. Output: dead letters for rows that
    a sink refuses.

    Delivery guarantees:
        At-least-once: what was written since the last checkpoint is written again after a restart, in the
        same order of each key. Sinks that write by key end in the same rows.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._written = Metrics.counter("tillstream", "mutations_written")

    def setup(self) -> None:
        """Open the sinks that entities name."""
        self._sinks: dict[str, Sink] = {}
        self._routes = {name: entity.sinks for name, entity in self._config.entities.items()}
        for name in sorted({sink for route in self._routes.values() for sink in route}):
            self._sinks[name] = open_sink(self._config, name)

    def start_bundle(self) -> None:
        """Start with nothing buffered: what a failed bundle left belongs to its replay."""
        self._buffered: dict[str, list[MutationBatch]] = {name: [] for name in self._sinks}
        self._mutations = 0

    def process(self, element: tuple[bytes, bytes]) -> Iterator[TaggedOutput]:
        """Buffer a batch for each of its sinks; write when many have gathered."""
        batch = MutationBatch.decode(element[1])
        for name in self._routes[batch.entity]:
            self._buffered[name].append(batch)
        self._mutations += len(batch.records)
        if self._mutations >= _BUFFERED_MUTATIONS_MAX:
            letters = self._write()
            if letters:
                yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(letters)).encode())

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        """Write what is buffered."""
        letters = self._write()
        if letters:
            frame = DeadLetterBatch(tuple(letters)).encode()
            window = GlobalWindow()
            yield TaggedOutput(DEAD_LETTERS, WindowedValue(frame, window.max_timestamp(), [window]))

    def teardown(self) -> None:
        """Close the sinks."""
        for sink in self._sinks.values():
            sink.close()

    def _write(self) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for name, batches in self._buffered.items():
            if batches:
                letters += self._sinks[name].write(batches)
                self._buffered[name] = []
        self._written.inc(self._mutations)
        self._mutations = 0
        return letters


class WriteDeadLetters(beam.DoFn):
    """Write each bundle's dead letters into the client's own store.

    Input: DeadLetterBatch frames.

    Delivery guarantees:
        At-least-once; the store keeps one letter for each identity (topic, partition, offset, index, step).
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._count = Metrics.counter("tillstream", "dead_letters")

    def setup(self) -> None:
        """Open the store."""
        self._sink = open_sink(self._config, self._config.dead_letter_sink)

    def start_bundle(self) -> None:
        """Start with nothing buffered."""
        self._letters: list[DeadLetter] = []

    def process(self, frame: bytes) -> tuple[()]:
        """Buffer the letters of one frame."""
        self._letters.extend(DeadLetterBatch.decode(frame).letters)
        return ()

    def finish_bundle(self) -> None:
        """Write what is buffered."""
        if self._letters:
            self._sink.write_dead_letters(self._letters)
            self._count.inc(len(self._letters))

    def teardown(self) -> None:
        """Close the store."""
        self._sink.close()
