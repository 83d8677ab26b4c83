"""Batches go to their sinks; what they settle is marked behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.io import write_mutations
from tillstream.io.sinks.base import Refuse
from tillstream.io.sinks.letters import refused
from tillstream.io.write_mutations import WriteMutations, WriteMutationsOnce
from tillstream.pipelines.records import DeadLetter, MutationBatch
from tillstream.pipelines.transactions import GATHERED, MutationUnit

from .sinks.builders import batch, upsert

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["east", "west"]}},
        "sinks": {name: {"type": "files", "path": name} for name in ("east", "west")},
    }
)
MARK = DeadLetter("acme", "things", "transform", "", "", "t", 3, 7, attempt=5, status="replayed")


class Sinks:
    """Be all sinks, and note what they are given, in order; the one named west keeps its own values."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.refuses = False
        self._name = ""

    @property
    def keeps_values(self) -> bool:
        """Tell whether it does."""
        return self._name == "west"

    def open(self, _: ClientConfig, name: str, *rest: Any) -> Sinks:
        """Return the sink of a name."""
        del rest
        sink = Sinks()
        sink.found, sink._name, sink.refuses = self.found, name, self.refuses
        return sink

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Note the batches; refuse their rows where asked to."""
        self.found += [(self._name, each.sequence, len(each.records)) for each in batches]
        if self.refuses:
            refuse([refused(self._name, each, record, "no") for each in batches for record in each.records])

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Note the letters."""
        self.found += [(letter.step, letter.status, letter.attempt) for letter in letters]


@pytest.fixture
def sinks(monkeypatch: pytest.MonkeyPatch) -> Sinks:
    """Return sinks that note what they are given."""
    found = Sinks()
    monkeypatch.setattr(write_mutations, "open_sink", found.open)
    return found


def written(*batches: MutationBatch) -> None:
    """Write one bundle."""
    stage = WriteMutations(CONFIG)
    stage.setup()
    stage.start_bundle()
    for each in batches:
        stage.process((b"", each.encode()))
    stage.finish_bundle()


def test_marks_are_written_after_the_rows(sinks: Sinks) -> None:
    """A letter that is solved is never marked before its rows are there."""
    made = msgspec.structs.replace(batch("id", upsert(1, offset=7)), sequence=4, settled=(MARK,))
    written(made)
    assert sinks.found == [("east", 4, 1), ("west", 4, 1), ("transform", "replayed", 5)]


def test_one_sink_gets_the_rows_and_the_other_the_number(sinks: Sinks) -> None:
    """The numbers of batches have no gap at any sink."""
    written(msgspec.structs.replace(batch("id", upsert(1)), sequence=4, only_sinks=("west",)))
    assert sinks.found == [("east", 4, 0), ("west", 4, 1)]


def test_what_is_refused_again_is_a_letter_of_the_attempt(sinks: Sinks) -> None:
    """It stands against the mark, whichever is written last; others are first attempts."""
    sinks.refuses = True
    made = msgspec.structs.replace(batch("id", upsert(1, offset=7), upsert(2, offset=8)), settled=(MARK,))
    written(made)
    letters = [each for each in sinks.found if each[0] == "write"]
    assert letters == [("write", "open", 5), ("write", "open", 0)] * 2


def test_rows_that_lack_columns_go_only_where_values_are_kept(sinks: Sinks) -> None:
    """The sink that writes whole rows gets the number of the batch, and its rows become dead letters."""
    written(msgspec.structs.replace(batch("id", upsert(1)), sequence=4, unknown=("name",)))
    assert sinks.found == [("write", "open", 0), ("east", 4, 0), ("west", 4, 1)]


def test_a_unit_is_never_cut(sinks: Sinks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its batches come to a sink in one write, however many have gathered; several units may share one."""
    monkeypatch.setattr(write_mutations, "_BUFFERED_MUTATIONS_MAX", 3)
    writes: list[list[int]] = []

    def note(_: Sinks, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        del refuse
        writes.append([each.sequence for each in batches])

    monkeypatch.setattr(Sinks, "write", note)
    stage = WriteMutationsOnce(CONFIG)
    stage.setup()
    stage.start_bundle()
    numbers = iter(range(1, 9))
    for size in (1, 4, 2):
        batches = [batch("id", upsert(n)) for n in range(size)]
        numbered = [msgspec.structs.replace(each, sequence=next(numbers)) for each in batches]
        stage.process((GATHERED, MutationUnit(tuple(numbered)).encode()), None)
    stage.finish_bundle()
    assert writes == [[1, 2, 3, 4, 5]] * 2 + [[6, 7]] * 2
    assert sinks.found == []


@pytest.mark.parametrize("wrap", [True, False])
def test_what_waited_in_a_savepoint_is_read_in_either_mode(sinks: Sinks, wrap: Any) -> None:
    """A batch that waited row by row comes to the writer of whole transactions, and a unit to the other."""
    made = msgspec.structs.replace(batch("id", upsert(1)), sequence=4)
    frame = MutationUnit((made,)).encode() if wrap else made.encode()
    for stage in (WriteMutations(CONFIG), WriteMutationsOnce(CONFIG)):
        stage.setup()
        stage.start_bundle()
        stage.process((b"s0", frame))
        stage.finish_bundle()
    assert sinks.found == [("east", 4, 1), ("west", 4, 1)] * 2
