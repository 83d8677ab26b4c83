"""A truncate becomes deletes of the rows that are known, and one mutation for all others."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import apache_beam as beam
import msgspec
import pytest
from pydantic import BaseModel

from tillstream.configs import ClientConfig
from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    MutationBatch,
    Operation,
)
from tillstream.transforms.api import TransformInfo, transform
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import Flow, using
from tillstream.transforms.registry import Registry
from tillstream.transforms.transform_changes import TransformChanges
from tillstream.transforms.truncating import swept_by

FILES = {"type": "files", "path": "/out"}
POSTGRES = {"type": "postgres", "host": "h", "database": "d", "user": "u"}
PRICE = {"id": "int64", "price": "decimal(12,2)", "currency": "string"}
EUROS = {**PRICE, "price_eur": "decimal(12,2)"}
IN_EUROS = "globex.price_in_euros@1.0.0"


@transform("tests.no_deletes@1.0.0")
class NoDeletes(beam.DoFn):
    """Raise for rows that go."""

    def process(self, event: ChangeEvent) -> Any:
        """Pass one on."""
        yield event.upsert(event.after or {})


def client(*, dedup: str = "position", **entities: Any) -> ClientConfig:
    """Return a client of some entities, among them `prices` with a topic."""
    prices = {"topic": "globex.public.prices", "key": ["id"], "contract": PRICE, "sinks": ["files"]}
    return ClientConfig.model_validate(
        {
            "client": "globex",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"prices": {**prices, **entities.pop("prices", {})}, **entities},
            "sinks": {"files": FILES, "table": POSTGRES},
            "dedup": {"by": dedup},
            "flink": {"shards": 4},
        }
    )


def row(key: int, lsn: int, currency: str = "USD") -> ChangeRecord:
    """Return a create."""
    after = b'{"id":%d,"price":"10.00","currency":"%s"}' % (key, currency.encode())
    return ChangeRecord(lsn, Operation.CREATE, (key,), (0, lsn, 1, lsn), lsn, None, after)


def truncate(lsn: int) -> ChangeRecord:
    """Return a truncate."""
    return ChangeRecord(lsn, Operation.TRUNCATE, (), (0, lsn, 1, lsn), lsn, None, None)


class Shard:
    """Run one shard's changes through the stage."""

    def __init__(self, config: ClientConfig) -> None:
        self._stage = TransformChanges(config, generation=1)
        self._stage.setup()
        self._states = [FakeState() for _ in range(3)]
        self.letters: list[DeadLetter] = []

    def take(self, *records: ChangeRecord, entity: str = "prices") -> list[MutationBatch]:
        """Return what comes of a batch of changes."""
        batch = ChangeBatch("globex", entity, 2, f"globex.public.{entity}", 0, ("id",), records)
        cells = [cell for each in self._states for cell in (each.cell, each.bag)]
        made = list(self._stage.process((b"s2", batch.encode()), *cells))
        for each in made:
            if not isinstance(each, tuple):
                self.letters += DeadLetterBatch.decode(each.value).letters
        return [MutationBatch.decode(each[1]) for each in made if isinstance(each, tuple)]


def shown(batches: Iterable[MutationBatch]) -> list[tuple[Any, ...]]:
    """Return what matters of mutations."""
    return [
        (batch.entity, record.kind.value, record.key, batch.only_sinks)
        for batch in batches
        for record in batch.records
    ]


def test_a_table_gets_one_truncate() -> None:
    """A sink that keeps positions tells by itself which rows go."""
    shard = Shard(client(prices={"sinks": ["table"]}))
    shard.take(row(1, 10), row(2, 11))
    (made,) = shard.take(truncate(30))
    assert shown([made]) == [("prices", "t", (), ())]
    (record,) = made.records
    assert (record.position, record.values, record.source_time_us, record.offset) == (
        (0, 30, 1, 30),
        None,
        30,
        30,
    )
    assert (made.columns, made.key_columns, made.sequence) == (tuple(PRICE), ("id",), 2)


def test_a_log_gets_a_delete_of_each_known_row_first() -> None:
    """Sinks without positions get the known rows' deletes, numbered apart, then the truncate as all do."""
    shard = Shard(client(prices={"sinks": ["files", "table"]}))
    shard.take(row(2, 10), row(1, 11), row(3, 40))
    made = shard.take(truncate(30))
    assert shown(made) == [
        ("prices", "d", (1,), ("files",)),
        ("prices", "d", (2,), ("files",)),
        ("prices", "t", (), ()),
    ]
    assert [(each.offset, each.index) for batch in made for each in batch.records] == [
        (30, 2),
        (30, 6),
        (30, 10),
    ]


def test_a_repeated_truncate_makes_nothing() -> None:
    """The second time nothing goes on."""
    shard = Shard(client())
    assert shown(shard.take(truncate(30))) == [("prices", "t", (), ())]
    assert shard.take(truncate(30)) == []


def test_a_transform_sees_the_known_rows_go() -> None:
    """The DoFn gets a delete of each row; the rest of what it made is deleted by the truncate."""
    shard = Shard(client(prices={"transform": IN_EUROS, "contract": EUROS, "sinks": ["table"]}))
    shard.take(row(1, 10), row(2, 11))
    assert shown(shard.take(truncate(30))) == [
        ("prices", "d", (1,), ()),
        ("prices", "d", (2,), ()),
        ("prices", "t", (), ()),
    ]


def test_every_flow_of_the_entity_is_told() -> None:
    """Entities that are made of the truncated one are swept with it, others are not."""
    euros = {"from": "prices", "key": ["id"], "transform": IN_EUROS, "contract": EUROS, "sinks": ["table"]}
    stock = {"topic": "globex.public.stock", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["table"]}
    shard = Shard(client(prices={"sinks": ["table"]}, euros=euros, stock=stock))
    shard.take(row(1, 10))
    assert shown(shard.take(truncate(30))) == [
        ("euros", "d", (1,), ()),
        ("euros", "t", (), ()),
        ("prices", "t", (), ()),
    ]


@pytest.mark.parametrize("dedup", ["event_id", "none"])
def test_without_positions_of_rows_the_truncate_alone_goes_on(dedup: str) -> None:
    """Where deduplication knows no rows, transforms see none go, and sinks delete them."""
    shard = Shard(client(dedup=dedup, prices={"transform": IN_EUROS, "contract": EUROS}))
    shard.take(row(1, 10))
    assert shown(shard.take(truncate(30))) == [("prices", "t", (), ())]


def test_a_batch_of_rows_after_a_truncate_goes_as_before() -> None:
    """Rows from before it are dropped, later ones delivered."""
    shard = Shard(client())
    shard.take(truncate(30))
    assert shown(shard.take(row(1, 10), row(2, 40))) == [("prices", "u", (2,), ())]
    assert shard.take(row(3, 20)) == []


def test_rows_stay_where_the_config_says_so() -> None:
    """With on_truncate keep no row is deleted, nor are changes from before the truncate lost behind it."""
    shard = Shard(client(prices={"on_truncate": "keep", "sinks": ["files", "table"]}))
    shard.take(row(1, 10))
    assert shard.take(truncate(30)) == []
    assert shown(shard.take(row(1, 20), row(1, 40))) == [("prices", "u", (1,), ())] * 2
    assert shown(shard.take(row(2, 5))) == [("prices", "u", (2,), ())]
    # Repeats are told as before.
    assert shown(shard.take(row(1, 10), row(1, 40), row(2, 5))) == []


@pytest.mark.parametrize("dedup", ["position", "event_id"])
def test_rows_that_stay_come_in_any_order(dedup: str) -> None:
    """Whichever partition is read first, the same rows are there."""
    events = [row(1, 10), row(2, 20), truncate(30), row(1, 40)]
    for order in permutations(events):
        shard = Shard(client(dedup=dedup, prices={"on_truncate": "keep", "sinks": ["table"]}))
        made = [each for record in order for each in shown(shard.take(record))]
        assert {key for _, kind, key, _ in made if kind == "u"} == {(1,), (2,)}
        assert {kind for _, kind, _, _ in made} == {"u"}


def test_each_flow_has_its_own_way() -> None:
    """An archive gets a row that is read behind the truncate, a copy beside it does not."""
    archive = {"from": "prices", "key": ["id"], "contract": PRICE, "sinks": ["table"], "on_truncate": "keep"}
    shard = Shard(client(prices={"sinks": ["files"]}, archive=archive))
    shard.take(row(1, 10))
    assert shown(shard.take(truncate(30))) == [("prices", "d", (1,), ("files",)), ("prices", "t", (), ())]
    assert shown(shard.take(row(2, 20), row(3, 35))) == [
        ("prices", "u", (3,), ()),
        ("archive", "u", (2,), ()),
        ("archive", "u", (3,), ()),
    ]
    # Rows that are told to be gone are not told so again, and one that a snapshot finds is new.
    assert shown(shard.take(truncate(50))) == [
        ("prices", "d", (3,), ("files",)),
        ("prices", "t", (), ()),
    ]
    again = msgspec.structs.replace(row(1, 60), operation=Operation.SNAPSHOT)
    again = msgspec.structs.replace(again, after=row(1, 10).after)
    assert [each[0] for each in shown(shard.take(again))] == ["prices", "archive"]


def test_a_transform_is_told_though_rows_stay() -> None:
    """With on_truncate keep a DoFn decides what becomes of the known rows, and nothing sweeps the others."""
    euros = {"transform": IN_EUROS, "contract": EUROS, "sinks": ["table"], "on_truncate": "keep"}
    shard = Shard(client(prices=euros))
    shard.take(row(1, 10))
    assert shown(shard.take(truncate(30))) == [("prices", "d", (1,), ())]


def test_a_held_key_is_let_go() -> None:
    """What waits for a change from before the truncate is obsolete; a key with newer changes stays held."""
    euros = {"transform": IN_EUROS, "contract": EUROS, "sinks": ["table"], "on_error": "hold_key"}
    shard = Shard(client(prices=euros))
    assert shown(shard.take(row(1, 10, "XXX"), row(1, 11), row(2, 12, "XXX"), row(2, 40))) == []
    assert [(letter.key, letter.reason) for letter in shard.letters] == [
        (b'{"id":1}', "transform_failed"),
        (b'{"id":2}', "transform_failed"),
    ]
    assert shown(shard.take(truncate(30))) == [("prices", "d", (1,), ()), ("prices", "t", (), ())]
    assert shown(shard.take(row(1, 50), row(2, 51))) == [("prices", "u", (1,), ())]


def test_what_a_transform_refuses_of_deletes_are_letters_of_their_own() -> None:
    """Each row's delete that raises is a dead letter with an identity of its own; the truncate goes on."""
    raising = {"transform": "tests.no_deletes@1.0.0", "contract": PRICE, "sinks": ["table"]}
    registry = Registry()
    registry.add(NoDeletes)
    with using(registry):
        shard = Shard(client(prices=raising))
        shard.take(row(1, 10), row(2, 11))
        assert shown(shard.take(truncate(30))) == [("prices", "t", (), ())]
    assert len({letter_id(letter) for letter in shard.letters}) == 2
    assert [(letter.offset, letter.key) for letter in shard.letters] == [(30, b'{"id":1}'), (30, b'{"id":2}')]


def test_each_part_of_a_large_table_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletes go on in batches of a bounded size, numbered one after the other."""
    monkeypatch.setattr("tillstream.transforms.truncating._PART_MAX", 2)
    shard = Shard(client())
    shard.take(*[row(key, key) for key in range(1, 6)])
    made = shard.take(truncate(30))
    assert [len(each.records) for each in made] == [2, 2, 1, 1]
    assert [each.sequence for each in made] == [2, 3, 4, 5]
    indexes = [record.index for each in made for record in each.records]
    assert indexes == sorted(set(indexes))


def test_only_what_one_entity_alone_is_made_of_row_by_row_is_swept() -> None:
    """Entities of later stages, and those that others write too, lose the rows that are known, no more."""
    events = TransformInfo("acme.seen@1.0.0", outputs={"events": BaseModel})
    flows = {
        "orders": (
            Flow("orders", "orders", "copy"),
            Flow("orders", "sums", "aggregate"),
            Flow("orders", "named", "lookup"),
            Flow("orders", "slow", "beam"),
            Flow("orders", "seen", "record", info=events),
        ),
        "stores": (Flow("stores", "stores", "record", info=events),),
    }
    assert swept_by(flows) == {"orders": ["orders", "seen"], "stores": ["stores"]}
