"""Equal rows of tables without a key are counted, whatever order their changes come in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    MutationBatch,
    Operation,
    Position,
)
from tillstream.transforms.copies import CopyBook, with_key_columns
from tillstream.transforms.fake_state import FakeBag, FakeCell, FakeState
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.shard_state import FOREVER_US, ShardMemory
from tillstream.transforms.transform_changes import TransformChanges

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"files": {"paths": ["in.jsonl"]}},
        "entities": {
            "log": {
                "topic": "acme.public.log",
                "keyless": "full_row",
                "contract": {"n": "int64"},
                "sinks": ["out"],
            }
        },
        "sinks": {"out": {"type": "files", "path": "/out"}},
    }
)
ROW = b'{"n":1}'


def at(place: int, kind: int = 1) -> Position:
    """Return a position."""
    return (0, place, kind, place)


def change(op: str, place: int, row: str = "a") -> ChangeRecord:
    """Return a change of a row of that name."""
    position = at(place, 0 if op == "r" else 1)
    rows = (ROW, None) if op == "d" else (None, ROW)
    key = () if op == "t" else (row, f"{place}/{op}")
    return ChangeRecord(place, Operation(op), key, position, 1000, *(rows if op != "t" else (None, None)))


def later(record: ChangeRecord) -> ChangeRecord:
    """Return a change that comes more than a horizon later."""
    return msgspec.structs.replace(record, source_time_us=CONFIG.dedup.horizon_us + 1001)


def batch(*records: ChangeRecord) -> ChangeBatch:
    """Return a batch of the entity."""
    return ChangeBatch("acme", "log", 0, "acme.public.log", 0, ("_row_id", "_copy"), records)


class Book:
    """Hold a shard's counts, rebuilt for each batch as after a restart."""

    def __init__(self) -> None:
        self._state = FakeState()

    def take(self, *records: ChangeRecord, passed: Position = ()) -> list[Any]:
        """Return what changes make: operation and key."""
        memory: ShardMemory[StateEntry] = ShardMemory(1, StateEntry)
        shard = memory.open(b"s", self._state.cell, self._state.bag)
        found, swept = CopyBook(CONFIG).apply(batch(*records), shard, passed)
        shard.compact()
        shard.commit()
        made = [(each.operation.value, *each.key) for each in found.records if each.key]
        return [*made, *(("swept", *key) for key in swept)]

    def entries(self) -> int:
        """Return how many rows are remembered."""
        memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
        return len(memory.open(b"s", self._state.cell, self._state.bag).index)


def test_equal_rows_have_numbers() -> None:
    """Each that comes gets the next one, and the last one goes first; those that are gone stay a horizon."""
    book = Book()
    assert book.take(change("c", 1), change("c", 2), change("c", 3, "b")) == [
        ("c", "a", 1),
        ("c", "a", 2),
        ("c", "b", 1),
    ]
    assert book.take(change("d", 4)) == [("d", "a", 2)]
    assert book.take(change("c", 5)) == [("c", "a", 2)]
    assert book.take(change("d", 6), change("d", 7), change("d", 8, "b")) == [
        ("d", "a", 2),
        ("d", "a", 1),
        ("d", "b", 1),
    ]
    assert book.entries() == 2
    book.take(later(change("c", 9, "c")))
    assert book.entries() == 1


def test_a_delete_may_come_before_its_row() -> None:
    """Partitions of a topic go on at their own pace: however changes mix, as many rows are left."""
    changes = [change("c", 1), change("c", 2), change("d", 3), change("c", 4), change("d", 5)]
    for order in itertools.permutations(changes):
        book, there = Book(), set()
        for each in order:
            for op, _, number in book.take(each):
                (there.remove if op == "d" else there.add)(number)
        assert there == {1}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_a_snapshot_counts_beside_the_stream(order: tuple[int, ...]) -> None:
    """Two rows at the snapshot, one more and one less since: two are left in any order."""
    changes = [change("r", 5), change("r", 5), change("c", 6), change("d", 7)]
    book, there = Book(), set()
    for place in order:
        for op, _, number in book.take(changes[place]):
            (there.remove if op == "d" else there.add)(number)
    assert there == {1, 2}


def left(order: Sequence[ChangeRecord]) -> set[int]:
    """Return the numbers of the rows that are there after changes, each from a partition of its own."""
    book, there, truncated = Book(), set(), Position()
    for each in order:
        if each.position < truncated:  # deduplication drops it
            continue
        if each.operation is Operation.TRUNCATE:
            truncated = each.position
        for op, _, number in book.take(each):
            if op in "cr":
                assert number not in there
                there.add(number)
            else:
                there.remove(number)
    return there


ZEROES = {
    "a snapshot between": (["c10", "d20", "r15"], 0),
    "a snapshot of a row that came again": (["c10", "d20", "c30", "r15"], 1),
    "a snapshot behind the end": (["c10", "d12", "c14", "r15"], 1),
    "a snapshot and two equal rows": (["c10", "c11", "d12", "r15", "d20"], 0),
    "a truncate between": (["c10", "t15", "c18", "d20"], 0),
    "a truncate and one more": (["c10", "t15", "c18", "d20", "c21"], 1),
    "a truncate, then a snapshot": (["c10", "t12", "c14", "r15", "d20"], 0),
    "a snapshot, then a truncate": (["c10", "r12", "t15", "c18", "d20"], 0),
}


@pytest.mark.parametrize("case", ZEROES)
def test_a_row_that_was_gone_meanwhile_is_no_other(case: str) -> None:
    """As many rows are left in any order, also where at some time there was none."""
    names, count = ZEROES[case]
    changes = [change(name[0], int(name[1:])) for name in names]
    wrong = [
        [f"{each.operation.value}{each.offset}" for each in order]
        for order in itertools.permutations(changes)
        if len(left(order)) != count
    ]
    assert wrong == []


def test_a_debt_ends_with_the_horizon() -> None:
    """A delete whose row never came takes no row with it that comes long after."""
    book = Book()
    assert book.take(change("d", 5)) == []
    assert book.take(change("c", 6)) == []
    assert book.take(change("d", 7), change("d", 8)) == []
    book.take(later(change("c", 9, "b")))
    assert book.take(later(change("c", 10))) == [("c", "a", 1)]


def test_what_is_gone_is_forgotten_without_a_restart() -> None:
    """Whether a shard was rebuilt or not; what came again stays."""
    state = FakeState()
    memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
    for records in (
        [change("c", 1), change("d", 2), change("c", 3, "b"), change("d", 4, "b")],
        [change("c", 5, "b")],
        [later(change("c", 6, "c"))],
    ):
        shard = memory.open(b"s", state.cell, state.bag)
        CopyBook(CONFIG).apply(batch(*records), shard)
        shard.commit()
    assert {place[2] for place in memory.open(b"s", state.cell, state.bag).index} == {"b", "c"}


def test_counts_of_before_are_read() -> None:
    """A checkpoint of an older release holds them without the last field."""
    state = FakeState()
    memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
    shard = memory.open(b"s", state.cell, state.bag)
    older = msgspec.msgpack.encode([2, 1, at(5, 0), 2, [(at(6), 1)], 1])
    shard.update({("keyless.copies", "log", "a"): (FOREVER_US, older)})
    found, _ = CopyBook(CONFIG).apply(batch(change("d", 9)), shard)
    assert [each.key for each in found.records] == [("a", 3)]


def test_a_second_snapshot_brings_only_what_was_lost() -> None:
    """Of three rows that it reads two are known."""
    book = Book()
    book.take(change("c", 1), change("c", 2))
    assert book.take(*[change("r", 9)] * 3) == [("r", "a", 3)]
    assert book.take(*[change("r", 12)] * 3) == []


def test_a_truncate_leaves_what_came_after_it() -> None:
    """Their numbers stay theirs, so that later rows take none of them."""
    book = Book()
    book.take(change("c", 1), change("c", 2), change("c", 8), change("c", 3, "b"))
    assert book.take(change("t", 5)) == [("swept", "a", 1), ("swept", "a", 2), ("swept", "b", 1)]
    assert book.take(change("c", 9), change("c", 9, "b")) == [("c", "a", 4), ("c", "b", 1)]
    assert book.take(change("d", 10), change("d", 11)) == [("d", "a", 4), ("d", "a", 3)]


def test_a_resync_writes_what_is_there_again_and_sweeps_the_rest() -> None:
    """Of three rows that are known the source has two."""
    book = Book()
    book.take(change("c", 1), change("c", 2), change("c", 3), change("c", 4, "b"))
    assert book.take(change("r", 8), change("r", 8), passed=at(7)) == [("r", "a", 1), ("r", "a", 2)]
    assert book.take(change("t", 7)) == [("swept", "a", 3), ("swept", "b", 1)]
    assert book.take(change("c", 9), change("d", 10)) == [("c", "a", 3), ("d", "a", 3)]


def test_rows_begin_with_their_key() -> None:
    """Contracts and sinks see a row like any other."""
    records = (change("c", 1), ChangeRecord(2, Operation.CREATE, ("b", 7), (), 0, None, b"{ }"))
    found = with_key_columns(batch(*records)).records
    assert [each.after for each in found] == [
        b'{"_row_id":"a","_copy":"1/c","n":1}',
        b'{"_row_id":"b","_copy":7}',
    ]


def test_rows_without_a_key_reach_the_sinks() -> None:
    """Repeats are dropped, copies are numbered, and a delete takes one of them."""
    stage = TransformChanges(CONFIG)
    stage.setup()
    cells: list[Any] = [each() for _ in range(3) for each in (FakeCell, FakeBag)]
    first, second = change("c", 1), change("c", 2)
    made = []
    for records in ((first, second), (second,), (change("d", 3), change("c", 4, "b"))):
        for _, frame in stage.process((b"s", batch(*records).encode()), *cells):
            found = MutationBatch.decode(frame)
            assert found.columns == ("_row_id", "_copy", "n")
            made += [(each.kind.value, each.key, each.values) for each in found.records]
    assert made == [
        ("u", ("a", 1), ("a", 1, 1)),
        ("u", ("a", 2), ("a", 2, 1)),
        ("d", ("a", 2), None),
        ("u", ("b", 1), ("b", 1, 1)),
    ]


def test_a_truncate_takes_the_rows_that_are_known() -> None:
    """A log is told of each of them by its own key."""
    stage = TransformChanges(CONFIG)
    stage.setup()
    cells: list[Any] = [each() for _ in range(3) for each in (FakeCell, FakeBag)]
    made = []
    for records in ((change("c", 1), change("c", 2), change("c", 9)), (change("t", 5),), (change("c", 10),)):
        for _, frame in stage.process((b"s", batch(*records).encode()), *cells):
            made += [(each.kind.value, each.key) for each in MutationBatch.decode(frame).records]
    assert made == [
        ("u", ("a", 1)),
        ("u", ("a", 2)),
        ("u", ("a", 3)),
        ("d", ("a", 1)),
        ("d", ("a", 2)),
        ("t", ()),
        ("u", ("a", 4)),
    ]


def test_what_a_transform_makes_of_such_a_row_is_told_apart_as_it_is() -> None:
    """Several rows of one change too."""
    packer = MutationPacker({"log": None}, {"log": ("_event_id",)}, {})
    event = ChangeEvent("a", "log", Operation.CREATE, {"_event_id": "e"}, None, {}, (), 0, "t", 0, 1)
    made = [packer.check(event.upsert({"n": number}, index=number)) for number in (0, 1)]
    assert [(columns, record.key) for _, columns, record in made] == [
        (("_event_id", "n"), ("e",)),
        (("_event_id", "n"), ("e.1",)),
    ]
