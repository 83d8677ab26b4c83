"""A shard tells what it has consumed of each transaction, and whose each row is."""

from __future__ import annotations

from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
    Replay,
)
from tillstream.pipelines.transactions import NOBODY, Share
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.transactions.sharing import ShareMaker
from tillstream.transforms.transform_changes import TransformChanges

TOPIC = "acme.public.orders"


def config(**delivery: Any) -> ClientConfig:
    """Return a client whose transactions arrive whole."""
    contract = {"id": "int64", "amount": "int64"}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {
                "orders": {"topic": TOPIC, "key": ["id"], "contract": contract, "sinks": ["out"]},
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "delivery": {"atomicity": "transaction", **delivery},
            "flink": {"shards": 3},
        }
    )


def record(
    offset: int,
    transaction: tuple[str, int] | None,
    op: Operation = Operation.CREATE,
    row: bytes = b'{"id":1,"amount":2}',
    index: int = 0,
) -> ChangeRecord:
    """Return a change."""
    key = () if op is Operation.TRUNCATE else (1,)
    after = None if op is Operation.TRUNCATE else row
    return ChangeRecord(offset, op, key, (0, offset), 1000, None, after, transaction, index)


def read(*records: ChangeRecord, replay: Replay | None = None) -> ChangeBatch:
    """Return a batch as it is read."""
    return ChangeBatch("acme", "orders", 2, TOPIC, 0, ("id",), records, replay)


def made(*offsets: int, via: Any = None) -> MutationBatch:
    """Return rows that came of changes."""
    rows = tuple(MutationRecord(MutationKind.UPSERT, (1,), (1, 2), (0, n), 1000, n) for n in offsets)
    return MutationBatch("acme", "orders", 2, TOPIC, 0, ("id", "amount"), ("id",), rows, via=via)


def share(batch: ChangeBatch, *batches: MutationBatch) -> Share | None:
    """Return what is told."""
    return ShareMaker(config()).share(batch, batches)


def test_all_events_are_told_and_the_rows_that_some_made() -> None:
    """Two transactions, and a row of none; of one event came nothing."""
    batch = read(
        record(0, ("7", 1)), record(1, ("7", 3)), record(2, None, Operation.SNAPSHOT), record(3, ("8", 1))
    )
    rows = made(0, 2, 3)
    assert share(batch, rows) == Share(
        "acme.transaction", "orders", ("7", "8"), ((1, 3), (1,)), (), (rows,), ((0, NOBODY, 1),)
    )


def test_rows_of_one_transaction_are_told_in_short() -> None:
    """One owner stands for all."""
    found = share(read(record(0, ("7", 1)), record(1, ("7", 2))), made(0, 1))
    assert found is not None
    assert found.owners == ((0,),)


def test_truncates_and_halves_are_told_as_parts() -> None:
    """Each shard is a part of a truncate; an update without a key is a delete and a create."""
    batch = read(record(0, ("7", 1), Operation.TRUNCATE), record(1, ("7", 2), index=2))
    found = share(batch)
    assert found is not None
    assert (found.events, found.parts) == (((),), ((0, 1, 2, 3), (0, 2, 1, 2)))


def test_what_comes_back_belongs_to_no_transaction() -> None:
    """Neither as a replay, nor beside what is read."""
    back = Replay("l", "replay", "orders", "transform", 0, "", "", 5, 0, "r", 0, 1)
    replayed = share(read(record(0, ("7", 1)), replay=back), made(0))
    assert replayed is not None
    assert (replayed.transactions, replayed.owners) == ((), ((NOBODY,),))
    beside = share(read(record(0, ("7", 1))), made(0), made(0, via=("r", 0, 1, 0)))
    assert beside is not None
    assert beside.owners == ((0,), (NOBODY,))


def test_nothing_is_told_of_nothing() -> None:
    """A batch whose changes were all dropped, of no transaction."""
    assert share(read(record(0, None))) is None


def test_repeated_and_refused_events_are_told() -> None:
    """The stage tells of what it read, not of what it kept."""
    stage = TransformChanges(config(), 1, gathers=True)
    stage.setup()
    cells = [FakeState() for _ in range(3)]
    arguments = [each for state in cells for each in (state.cell, state.bag)]
    bad = record(1, ("7", 2), row=b'{"id":1,"amount":"x"}')
    out = list(stage.process((b"s2", read(record(0, ("7", 1)), bad).encode()), *arguments))
    again = list(stage.process((b"s2", read(record(0, ("7", 1))).encode()), *arguments))
    shares = [Share.decode(each[1]) for each in (*out, *again) if isinstance(each, tuple)]
    assert [each.events for each in shares] == [((1, 2),), ((1,),)]
    assert [[len(batch.records) for batch in each.batches] for each in shares] == [[1], []]
    assert [batch.sequence for batch in shares[0].batches] == [0]


def test_a_share_of_an_older_release_stays_readable() -> None:
    """Fields may be appended: they have defaults."""
    old = bytes((1,)) + msgspec.msgpack.encode(["acme.transaction"])
    assert Share.decode(old) == Share("acme.transaction")
