"""Test the ledger: what is applied, skipped and refused, whatever is replayed by whom."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tillstream.io.sinks.ledger import Entry, Stream, admit, decode_entry, encode_entry, streams_of
from tillstream.pipelines.errors import SequenceGapError, SinkError, StaleWriterError
from tillstream.pipelines.records import MutationBatch

from .builders import batch, upsert

STREAM = Stream("things", 0)


def numbered(sequence: int, *offsets: int, generation: int = 1, first: int = 1) -> MutationBatch:
    """Return a batch of the stream `things`, shard 0, with one upsert an offset."""
    records = [upsert(offset, offset=offset) for offset in offsets]
    return msgspec.structs.replace(
        batch("id", *records), sequence=sequence, generation=generation, first=first
    )


def entry(generation: int, sequence: int, mark: int, past: int | None = None) -> Entry:
    """Return an entry of 16 shards that has come as far as an offset of partition t/3."""
    return Entry(generation, sequence, 16, {"t/3": (mark, 0)}, {} if past is None else {"t/3": (past, 0)})


def offsets(
    found: Entry | None, *batches: MutationBatch, generation: int = 1, drops: bool = True
) -> list[int]:
    """Return the offsets that are applied."""
    known = {} if found is None else {STREAM: found}
    admission = admit(known, batches, generation=generation, shards=16, drops_repeated=drops)
    return [record.offset for each in admission.batches for record in each.records]


def test_a_replay_is_skipped_and_the_next_is_applied() -> None:
    """Of 1, 2 and 3 behind an entry at 2, only 3 is applied, and the entry moves to it."""
    batches = [numbered(1, 5), numbered(2, 6), numbered(3, 7, 8)]
    admission = admit({STREAM: entry(1, 2, 6)}, batches, generation=1, shards=16, drops_repeated=True)
    assert [each.sequence for each in admission.batches] == [3]
    assert admission.entries == {STREAM: entry(1, 3, 8)}
    assert admission.replaced == {STREAM: entry(1, 2, 6)}


def test_batches_without_an_order_of_offsets_are_never_told_by_place() -> None:
    """Derived batches of any offset are applied, those of an older launch too, and mark nothing."""
    derived = msgspec.structs.replace(numbered(1, 2, generation=3), derived=True)
    waited = msgspec.structs.replace(numbered(9, 1, generation=1), derived=True)
    found = entry(2, 4, 6)
    admission = admit({STREAM: found}, [waited, derived], generation=3, shards=16, drops_repeated=True)
    assert [each.records[0].offset for each in admission.batches] == [1, 2]
    assert admission.entries[STREAM].marks == found.marks


def test_what_came_back_has_its_place_where_it_came_back() -> None:
    """An old offset is no repeat; a launch that reads the replay again leaves out what is there."""
    first, second = (
        msgspec.structs.replace(numbered(sequence, 1, generation=2), via=("r", 0, 4, sequence - 1))
        for sequence in (1, 2)
    )
    found = {STREAM: entry(1, 0, 6)}
    admission = admit(found, [first, second], generation=2, shards=16, drops_repeated=True)
    assert [each.sequence for each in admission.batches] == [1, 2]
    marks = admission.entries[STREAM].marks
    assert marks == {**found[STREAM].marks, "r/0": (4, 1)}
    again = [
        msgspec.structs.replace(numbered(number, 1, generation=3), via=("r", 0, offset, 0))
        for number, offset in ((1, 4), (2, 5))
    ]
    later = admit(admission.entries, again, generation=3, shards=16, drops_repeated=True)
    assert [each.via for each in later.batches] == [("r", 0, 5, 0)]


def test_what_lay_in_state_is_never_told_by_place() -> None:
    """It was not delivered when later offsets were."""
    kept = msgspec.structs.replace(numbered(1, 1, generation=2), via=("", 0, 0, 0))
    found = entry(1, 0, 6)
    admission = admit({STREAM: found}, [kept], generation=2, shards=16, drops_repeated=True)
    assert [each.sequence for each in admission.batches] == [1]
    assert admission.entries[STREAM].marks == found.marks


def test_nothing_moves_where_all_is_replayed() -> None:
    """A sink then has nothing to commit."""
    admission = admit(
        {STREAM: entry(1, 2, 6)}, [numbered(2, 6)], generation=1, shards=16, drops_repeated=True
    )
    assert admission == ([], {}, {})


@pytest.mark.parametrize(
    ("found", "late"),
    [
        (entry(1, 2, 6), numbered(4, 9)),
        (None, numbered(2, 6)),
        (entry(1, 9, 6), numbered(12, 9, generation=2, first=11)),
    ],
)
def test_a_gap_stops_the_job(found: Entry | None, late: MutationBatch) -> None:
    """Batches that are missing are named with their stream, behind an entry, at the start, at a launch."""
    with pytest.raises(SequenceGapError, match=r"entity 'things', shard 0: found batch \d+, expected \d+"):
        offsets(found, late, generation=2)


def test_a_writer_of_an_older_launch_is_refused() -> None:
    """Once a newer launch has written, the older one may not go on, not even with the next number."""
    with pytest.raises(StaleWriterError, match="found generation 1, but 2 has written already"):
        offsets(entry(2, 2, 6), numbered(3, 7), generation=1)


def test_a_launch_anywhere_neither_skips_nor_doubles() -> None:
    """A launch that reads from offset 0 again, at its first number, delivers what is new, and only that."""
    batches = [numbered(1, 4, 5, generation=2), numbered(2, 6, 7, generation=2)]
    assert offsets(entry(1, 40, 5), *batches, generation=2) == [6, 7]
    assert offsets(entry(1, 40, 5), *batches, generation=2, drops=False) == [4, 5, 6, 7]


def test_what_waited_in_a_savepoint_is_told_by_place() -> None:
    """A batch of an older launch than the entry's passes as far as it is new; numbers say nothing."""
    waited = numbered(41, 5, 6, generation=1)
    for drops in (True, False):
        assert offsets(entry(2, 3, 5), waited, generation=3, drops=drops) == [6]
    assert offsets(entry(1, 40, 5), waited, generation=3) == [5, 6]


def test_marks_of_other_shards_cannot_be_compared() -> None:
    """With another number of shards keys lie elsewhere, so the job is refused with what to do."""
    with pytest.raises(SinkError, match=r"found 8 shards, expected 16.*set flink\.shards back"):
        admit({STREAM: entry(1, 1, 5)}, [numbered(2, 6)], generation=1, shards=8, drops_repeated=True)


def test_batches_without_numbers_are_refused() -> None:
    """A sink that keeps a ledger never applies what it could not recognise."""
    with pytest.raises(SinkError, match="without a number"):
        offsets(None, numbered(0, 1))


def test_streams_are_named_once_in_order() -> None:
    """Locks are taken in one order by all writers."""
    batches = [numbered(1, 1), msgspec.structs.replace(numbered(1, 2), entity="a"), numbered(2, 3)]
    assert streams_of(batches) == [Stream("a", 0), STREAM]


def test_version_1_is_read() -> None:
    """An entry that this release wrote stays readable; other versions are refused."""
    text = b'{"generation":7,"sequence":3,"shards":16,"marks":{"t/3":[8,0]},"past":{"t/3":[5,1]},"version":1}'
    found = Entry(7, 3, 16, {"t/3": (8, 0)}, {"t/3": (5, 1)})
    assert decode_entry(text) == found
    assert encode_entry(found) == text
    with pytest.raises(SinkError, match="found version 2, expected 1"):
        decode_entry(text.replace(b'"version":1', b'"version":2'))
    with pytest.raises(SinkError, match="expected an entry"):
        decode_entry(b"{}")


class Launches(RuleBasedStateMachine):
    """Run a job against an appending sink through restarts, launches from old savepoints, and zombies.

    The log is the offsets 0, 1, 2...; each batch takes some. A checkpoint holds the next offset, the next
    number, and the batches that wait for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ledger: dict[Stream, Entry] = {}
        self.delivered: list[int] = []
        self.generation = 1
        self.next_offset, self.number, self.first = 0, 0, 1
        self.waiting: list[MutationBatch] = []
        self.savepoints = [self.state()]

    def state(self) -> tuple[int, int, int, int, list[MutationBatch]]:
        """Return what a checkpoint holds."""
        return self.next_offset, self.number, self.first, self.generation, list(self.waiting)

    def write(self, batches: list[MutationBatch], generation: int) -> None:
        """Apply batches as a sink does: rows and ledger at once."""
        admission = admit(self.ledger, batches, generation=generation, shards=16, drops_repeated=True)
        self.delivered += [record.offset for each in admission.batches for record in each.records]
        self.ledger.update(admission.entries)

    @rule(size=st.integers(1, 4))
    def read(self, size: int) -> None:
        """Make one batch; it waits for the next checkpoint."""
        self.number += 1
        places = range(self.next_offset, self.next_offset + size)
        self.waiting.append(numbered(self.number, *places, generation=self.generation, first=self.first))
        self.next_offset += size

    @rule(written=st.integers(0, 5))
    def checkpoint(self, written: int) -> None:
        """Complete a checkpoint, and write some of what waited for it."""
        self.savepoints.append(self.state())
        self.write(self.waiting[:written], self.generation)
        # What is written is gone from the next checkpoint only.
        self.waiting = self.waiting[written:]

    @rule()
    def crash(self) -> None:
        """Restart from the newest checkpoint: what waited is brought again."""
        self.next_offset, self.number, self.first, _, waiting = self.savepoints[-1]
        self.waiting = list(waiting)

    @rule(data=st.data())
    def launch(self, data: st.DataObject) -> None:
        """Start a new launch from any savepoint, or from nothing."""
        place = data.draw(st.integers(0, len(self.savepoints) - 1))
        self.next_offset, self.number, self.first, _, waiting = self.savepoints[place]
        self.waiting = list(waiting)
        self.generation += 1
        self.first = self.number + 1
        self.savepoints = [*self.savepoints[: place + 1], self.state()]

    @precondition(lambda self: len(self.savepoints) > 1)
    @rule(data=st.data())
    def zombie(self, data: st.DataObject) -> None:
        """Let a writer of the same launch wake up and write what waited at an older checkpoint."""
        place = data.draw(st.integers(0, len(self.savepoints) - 1))
        *_, generation, waiting = self.savepoints[place]
        if generation == self.generation:
            self.write(waiting, generation)

    @invariant()
    def each_offset_is_delivered_once_in_order(self) -> None:
        """Nothing is doubled, and nothing is skipped."""
        assert self.delivered == list(range(len(self.delivered)))


Launches.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestLaunches = Launches.TestCase


def test_a_roll_back_delivers_again_what_the_launch_that_it_undoes_had() -> None:
    """Launch 2 had come to 9, from 5 on; launch 3 takes it back, and marks only what it delivers itself."""
    found = entry(2, 4, 9, past=5)
    again = [numbered(1, 6, 7, generation=3), numbered(2, 8, generation=3)]
    admission = admit({STREAM: found}, again, generation=3, shards=16, drops_repeated=True, undoes=2)
    assert [record.offset for each in admission.batches for record in each.records] == [6, 7, 8]
    assert admission.entries == {STREAM: Entry(3, 2, 16, {"t/3": (8, 0)}, {"t/3": (5, 0)})}
    # Another launch from before leaves out what the roll-back has delivered, and no more.
    later = admit(
        admission.entries, [numbered(1, 8, 9, generation=4)], generation=4, shards=16, drops_repeated=True
    )
    assert [record.offset for record in later.batches[0].records] == [9]


def test_of_several_launches_that_are_undone_nothing_counts() -> None:
    """Where launch 2 had begun is not known any more once launch 3 has written."""
    found = entry(3, 4, 9, past=7)
    admission = admit(
        {STREAM: found},
        [numbered(1, 6, generation=4)],
        generation=4,
        shards=16,
        drops_repeated=True,
        undoes=2,
    )
    assert [record.offset for record in admission.batches[0].records] == [6]
    assert admission.entries[STREAM].past == {}


@pytest.mark.parametrize(("drops", "applied"), [(True, []), (False, [4, 5])])
def test_what_waited_in_the_savepoint_of_a_roll_back(*, drops: bool, applied: list[int]) -> None:
    """The undone launch has delivered it as it was: a log has it, and rows by key are set back to it."""
    waited = numbered(9, 4, 5, generation=1)
    admission = admit(
        {STREAM: entry(2, 4, 9, past=5)}, [waited], generation=3, shards=16, drops_repeated=drops, undoes=2
    )
    assert [record.offset for each in admission.batches for record in each.records] == applied


@pytest.mark.parametrize("undoes", [0, 2])
@pytest.mark.parametrize("derived", [False, True])
def test_what_waited_is_written_once(*, derived: bool, undoes: int) -> None:
    """Not over what its launch has written since, where a restart brings both again."""
    waited = msgspec.structs.replace(numbered(9, 4, 5, generation=1), derived=derived)
    own = [msgspec.structs.replace(numbered(n, 5 + n, generation=3), derived=derived) for n in (1, 2)]
    before = entry(2, 4, 9, past=3) if undoes else entry(1, 8, 3)
    known = {STREAM: before}
    written: list[list[int]] = []
    for batches in ([waited, own[0]], [waited, *own]):
        admission = admit(known, batches, generation=3, shards=16, drops_repeated=False, undoes=undoes)
        written.append([record.offset for each in admission.batches for record in each.records])
        known |= admission.entries
    assert written == [[4, 5, 6], [7]]
