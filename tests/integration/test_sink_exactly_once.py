"""What every sink does that promises exactly-once, whatever its far side is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
import pytest

from tillstream.io.sinks import Sink, Writer
from tillstream.pipelines.errors import SequenceGapError, StaleWriterError
from tillstream.pipelines.records import MutationBatch

from .rigs import EXACTLY_ONCE
from .sink_rigs import Rig, batch, written

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("rig", EXACTLY_ONCE, indirect=True),
]

Open: TypeAlias = Callable[..., Sink]


@pytest.fixture
def opened(rig: Rig) -> Iterator[Open]:
    """Return a function that opens a sink of a generation; each is a writer process of its own."""
    sinks: list[Sink] = []

    def open_sink(generation: int = 1, *, shards: int = 4, parallelism: int = 2) -> Sink:
        sink = rig.sink(writer=Writer(generation, shards, parallelism))
        sink.open()
        sinks.append(sink)
        return sink

    yield open_sink
    for sink in sinks:
        sink.close()


def numbered(sequence: int, *rows: tuple[Any, ...], offset: int | None = None, **more: int) -> MutationBatch:
    """Return batch `sequence` of a shard; its changes' offsets are 10 times that number, and on."""
    place = 10 * sequence if offset is None else offset
    return batch("orders", *rows, offset=place, sequence=sequence, **{"generation": 1, "first": 1, **more})


def assert_shown(rig: Rig, rows: list[tuple[Any, ...]], offsets: list[int]) -> None:
    """Check the rows, and where the far side keeps all changes, that each is there once, in order."""
    assert rig.rows("orders") == rows
    assert rig.log("orders") in (None, offsets)


ONE, TWO, THREE = (1, "new", "1.00"), (2, "new", "2.00"), (3, "new", "3.00")


def test_a_repeated_batch_is_skipped(rig: Rig, opened: Open) -> None:
    """A batch with a number that the sink has is not applied, and refuses nothing again."""
    sink = opened()
    assert len(written(sink, [numbered(1, ONE, (9, "\ud800", "1.00"))])) == 1
    assert written(sink, [numbered(1, ONE, (9, "\ud800", "1.00"))]) == []
    assert written(sink, [numbered(1, ONE), numbered(2, TWO)]) == []
    assert_shown(rig, [ONE, TWO], [10, 20])


def test_a_restarted_writer_goes_on(rig: Rig, opened: Open) -> None:
    """A second writer of the same generation skips what the first applied, however it cuts its bundles."""
    first = opened()
    written(first, [numbered(1, ONE)])
    written(first, [numbered(2, (1,), TWO)])
    first.close()
    written(opened(), [numbered(1, ONE), numbered(2, (1,), TWO), numbered(3, ONE)])
    assert_shown(rig, [ONE, TWO], [10, 20, 21, 30])


def test_shards_of_all_subtasks_come_through_one_process(rig: Rig, opened: Open) -> None:
    """One call may bring streams of several entities and shards, each with numbers of its own."""
    sink = opened()
    written(sink, [numbered(1, ONE, shard=0), numbered(1, TWO, shard=3), numbered(2, THREE, shard=3)])
    stock = batch("stock", ("a", 1, 5), shard=3, sequence=1, generation=1, first=1)
    written(sink, [numbered(2, ONE, shard=0), stock, numbered(2, THREE, shard=3)])
    assert rig.rows("orders") == [ONE, TWO, THREE]
    assert rig.rows("stock") == [("a", 1, 5)]


def test_a_zombie_doubles_nothing(rig: Rig, opened: Open) -> None:
    """A writer that wakes up after its successor wrote the same batch applies it not, and may fail."""
    zombie = opened()
    written(zombie, [numbered(1, ONE)])
    successor = opened()
    written(successor, [numbered(1, ONE), numbered(2, TWO)])
    with contextlib.suppress(StaleWriterError):  # where the far side tells it from its successor
        written(zombie, [numbered(2, TWO)])
    written(successor, [numbered(3, THREE)])
    assert_shown(rig, [ONE, TWO, THREE], [10, 20, 30])


def test_a_zombie_of_other_parallelism_doubles_nothing(rig: Rig, opened: Open) -> None:
    """A writer from before the job was rescaled is told apart as well."""
    zombie = opened(parallelism=1)
    written(zombie, [numbered(1, ONE, shard=3)])
    successor = opened(parallelism=4)
    written(successor, [numbered(1, ONE, shard=3), numbered(2, TWO, shard=3)])
    with contextlib.suppress(StaleWriterError):
        written(zombie, [numbered(2, TWO, shard=3)])
    written(successor, [numbered(3, THREE, shard=3)])
    assert_shown(rig, [ONE, TWO, THREE], [10, 20, 30])


def test_an_older_generation_is_turned_away(rig: Rig, opened: Open) -> None:
    """When a newer launch has written, an older one fails, and changes nothing."""
    old = opened(1)
    written(old, [numbered(1, ONE)])
    new = opened(2)
    written(new, [numbered(2, TWO, generation=2, first=2)])
    for stale in (old, opened(1)):
        with pytest.raises(StaleWriterError):
            written(stale, [numbered(2, (2, "old", "2.00"))])
    written(new, [numbered(3, THREE, generation=2, first=2)])
    assert_shown(rig, [ONE, TWO, THREE], [10, 20, 30])


def test_a_gap_fails_loudly(rig: Rig, opened: Open) -> None:
    """A batch beyond the next one is an error with entity, shard and numbers; nothing of it is applied."""
    sink = opened()
    written(sink, [numbered(1, ONE)])
    with pytest.raises(SequenceGapError, match=r"entity 'orders', shard 0: found batch 3, expected 2"):
        written(sink, [numbered(3, THREE)])
    with pytest.raises(SequenceGapError, match="found batch 2, expected 1"):
        written(opened(), [numbered(2, THREE, shard=1)])
    written(sink, [numbered(2, TWO)])
    assert_shown(rig, [ONE, TWO], [10, 20])


def test_a_launch_from_nothing_neither_skips_nor_doubles(rig: Rig, opened: Open) -> None:
    """A new generation numbers anew and reads all again; what it had is not shown twice, the rest is."""
    written(opened(1), [numbered(1, ONE, TWO), numbered(2, (1,))])
    again = opened(2)
    written(again, [numbered(1, ONE, generation=2)])
    written(again, [numbered(2, TWO, (7,), offset=11, generation=2)])
    written(again, [numbered(3, (1,), THREE, offset=20, generation=2)])
    assert rig.rows("orders") == [TWO, THREE]
    assert rig.log("orders") in (None, [10, 11, 20, 21])


def test_a_launch_from_an_older_savepoint_goes_on(rig: Rig, opened: Open) -> None:
    """A new generation may begin with a number that the sink has; it is applied by place, not by number."""
    written(opened(1), [numbered(1, ONE), numbered(2, TWO), numbered(3, (1,))])
    again = [numbered(2, TWO), numbered(3, (1,)), numbered(4, THREE)]
    moved = [msgspec.structs.replace(each, generation=2, first=2) for each in again]
    written(opened(2), moved)
    assert_shown(rig, [TWO, THREE], [10, 20, 30, 40])


def test_batches_that_waited_in_a_savepoint_are_applied_by_place(rig: Rig, opened: Open) -> None:
    """A new launch first brings what an older one made and did not write; what it wrote is left out."""
    written(opened(1), [numbered(1, ONE), numbered(2, TWO)])
    sink = opened(2)
    written(sink, [numbered(2, TWO), numbered(3, THREE), numbered(4, (1,), generation=2, first=4)])
    assert_shown(rig, [TWO, THREE], [10, 20, 30, 40])


def test_what_dies_before_its_commit_is_applied_once(rig: Rig, opened: Open) -> None:
    """The far side dies between rows and commit: the same call, or its replay, applies them once."""
    sink = opened()
    written(sink, [numbered(1, ONE)])
    rig.die_before_commit()
    written(sink, [numbered(2, TWO)])
    sink.close()
    written(opened(), [numbered(2, TWO), numbered(3, THREE)])
    assert_shown(rig, [ONE, TWO, THREE], [10, 20, 30])


def test_a_bad_row_does_not_hold_its_batch(rig: Rig, opened: Open) -> None:
    """A refused row is handed back before the others are committed."""
    sink = opened()
    shown_before: list[Any] = []
    sink.write(
        [numbered(1, ONE, (9, "\ud800", "1.00"), TWO)],
        lambda letters: shown_before.append((len(letters), rig.log("orders"))),
    )
    assert shown_before in ([(1, None)], [(1, [])])
    written(sink, [numbered(2, THREE)])
    assert_shown(rig, [ONE, TWO, THREE], [10, 12, 20])
