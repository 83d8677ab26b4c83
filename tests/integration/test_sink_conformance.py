"""What every sink does, whatever its far side is."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import pytest

from tillstream.io.sinks import Sink
from tillstream.pipelines.errors import SinkUnavailableError
from tillstream.pipelines.records import DeadLetter

from .rigs import RIGS
from .sink_rigs import Rig, batch, truncate, written

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("rig", RIGS, indirect=True),
]


@pytest.fixture
def sink(rig: Rig) -> Iterator[Sink]:
    """Return a sink that is open."""
    opened = rig.sink()
    opened.open()
    yield opened
    opened.close()


def test_it_opens_and_closes_more_than_once(rig: Rig) -> None:
    """Two sinks open on the same far side, also side by side; closing twice is harmless."""
    first, second = rig.sink(), rig.sink()
    for each in (first, second):
        each.open()
    for each in (first, second, first):
        each.close()
    first.open()
    written(first, [batch("orders", (1, "new", "9.50"))])
    first.close()
    assert rig.rows("orders") == [(1, "new", "9.50")]


def test_it_travels_to_a_worker_before_it_is_opened(rig: Rig) -> None:
    """A sink that is not open can be pickled."""
    copy = pickle.loads(pickle.dumps(rig.sink()))  # noqa: S301
    copy.open()
    written(copy, [batch("orders", (1, "new", "9.50"))])
    copy.close()
    assert rig.rows("orders") == [(1, "new", "9.50")]


def test_batches_of_several_entities_arrive(rig: Rig, sink: Sink) -> None:
    """Upserts and deletes of two entities, one with a key of two columns in another order, are written."""
    letters = written(
        sink,
        [
            batch("orders", (1, "new", "9.50"), (2, None, None)),
            batch("stock", ("a", 1, 5), ("b", 1, 6), offset=10),
            batch("stock", (1, "a"), offset=20),
        ],
    )
    assert letters == []
    assert rig.rows("orders") == [(1, "new", "9.50"), (2, None, None)]
    assert rig.rows("stock") == [("b", 1, 6)]


def test_the_last_mutation_of_a_key_wins(rig: Rig, sink: Sink) -> None:
    """A key that a call mutates often ends as its last mutation says."""
    written(
        sink,
        [
            batch("orders", (1, "new", "1.00"), (1,), (2, "new", "2.00"), (1, "paid", "1.00"), (2,)),
            batch("orders", (1, "sent", "1.00"), (3,), offset=10),
        ],
    )
    assert rig.rows("orders") == [(1, "sent", "1.00")]


def test_a_truncate_deletes_what_was_before_it(rig: Rig, sink: Sink) -> None:
    """Rows from before a truncate are gone, of earlier calls too; later ones and other entities stay."""
    written(sink, [batch("orders", (1, "new", "1.00"), (2, "new", "2.00")), batch("stock", ("a", 1, 5))])
    letters = written(
        sink,
        [
            batch("orders", (3, "new", "3.00"), offset=5),
            truncate("orders", offset=10),
            batch("orders", (1, "paid", "1.00"), offset=11),
        ],
    )
    assert letters == []
    assert rig.rows("orders") == [(1, "paid", "1.00")]
    assert rig.rows("stock") == [("a", 1, 5)]


def test_a_truncate_leaves_newer_rows_that_came_first(rig: Rig, sink: Sink) -> None:
    """Rows from behind the truncate stay, though another shard's truncate comes later."""
    first = [batch("orders", (1, "old", "1.00")), batch("orders", (2, "old", "2.00"), offset=1, shard=1)]
    ahead = [truncate("orders", offset=10), batch("orders", (3, "new", "3.00"), offset=20)]
    behind = [truncate("orders", offset=10, shard=1)]
    for batches in (first, ahead, behind):
        written(sink, batches)
    assert rig.rows("orders") == [(3, "new", "3.00")]


def test_writing_the_same_batches_again_changes_nothing(rig: Rig, sink: Sink) -> None:
    """A replay ends in the same rows."""
    batches = [batch("orders", (1, "new", "1.00"), (2, "new", "2.00"), (1,)), batch("stock", ("a", 1, 5))]
    written(sink, batches)
    before = [rig.rows("orders"), rig.rows("stock")]
    written(sink, batches)
    assert [rig.rows("orders"), rig.rows("stock")] == before == [[(2, "new", "2.00")], [("a", 1, 5)]]


def test_a_restarted_writer_goes_on(rig: Rig, sink: Sink) -> None:
    """A second sink replays what the first wrote, cut into other bundles, and goes on."""
    first, second = batch("orders", (1, "new", "1.00")), batch("orders", (1, "paid", "1.00"), offset=1)
    third = batch("orders", (1,), (2, "new", "2.00"), offset=2)
    written(sink, [first])
    written(sink, [second])
    sink.close()
    successor = rig.sink()
    successor.open()
    written(successor, [first, second, third])
    successor.close()
    assert rig.rows("orders") == [(2, "new", "2.00")]


def test_a_bad_row_becomes_a_dead_letter(rig: Rig, sink: Sink) -> None:
    """Of a hundred rows one cannot be written; the others are, and it comes back with its identity."""
    rows = [(i, "\ud800" if i == 57 else "new", "1.00") for i in range(100)]
    (letter,) = written(sink, [batch("orders", *rows), batch("stock", ("a", 1, 5))])
    assert [row[0] for row in rig.rows("orders")] == [i for i in range(100) if i != 57]
    assert rig.rows("stock") == [("a", 1, 5)]
    assert (letter.step, letter.reason, letter.entity) == ("write", "refused_by_sink", "orders")
    assert (letter.topic, letter.partition, letter.offset, letter.index) == ("acme.public.orders", 0, 57, 0)
    assert letter.key == b'{"order_id":57}'
    assert letter.payload == b'{"order_id":57,"status":"\\ud800","total":"1.00"}'
    assert letter.sink == "sink"
    assert "surrogates" in letter.detail


def test_it_waits_for_a_far_side_that_comes_back(rig: Rig, sink: Sink) -> None:
    """What is written while the far side is gone is there when it is back."""
    written(sink, [batch("orders", (1, "new", "1.00"))])
    rig.take_away()
    writer = threading.Thread(target=written, args=(sink, [batch("orders", (2, "new", "2.00"), offset=1)]))
    writer.start()
    try:
        assert rig.refused_once.wait(30)
    finally:
        rig.bring_back()
    writer.join(60)
    assert rig.rows("orders") == [(1, "new", "1.00"), (2, "new", "2.00")]


def test_it_waits_for_a_far_side_that_is_slow(rig: Rig, sink: Sink) -> None:
    """What is written while the far side does not answer is there, once, when it does."""
    written(sink, [batch("orders", (1, "new", "1.00"))])
    rig.hold()
    writer = threading.Thread(target=written, args=(sink, [batch("orders", (2, "new", "2.00"), offset=1)]))
    writer.start()
    try:
        writer.join(0.5)
        assert writer.is_alive()
    finally:
        rig.let_go()
    writer.join(60)
    assert rig.rows("orders") == [(1, "new", "1.00"), (2, "new", "2.00")]
    assert rig.log("orders") in (None, [0, 1])


def test_it_gives_up_on_a_far_side_that_stays_away(rig: Rig) -> None:
    """After the bounded retries the error names the sink and what to check; later the sink goes on."""
    sink = rig.sink(retry_s_max=0)
    sink.open()
    rig.take_away()
    try:
        with pytest.raises(SinkUnavailableError, match=r"sink sink: .*: check that"):
            written(sink, [batch("orders", (1, "new", "1.00"))])
    finally:
        rig.bring_back()
    assert written(sink, [batch("orders", (1, "new", "1.00"))]) == []
    sink.close()
    assert rig.rows("orders") == [(1, "new", "1.00")]


def test_dead_letters_are_kept_once(rig: Rig, sink: Sink) -> None:
    """Letters with and without text are kept; the same ones again change nothing."""
    letters = [
        DeadLetter("acme", None, "read", "malformed", "found \0", "t", 0, 7, payload=b"{not json"),
        DeadLetter("acme", "orders", "read", "malformed", "x", "t", 0, 8, key=b"k", payload=b"\xff\0"),
    ]
    sink.write_dead_letters(letters)
    sink.write_dead_letters(letters)
    kept = {letter["offset"]: letter for letter in rig.letters()}
    assert sorted(letter["offset"] for letter in rig.letters()) == [7, 8]
    assert (kept[7]["payload"], kept[7]["entity"], kept[7]["reason"]) == ("{not json", None, "malformed")
    assert (kept[8]["payload"], kept[8]["key"]) == (None, "k")


def test_each_sink_has_its_own_letter(rig: Rig, sink: Sink) -> None:
    """Two sinks that refuse the same mutation leave two letters, also where they come in two bundles."""
    for name in ("east", "west", "east"):
        letter = DeadLetter("acme", "orders", "write", "refused_by_sink", "x", "t", 0, 7, sink=name)
        sink.write_dead_letters([letter])
    assert sorted(letter["sink"] for letter in rig.letters()) == ["east", "west"]
