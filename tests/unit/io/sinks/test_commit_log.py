"""Data and ledger come with one create, whoever else writes and wherever a writer dies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.io.sinks import Writer
from tillstream.io.sinks.commit_log import (
    Commit,
    CommitLog,
    DataFile,
    Part,
    decode_commit,
    entry_name,
    number_of,
)
from tillstream.pipelines.errors import SequenceGapError, SinkError, StaleWriterError
from tillstream.pipelines.records import MutationBatch

from .builders import batch, upsert


class Far:
    """Be the far side that all writers share: what survives them."""

    def __init__(self) -> None:
        self.entries: dict[str, bytes] = {}
        self.waiting: dict[str, bytes] = {}
        self.shown: dict[str, bytes] = {}
        self.tokens = 0

    def delivered(self) -> list[tuple[int, int]]:
        """Return shard and offset of each mutation that the log lists, in its order."""
        commits = [
            decode_commit(content, name)
            for name, content in sorted(self.entries.items())
            if name == entry_name(number_of(name))
        ]
        lines = [
            line for commit in commits for file in commit.files for line in self.shown[file.name].split()
        ]
        return [(int(line.split(b"/")[0]), int(line.split(b"/")[1])) for line in lines]


class _LostError(Exception):
    """Say that a call failed, or that the process died; the far side may have done its part."""


class MemoryStore:
    """Be one writer's way to the far side; `step` runs before and after each call."""

    def __init__(self, far: Far, step: Callable[[], None] = lambda: None) -> None:
        self.far = far
        self.step = step

    def prepare(self) -> None:
        """Need nothing."""
        self.step()

    def create_only(self, name: str, content: bytes) -> bool:
        """Create, unless it is there."""
        self.step()
        created = name not in self.far.entries
        self.far.entries.setdefault(name, content)
        self.step()
        return created

    def read(self, name: str) -> bytes | None:
        """Return an entry."""
        self.step()
        return self.far.entries.get(name)

    def last(self) -> int:
        """Return the newest number."""
        self.step()
        return max(map(number_of, self.far.entries), default=0)

    def stage(self, content: bytes) -> str:
        """Keep a file."""
        self.step()
        self.far.tokens += 1
        token = str(self.far.tokens)
        self.far.waiting[token] = content
        self.step()
        return token

    def discard(self, token: str) -> None:
        """Forget a file."""
        self.step()
        self.far.waiting.pop(token, None)

    def name_of(self, token: str, number: int) -> str:
        """Join number and token."""
        return f"{number}-{token}"

    def publish(self, name: str) -> None:
        """Move a file."""
        self.step()
        token = name.partition("-")[2]
        if token in self.far.waiting:
            self.far.shown[name] = self.far.waiting.pop(token)
        self.step()

    def settle(self) -> None:
        """Do nothing: nothing is forgotten."""
        self.step()

    def leftovers(self) -> list[str]:
        """Take all files for old, also one that its writer is about to list: the worst case."""
        self.step()
        return list(self.far.waiting)


def numbered(sequence: int, shard: int = 0, *, generation: int = 1, rows: int = 1) -> MutationBatch:
    """Return a batch whose offsets are 10 times its number, and on."""
    records = [upsert(i, offset=10 * sequence + i) for i in range(rows)]
    return msgspec.structs.replace(
        batch("id", *records), shard=shard, sequence=sequence, generation=generation, first=1
    )


def encode(batches: Sequence[MutationBatch]) -> Part:
    """Write a line a mutation."""
    lines = [f"{each.shard}/{record.offset}" for each in batches for record in each.records]
    return Part(" ".join(lines).encode(), len(lines))


def opened(far: Far, generation: int = 1, step: Callable[[], None] = lambda: None) -> CommitLog:
    """Return the log of a new writer."""
    log = CommitLog(MemoryStore(far, step), "things", Writer(generation, 4, 2))
    log.open()
    return log


def test_entries_list_files_and_ledger() -> None:
    """What a reader of the log finds: one entry a write, with the file and the streams that it moves."""
    far = Far()
    log = opened(far)
    log.write([numbered(1, rows=2), numbered(1, shard=3)], encode)
    log.write([numbered(2)], encode)
    first = decode_commit(far.entries[entry_name(1)], "first")
    assert first.files == (DataFile("1-1", 3, 14),)
    assert sorted(first.ledger) == [0, 3]
    assert far.shown == {"1-1": b"0/10 0/11 3/10", "2-2": b"0/20"}
    assert far.waiting == {}


def test_a_replay_writes_nothing() -> None:
    """A repeated batch leaves neither file nor entry, in the same writer and in another."""
    far = Far()
    log = opened(far)
    log.write([numbered(1)], encode)
    log.write([numbered(1)], encode)
    opened(far).write([numbered(1)], encode)
    assert (len(far.entries), len(far.shown), far.waiting) == (1, 1, {})


def test_batches_without_rows_move_the_ledger() -> None:
    """An empty batch has a number too, and so has one whose rows are all refused."""
    far = Far()
    log = opened(far)
    log.write([numbered(1, rows=0)], encode)
    log.write([numbered(2)], lambda _: None)
    log.write([numbered(3)], encode)
    assert far.delivered() == [(0, 30)]
    assert far.shown.keys() == {"3-1"}


def test_a_writer_that_fell_behind_reads_on() -> None:
    """Two writers of a launch may take turns with a shard: one process may hold several."""
    far = Far()
    one, other = opened(far), opened(far)
    for sequence in range(1, 6, 2):
        one.write([numbered(sequence)], encode)
        other.write([numbered(sequence + 1)], encode)
    assert far.delivered() == [(0, 10 * sequence) for sequence in range(1, 7)]
    with pytest.raises(SequenceGapError, match="found batch 9, expected 7"):
        one.write([numbered(9)], encode)


def test_a_file_that_another_writer_made_needless_is_let_go() -> None:
    """A zombie stages a file, its successor lists the same batch first: one file is shown, none waits."""
    far = Far()
    successor = opened(far)
    meets = iter([True])

    def meet() -> None:
        if far.waiting and next(meets, False):
            successor.write([numbered(1)], encode)

    opened(far, step=meet).write([numbered(1)], encode)
    assert (far.delivered(), far.waiting) == ([(0, 10)], {})


def test_an_answer_that_is_lost_below_is_known_again() -> None:
    """A store that tries again by itself finds the name taken, by its own entry: that is a success."""
    far = Far()
    store = MemoryStore(far)
    create = store.create_only
    store.create_only = lambda name, content: create(name, content) and create(name, content)  # type: ignore[method-assign]
    discarded: list[str] = []
    store.discard = discarded.append  # type: ignore[method-assign]
    CommitLog(store, "things", Writer(1, 4, 2)).write([numbered(1)], encode)
    assert (far.delivered(), discarded) == ([(0, 10)], [])


def test_an_older_generation_is_turned_away() -> None:
    """It is told when its entry meets the newer one's."""
    far = Far()
    old = opened(far, 1)
    opened(far, 2).write([numbered(1, generation=2)], encode)
    with pytest.raises(StaleWriterError):
        old.write([numbered(1)], encode)
    assert far.delivered() == [(0, 10)]


def test_a_launch_that_reads_again_leaves_out_what_is_there() -> None:
    """A log of changes appends, so what an older generation delivered must not come twice."""
    far = Far()
    opened(far, 1).write([numbered(1, rows=2)], encode)
    again = opened(far, 2)
    again.write([numbered(1, generation=2, rows=2)], encode)
    again.write([numbered(2, generation=2)], encode)
    assert far.delivered() == [(0, 10), (0, 11), (0, 20)]


def test_a_checkpoint_comes_after_what_it_covers_is_settled() -> None:
    """Who starts from it shows only what later entries list: a crash must not hide older files again."""
    far = Far()
    store = MemoryStore(far)
    done: list[str] = []
    create = store.create_only
    store.create_only = lambda name, content: done.append(name[-16:]) is None and create(name, content)  # type: ignore[method-assign]
    store.settle = lambda: done.append("settle")  # type: ignore[method-assign]
    log = CommitLog(store, "things", Writer(1, 4, 2))
    for sequence in range(1, 22):
        log.write([numbered(sequence)], encode)
    assert done[-4:] == ["00000000020.json", "settle", ".checkpoint.json", "00000000021.json"]


def test_a_start_reads_the_newest_checkpoint_and_what_follows() -> None:
    """However long the log is; where its checkpoint was not written, the one before does."""
    far = Far()
    log = opened(far)
    for sequence in range(1, 46):
        log.write([numbered(sequence)], encode)
    for expected in (6, 26):
        names: list[str] = []
        store = MemoryStore(far)
        read = store.read
        store.read = lambda name, read=read, names=names: names.append(name) or read(name)  # type: ignore[method-assign,misc]
        CommitLog(store, "things", Writer(1, 4, 2)).open()
        assert len([name for name in names if "checkpoint" not in name]) == expected
        far.entries.pop(f"{40:020d}.checkpoint.json", None)
    # Entries that a checkpoint covers are not needed to go on.
    for number in range(1, 21):
        del far.entries[entry_name(number)]
    opened(far).write([numbered(46)], encode)
    assert far.delivered()[-1] == (0, 460)


def test_a_hole_in_the_log_is_an_error() -> None:
    """An entry that somebody took away holds what nobody can tell again."""
    far = Far()
    log = opened(far)
    for sequence in range(1, 4):
        log.write([numbered(sequence)], encode)
    del far.entries[entry_name(2)]
    with pytest.raises(SinkError, match=r"entity 'things': found no 0+2\.json in the log"):
        opened(far)


def test_names_are_told_apart() -> None:
    """Names of entries sort as numbers; temporary files are none."""
    assert entry_name(12) == "00000000000000000012.json"
    assert entry_name(9) < entry_name(10)
    assert [number_of(name) for name in (entry_name(7), f"{7:020d}.checkpoint.json")] == [7, 7]
    assert [number_of(name) for name in (".00ff.tmp", "7.json", "x" * 20 + ".json", "")] == [0, 0, 0, 0]


ENTRY_V1 = (
    b'{"files":[{"name":"part-00000000000000000001-ab.jsonl","rows":2,"bytes":80}],'
    b'"ledger":{"3":{"generation":1760000000000,"sequence":7,"shards":4,"marks":{"t/3":[11,0]},"past":{},'
    b'"version":1}},"version":1}'
)


def test_entries_of_the_first_version_are_read() -> None:
    """What the first release wrote is read by this one, and goes on."""
    assert decode_commit(ENTRY_V1, "x").files == (DataFile("part-00000000000000000001-ab.jsonl", 2, 80),)
    ledger = ENTRY_V1[ENTRY_V1.index(b'"ledger"') :]
    for name, content in ((entry_name(1), ENTRY_V1), (f"{100:020d}.checkpoint.json", b"{" + ledger)):
        far = Far()
        far.entries[name] = content
        far.shown["part-00000000000000000001-ab.jsonl"] = b""
        log = opened(far, 1_760_000_000_000)
        log.write([numbered(8, 3, generation=1_760_000_000_000)], encode)
        with pytest.raises(SequenceGapError, match="found batch 10, expected 9"):
            log.write([numbered(10, 3, generation=1_760_000_000_000)], encode)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"files":[],"ledger":{},"version":2}', "found version 2, expected 1"),
        (b'{"files":[', "truncated"),
        (ENTRY_V1.replace(b'"version":1}}', b'"version":9}}'), "found version 9, expected 1"),
    ],
)
def test_what_is_not_understood_is_refused(content: bytes, said: str) -> None:
    """A newer form, or damage, stops the writer: it must not guess what was delivered."""
    far = Far()
    far.entries[entry_name(1)] = content
    with pytest.raises(SinkError, match=said):
        opened(far)


# What happens at one step of a writer.
CALM, LOSE, RIVAL, RESTARTED_RIVAL = "calm", "lose", "rival", "restarted rival"
_STREAMS = [(1, 0), (1, 1), (2, 0), (3, 0), (2, 1), (4, 0)]


@given(st.lists(st.sampled_from([CALM, CALM, LOSE, RIVAL, RESTARTED_RIVAL]), max_size=60))
def test_nothing_is_lost_or_doubled(steps: list[str]) -> None:
    """Between any two calls of a writer its process may die, or another, awake or new, write the same."""
    far = Far()
    left = iter(steps)
    batches = [numbered(sequence, shard) for sequence, shard in _STREAMS]
    rival = opened(far)
    done = [0]

    def step() -> None:
        what = next(left, CALM)
        if what == LOSE:
            raise _LostError
        if what == RIVAL:
            rival.write(batches[: done[0] + 1], encode)
        if what == RESTARTED_RIVAL:
            opened(far).write(batches[: done[0] + 1], encode)

    log = None
    while done[0] < len(batches):
        with suppress(_LostError):
            log = log or opened(far, step=step)
            log.write([batches[done[0]]], encode)
            done[0] += 1
            continue
        # A call that failed is tried again by the same writer; every other time the process dies.
        log = None if len(far.entries) % 2 else log
    opened(far).write(batches, encode)
    assert sorted(far.delivered()) == sorted((shard, 10 * sequence) for sequence, shard in _STREAMS)
    for wanted in (0, 1):
        offsets = [offset for shard, offset in far.delivered() if shard == wanted]
        assert offsets == sorted(offsets)
    assert far.waiting == {}


def test_without_the_empty_entry_a_sleeper_would_list_what_is_gone() -> None:
    """A writer asleep between staging and listing finds its file swept, and writes it anew."""
    far = Far()
    asleep = iter([True])

    def sweep_once() -> None:
        if far.waiting and next(asleep, False):
            opened(far)

    sleeper = opened(far, step=sweep_once)
    sleeper.write([numbered(1)], encode)
    assert decode_commit(far.entries[entry_name(1)], "1") == Commit()
    assert far.delivered() == [(0, 10)]
