"""Change batches become mutation batches: transform, contract, dead letters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to
from pydantic import BaseModel

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetterBatch,
    MutationBatch,
    Operation,
)
from tillstream.transforms.api import TransformInfo
from tillstream.transforms.fake_state import FakeBag, FakeCell
from tillstream.transforms.flow_runner import EventReader
from tillstream.transforms.flows import Flow
from tillstream.transforms.transform_changes import TransformChanges

KEYED = beam.typehints.Tuple[bytes, bytes]


def config(**entity: Any) -> ClientConfig:
    """Return a client with one entity, prices."""
    prices = {"topic": "globex.public.prices", "key": ["id"], "sinks": ["out"], **entity}
    return ClientConfig.model_validate(
        {
            "client": "globex",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": {"prices": prices},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )


CONTRACT = {"id": "int64", "price": "decimal(12,2)", "currency": "string", "price_eur": "decimal(12,2)"}


def record(offset: int, after: bytes | None, op: Operation = Operation.CREATE) -> ChangeRecord:
    """Return a change of row 1."""
    return ChangeRecord(offset, op, (1,), (offset,), 1000, None, after)


def batch(*records: ChangeRecord) -> tuple[bytes, bytes]:
    """Return the stage's input for some changes."""
    return b"s0", ChangeBatch("globex", "prices", 0, "globex.public.prices", 2, ("id",), records).encode()


def rows(element: tuple[bytes, bytes]) -> list[Any]:
    """Return what matters of a mutation batch."""
    decoded = MutationBatch.decode(element[1])
    return [
        (decoded.columns, each.kind.value, each.key, each.values, each.offset) for each in decoded.records
    ]


def letters(frame: bytes) -> list[Any]:
    """Return what matters of a dead letter."""
    return [
        (each.reason, each.topic, each.partition, each.offset, each.transform, each.traceback is not None)
        for each in DeadLetterBatch.decode(frame).letters
    ]


def check(
    client: ClientConfig, inputs: Sequence[tuple[bytes, bytes]], mutations: list[Any], dead: list[Any]
) -> None:
    """Run the stage alone and compare both of its outputs."""
    with TestPipeline() as pipeline:
        outputs = (
            pipeline
            | beam.Create(list(inputs)).with_output_types(KEYED)
            | beam.ParDo(TransformChanges(client)).with_outputs("dead_letters", main="main")
        )
        assert_that(outputs["main"] | "rows" >> beam.FlatMap(rows), equal_to(mutations), label="mutations")
        assert_that(
            outputs["dead_letters"] | "letters" >> beam.FlatMap(letters), equal_to(dead), label="dead letters"
        )


def _state() -> tuple[FakeCell, FakeBag]:
    return FakeCell(), FakeBag()


def test_rows_pass_through_their_contract_in_order() -> None:
    """Without a transform a row is checked, put into the contract's order, and passed on."""
    columns = ("id", "price")
    check(
        config(contract={"id": "int64", "price": "decimal(12,2)"}),
        [batch(record(5, b'{"price":"1.50","id":1,"extra":0}'), record(6, None, Operation.DELETE))],
        [(columns, "u", (1,), (1, "1.50"), 5), (columns, "d", (1,), None, 6)],
        [],
    )


def test_a_row_that_breaks_the_contract_leaves_the_others_alone() -> None:
    """One bad row of a batch becomes a dead letter, the next one is delivered."""
    check(
        config(contract={"id": "int64"}),
        [batch(record(5, b'{"id":"x"}'), record(6, b'{"id":1}'))],
        [(("id",), "u", (1,), (1,), 6)],
        [("contract", "globex.public.prices", 2, 5, None, False)],
    )


def test_rows_without_a_contract_keep_their_columns() -> None:
    """Rows of different columns go into different batches, in order."""
    check(
        config(),
        [batch(record(1, b'{"id":1,"a":1}'), record(2, b'{"id":1,"b":[2]}'))],
        [(("id", "a"), "u", (1,), (1, 1), 1), (("id", "b"), "u", (1,), (1, [2]), 2)],
        [],
    )


def test_the_transform_is_applied() -> None:
    """The DoFn that the config names makes the rows."""
    columns = tuple(CONTRACT)
    check(
        config(contract=CONTRACT, transform="globex.price_in_euros@1.0.0"),
        [batch(record(1, b'{"id":1,"price":"10.00","currency":"USD"}'), record(2, None, Operation.DELETE))],
        [(columns, "u", (1,), (1, "10.00", "USD", "9.20"), 1), (columns, "d", (1,), None, 2)],
        [],
    )


def test_a_transform_that_raises_leaves_a_dead_letter_with_its_version() -> None:
    """Whatever a client's code raises becomes data, with the transform and the traceback."""
    check(
        config(contract=CONTRACT, transform="globex.price_in_euros@1.0.0"),
        [batch(record(1, b'{"id":1,"price":"10.00","currency":"XXX"}'))],
        [],
        [("transform_failed", "globex.public.prices", 2, 1, "globex.price_in_euros@1.0.0", True)],
    )


@pytest.mark.parametrize(
    "bad", [b'{"id":"x","price":"1"}', b'{"id":"__debezium_unavailable_value","price":"1"}']
)
def test_one_bad_row_changes_nothing_for_those_around_it(bad: bytes) -> None:
    """Rows checked in one go, and one by one because of a bad neighbour, come out the same."""
    good = [
        record(5, b'{"id":1,"price":"1.50"}'),
        record(7, None, Operation.DELETE),
        record(8, b'{"price":null,"id":9007199254740993}', Operation.UPDATE),
    ]
    client = config(contract={"id": "int64", "price": "decimal(12,2)"})
    stage = TransformChanges(client)
    stage.setup()
    (at_once,) = stage.process(batch(*good), *_state())
    one_by_one, refused = stage.process(batch(good[0], record(6, bad), *good[1:]), *_state())
    assert rows(at_once) == rows(one_by_one)
    assert [each[3] for each in rows(at_once)] == [(1, "1.50"), None, (9007199254740993, None)]
    assert [each[3] for each in letters(refused.value)] == [6]


def test_repeats_are_dropped_and_batches_numbered() -> None:
    """A batch that comes again gives no mutations, and the next one that does has the next number."""
    stage = TransformChanges(config(contract={"id": "int64", "price": "decimal(12,2)"}), generation=7)
    stage.setup()
    state = _state()
    first, second = (batch(record(offset, b'{"id":1,"price":"1.50"}')) for offset in (5, 6))
    outputs = [list(stage.process(each, *state)) for each in (first, first, second)]
    numbers = [[MutationBatch.decode(frame).sequence for _, frame in each] for each in outputs]
    assert numbers == [[1], [], [2]]


def test_numbers_go_on_after_a_restart() -> None:
    """Another instance continues from the state, and drops what the first one has passed on."""
    client = config(contract={"id": "int64", "price": "decimal(12,2)"})
    state = _state()
    for offsets, expected in (((5,), [1]), ((5, 6), [2]), ((6, 7), [3])):
        stage = TransformChanges(client, generation=7)
        stage.setup()
        (output,) = stage.process(
            batch(*[record(each, b'{"id":1,"price":"1.50"}') for each in offsets]), *state
        )
        decoded = MutationBatch.decode(output[1])
        assert [decoded.sequence] == expected
        assert [each.offset for each in decoded.records] == [offsets[-1]]


def test_a_new_launch_tells_its_first_number() -> None:
    """Numbers go on over launches; each batch says which launch made it, and where that one began."""
    client = config(contract={"id": "int64", "price": "decimal(12,2)"})
    state = _state()
    found = []
    for generation, offset in ((7, 5), (7, 6), (9, 7), (9, 8)):
        stage = TransformChanges(client, generation)
        stage.setup()
        (output,) = stage.process(batch(record(offset, b'{"id":1,"price":"1"}')), *state)
        decoded = MutationBatch.decode(output[1])
        found.append((decoded.generation, decoded.sequence, decoded.first))
    assert found == [(7, 1, 1), (7, 2, 1), (9, 3, 3), (9, 4, 3)]


def test_columns_that_were_not_sent_are_named() -> None:
    """A row that lacks columns is in a batch of its own, in order, which says which; null stands for them."""
    stage = TransformChanges(config(contract={"id": "int64", "price": {"type": "string", "nullable": False}}))
    stage.setup()
    placeholder = b'{"id":1,"price":"__debezium_unavailable_value"}'
    changes = batch(
        record(5, b'{"id":1,"price":"1"}'), record(6, placeholder), record(7, b'{"id":1,"price":"2"}')
    )
    found = [MutationBatch.decode(frame) for _, frame in stage.process(changes, *_state())]
    assert [(each.unknown, [(r.offset, r.values) for r in each.records]) for each in found] == [
        ((), [(5, (1, "1"))]),
        (("price",), [(6, (1, None))]),
        ((), [(7, (1, "2"))]),
    ]


def test_rows_without_a_contract_must_be_whole() -> None:
    """Nobody knows then what a sink would make of a null."""
    check(
        config(),
        [batch(record(5, b'{"id":1,"a":"__debezium_unavailable_value"}'))],
        [],
        [("unavailable_value", "globex.public.prices", 2, 5, None, False)],
    )


def test_a_transform_without_an_input_model_gets_whole_rows() -> None:
    """Nobody knows which columns it looks at."""
    row = b'{"id":1,"price":"10.00","currency":"USD","note":"__debezium_unavailable_value"}'
    name = "globex.price_in_euros@1.0.0"
    check(
        config(contract=CONTRACT, transform=name),
        [batch(record(1, row))],
        [],
        [("unavailable_value", "globex.public.prices", 2, 1, name, False)],
    )


class _Price(BaseModel):
    id: int
    price: str


@pytest.mark.parametrize(("column", "is_refused"), [("price", True), ("note", False)])
def test_a_transform_needs_the_columns_of_its_input_model(column: str, is_refused: bool) -> None:  # noqa: FBT001
    """Others may be missing."""
    info = TransformInfo("globex.x@1.0.0", input=_Price)
    events = EventReader(Flow("prices", "prices", "record", None, info))
    row = {"id": 1, "price": "10.00", "note": "x", column: "__debezium_unavailable_value"}
    change = record(1, json.dumps(row, separators=(",", ":")).encode())
    changes = ChangeBatch("globex", "prices", 0, "t", 0, ("id",), (change,))
    if is_refused:
        with pytest.raises(RecordError, match="found no value of price"):
            events.event(changes, change)
    else:
        assert events.event(changes, change).after == {"id": 1, "price": "10.00"}


def test_the_row_before_has_what_a_transform_needs() -> None:
    """With REPLICA IDENTITY FULL it does."""
    old = b'{"id":1,"price":"10.00","currency":"USD","note":"the old note"}'
    new = b'{"id":1,"price":"10.00","currency":"USD","note":"__debezium_unavailable_value"}'
    found = ChangeRecord(1, Operation.UPDATE, (1,), (1,), 1000, old, new)
    contract = {"id": "int64", "note": "string"}
    check(
        config(contract=contract), [batch(found)], [(("id", "note"), "u", (1,), (1, "the old note"), 1)], []
    )
