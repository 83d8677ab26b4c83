"""Be one shard of a job that letters come back to, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from tillstream.configs import ClientConfig
from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    Mutation,
    MutationBatch,
    Operation,
    Replay,
)
from tillstream.transforms.api import transform
from tillstream.transforms.fake_state import FakeState, Snapshot
from tillstream.transforms.flows import using
from tillstream.transforms.registry import Registry
from tillstream.transforms.transform_changes import TransformChanges

BAD = "XXX"


@transform("acme.priced@1.0.0")
class Priced(beam.DoFn):
    """Refuse one currency."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Pass the row on, or raise."""
        assert event.after is not None
        if event.after["currency"] == BAD:
            raise ValueError(event.after["currency"])
        yield event.upsert(event.after)


@transform("acme.priced@1.0.1")
class Mended(beam.DoFn):
    """Take every currency."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Pass the row on."""
        assert event.after is not None
        yield event.upsert({**event.after, "by": 2})


@transform("acme.slow@1.0.0")
class Slow(beam.DoFn):
    """Want a state of Beam's own."""

    CELL = ReadModifyWriteStateSpec("cell", BytesCoder())

    def process(self, event: ChangeEvent, cell: Any = beam.DoFn.StateParam(CELL)) -> Iterator[Mutation]:
        """Pass the row on."""
        del cell
        assert event.after is not None
        yield event.upsert(event.after)


def config(dedup: str = "position", **entity: Any) -> ClientConfig:
    """Return a client of one entity."""
    prices = {"topic": "t", "key": ["id"], "transform": "acme.priced@1.0.0", "sinks": ["out"], **entity}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"prices": {name: value for name, value in prices.items() if value is not None}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "dedup": {"by": dedup},
        }
    )


class Job:
    """Be one shard of a job, with states that can be rolled back."""

    def __init__(self, client: ClientConfig, *more: type[beam.DoFn]) -> None:
        self._transforms = (Priced, Mended, Slow, *more)
        self.states = [FakeState() for _ in range(3)]
        self.letters: dict[tuple[str, str | None], DeadLetter] = {}
        self.start(client)

    def start(self, client: ClientConfig) -> None:
        """Start the stage anew, as a launch does."""
        registry = Registry()
        for each in self._transforms:
            registry.add(each)
        with using(registry):
            self.stage = TransformChanges(client, 1)
            self.stage.setup()
        self.stage.start_bundle()
        self._registry = registry

    def snapshot(self) -> list[Snapshot]:
        """Return what a checkpoint holds."""
        return [state.snapshot() for state in self.states]

    def restore(self, snapshots: list[Snapshot]) -> None:
        """Go back to a checkpoint."""
        for state, snapshot in zip(self.states, snapshots, strict=True):
            state.restore(snapshot)

    def take(self, batch: ChangeBatch) -> list[tuple[int, str]]:
        """Give the stage a batch; return offset and currency of what it writes, and `letter` marks."""
        cells = [each for state in self.states for each in (state.cell, state.bag)]
        found: list[tuple[int, str]] = []
        with using(self._registry):
            outputs = list(self.stage.process((b"s0", batch.encode()), *cells))
        for output in outputs:
            if isinstance(output, TaggedOutput) and output.tag != "dead_letters":
                sent = ChangeBatch.decode(output.value[1])
                found.append((sent.records[0].offset, output.tag))
                continue
            if isinstance(output, TaggedOutput):
                self._note(found, DeadLetterBatch.decode(output.value).letters)
                continue
            made = MutationBatch.decode(output[1])
            place = made.columns.index("currency")
            for record in made.records:
                assert record.values is not None
                mended = "'" if "by" in made.columns else ""
                found.append((record.offset, record.values[place] + mended))
            self._note(found, made.settled)
        return found

    def _note(self, found: list[tuple[int, str]], letters: tuple[DeadLetter, ...]) -> None:
        for letter in letters:
            found.append((letter.offset, letter.status if letter.status != "open" else letter.reason))
            self.letters[letter_id(letter), letter.status] = letter

    def events(self, *currencies: str, first: int = 1, key: int = 1) -> list[tuple[int, str]]:
        """Give the stage events of one key in one batch."""
        rows = enumerate(currencies, first)
        return self.take(batch(*(record(offset, currency, key) for offset, currency in rows)))

    def replay(
        self, offset: int, currency: str, *, attempt: int = 5, key: int = 1, **changes: Any
    ) -> list[tuple[int, str]]:
        """Give the letter of an event back."""
        letter = DeadLetter("acme", "prices", "transform", "", "", "t", 0, offset)
        place = {"attempt": attempt, "topic": "r", "partition": 0, "offset": attempt}
        values = {
            "letter": letter_id(letter),
            "entity": "prices",
            "step": "transform",
            "index": 0,
            "sink": "",
        }
        defaults = {"action": "replay", "transform": "acme.priced@1.0.1", "seen": 0}
        replay = Replay(**{**values, **place, **defaults, **changes})
        return self.take(msgspec.structs.replace(batch(record(offset, currency, key)), replay=replay))


def record(offset: int, currency: str, key: int = 1) -> ChangeRecord:
    """Return a change of one row."""
    row = b'{"id":%d,"currency":"%b"}' % (key, currency.encode())
    return ChangeRecord(offset, Operation.UPDATE, (key,), (offset,), 1000 + offset, None, row)


def batch(*records: ChangeRecord) -> ChangeBatch:
    """Return what the stage takes."""
    return ChangeBatch("acme", "prices", 0, "t", 0, ("id",), records)
