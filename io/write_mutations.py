"""Write mutation batches and dead letters through a client's sinks: the last stages of every pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from tillstream.configs import ClientConfig
from tillstream.io.sinks import Sink, Writer, open_sink
from tillstream.io.sinks.letters import letter_id
from tillstream.io.sinks.older_contract import ContractOfNow
from tillstream.io.sinks.unavailable import whole_rows
from tillstream.pipelines.isolation.budget import ErrorBudget
from tillstream.pipelines.records import DeadLetter, DeadLetterBatch, MutationBatch
from tillstream.pipelines.transactions import batches_of

__all__ = ["WriteDeadLetters", "WriteMutations", "WriteMutationsOnce"]

# Bounds memory where a bundle is a whole bounded input.
_BUFFERED_MUTATIONS_MAX = 50_000


class WriteMutations(beam.DoFn):
    """Write each bundle's mutations, one transaction a sink.

    Input: (shard key, MutationBatch frame), a shard's batches in order; or (GATHERED, MutationUnit frame) in
    order. Output: nothing; rows that a sink
    refuses go to the client's store of dead letters before the others are committed. Dead letters that a
    batch settles are marked there once all of its sinks have it.

    Delivery guarantees:
        At-least-once: what was written since the last checkpoint is written again after a restart, in the
        same order of each key. Sinks that write by key end in the same rows.

    Args:
        config: the client's.
        writer: who writes; None where batches are not numbered.
    """

    def __init__(self, config: ClientConfig, writer: Writer | None = None) -> None:
        self._config = config
        self._writer = writer
        self._written = Metrics.counter("tillstream", "mutations_written")
        self._refused = Metrics.counter("tillstream", "mutations_refused")

    def setup(self) -> None:
        """Open the sinks that entities name, and the store of dead letters."""
        self._sinks: dict[str, Sink] = {}
        self._routes = {name: entity.sinks for name, entity in self._config.entities.items()}
        for name in sorted({sink for route in self._routes.values() for sink in route}):
            self._sinks[name] = open_sink(self._config, name, self._writer)
        self._contract = ContractOfNow(self._config.entities)
        self._letters: Sink | None = None

    def start_bundle(self) -> None:
        """Start with nothing buffered: what a failed bundle left belongs to its replay."""
        self._buffered: dict[str, list[MutationBatch]] = {name: [] for name in self._sinks}
        self._mutations = 0
        self._settled: dict[str, DeadLetter] = {}

    def process(self, element: tuple[bytes, bytes]) -> tuple[()]:
        """Buffer a frame's batches for each of their sinks; write when many have gathered."""
        for batch in batches_of(element[1]):
            self._buffer(batch)
        self._write_many()
        return ()

    def finish_bundle(self) -> None:
        """Write what is buffered."""
        self._write()

    def teardown(self) -> None:
        """Close the sinks."""
        for sink in self._sinks.values():
            sink.close()
        if self._letters is not None:
            self._letters.close()

    def _buffer(self, batch: MutationBatch) -> None:
        batch = self._contract.of(batch)
        only = batch.only_sinks
        letters: list[DeadLetter] = []
        for name in self._routes[batch.entity]:
            # The others need its number all the same.
            own = batch if not only or name in only else msgspec.structs.replace(batch, records=())
            if own.unknown and not self._sinks[name].keeps_values:
                own, refused = whole_rows(name, own)
                letters += refused
            self._buffered[name].append(own)
        for letter in batch.settled:
            self._settled[letter_id(letter)] = letter
        if letters:
            self._refuse(letters)
        self._mutations += len(batch.records)

    def _write_many(self) -> None:
        if self._mutations >= _BUFFERED_MUTATIONS_MAX:
            self._write()

    def _write(self) -> None:
        for name, batches in self._buffered.items():
            if batches:
                self._sinks[name].write(batches, self._refuse)
                self._buffered[name] = []
        self._written.inc(self._mutations)
        self._mutations = 0
        if self._settled:
            self._store.write_dead_letters(list(self._settled.values()))
            self._settled = {}

    def _refuse(self, letters: Sequence[DeadLetter]) -> None:
        if self._settled:
            letters = [self._of_this_attempt(letter) for letter in letters]
        self._store.write_dead_letters(letters)
        self._refused.inc(len(letters))

    def _of_this_attempt(self, letter: DeadLetter) -> DeadLetter:
        """Return a letter as one of the replay that it was refused in, where it was in one."""
        place = (letter.topic, letter.partition, letter.offset)
        for settled in self._settled.values():
            if place == (settled.topic, settled.partition, settled.offset):
                return msgspec.structs.replace(letter, attempt=settled.attempt)
        return letter

    @property
    def _store(self) -> Sink:
        # A connection of its own: a sink's may be in the middle of a transaction.
        if self._letters is None:
            self._letters = open_sink(self._config, self._config.dead_letter_sink)
        return self._letters


class WriteMutationsOnce(WriteMutations):
    """Write each bundle's mutations once, whatever is replayed.

    Input and output as of `WriteMutations`; needs stable input, and batches that are numbered.

    Delivery guarantees:
        As each sink's own; exactly-once for those that keep a ledger. A batch comes here only after the
        checkpoint that holds it is complete, so a replay brings the same number with the same content. All
        batches of a unit come to a sink in one `write`; a sink that applies that in one transaction shows all
        of them at once. What waited in a savepoint of either `delivery.atomicity` is read.
    """

    # Declared, never used: a step with state is a stage of its own and keeps one shard with one subtask, in
    # order. Using it would hang the job, because the Flink runner holds the lock of the state while it
    # replays what waited for the checkpoint (Beam 2.62, BufferingDoFnRunner.checkpointCompleted).
    KEYED = ReadModifyWriteStateSpec("keyed", BytesCoder())

    def process(
        self,
        element: tuple[bytes, bytes],
        keyed: Any = beam.DoFn.StateParam(KEYED),  # noqa: ARG002
    ) -> tuple[()]:
        """Buffer a frame's batches for each of their sinks; write when many have gathered."""
        return super().process(element)


class WriteDeadLetters(beam.DoFn):
    """Write each bundle's dead letters into the client's own store.

    Input: DeadLetterBatch frames.

    Delivery guarantees:
        At-least-once; the store keeps one letter for each identity (topic, partition, offset, index, step,
        sink, entity), that of the latest attempt. Past the client's error budget the job stops itself; the
        letters that were too many are written before.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._count = Metrics.counter("tillstream", "dead_letters")

    def setup(self) -> None:
        """Open the store."""
        self._budget = ErrorBudget(self._config.client, self._config.limits)
        self._budget.check()
        self._sink = open_sink(self._config, self._config.dead_letter_sink)

    def start_bundle(self) -> None:
        """Start with nothing buffered."""
        self._letters: list[DeadLetter] = []

    def process(self, frame: bytes) -> tuple[()]:
        """Buffer the letters of one frame."""
        self._letters.extend(DeadLetterBatch.decode(frame).letters)
        return ()

    def finish_bundle(self) -> None:
        """Write what is buffered; raises ErrorBudgetError where there was too much of it."""
        if self._letters:
            self._sink.write_dead_letters(self._letters)
            self._count.inc(sum(letter.status == "open" for letter in self._letters))
            self._budget.spend(self._letters)

    def teardown(self) -> None:
        """Close the store."""
        self._sink.close()
