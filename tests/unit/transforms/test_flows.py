"""Entities are made from others, transforms keep state, and contracts come with transforms."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    MutationBatch,
    Operation,
)
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.resolving import resolve
from tillstream.transforms.transform_changes import TransformChanges

MODULE = """
from decimal import Decimal
from typing import Annotated, Any
import apache_beam as beam
from pydantic import BaseModel, Field
from tillstream.transforms.api import KeyedState, Lookup, transform

Money = Annotated[Decimal, Field(max_digits=12, decimal_places=2)]

class Order(BaseModel):
    order_id: int
    total: Money

class Doubled(BaseModel):
    order_id: int
    twice: Money

class Seen(BaseModel):
    order_id: int
    times: int

@transform("flowtest.doubled@1.0.0", input=Order, output=Doubled)
class DoubledOrders(beam.DoFn):
    def process(self, event):
        if event.after is None:
            yield event.delete()
        else:
            yield event.upsert({"order_id": event.after["order_id"], "twice": event.after["total"] * 2})

@transform("flowtest.seen@1.0.0", output=Seen)
class SeenOrders(beam.DoFn):
    def process(self, event, seen=KeyedState()):
        seen.set(seen.get(0) + 1)
        if event.after and event.after.get("total") == "666":
            raise ValueError("the number of the beast")
        yield event.upsert({"order_id": event.key["order_id"], "times": seen.get()})

@transform("flowtest.split@1.0.0", outputs={"big": Doubled})
class Split(beam.DoFn):
    def process(self, event):
        yield event.upsert(event.after)
        yield event.upsert({"order_id": event.key["order_id"], "twice": 2}, entity="big")

@transform("flowtest.lookup@1.0.0")
class LooksUp(beam.DoFn):
    def process(self, event, customer=Lookup("customers", on="customer_id")):
        yield event.upsert(event.after)

@transform("flowtest.wrong@1.0.0")
class Wrong(beam.DoFn):
    def process(self, event, other=3):
        yield event.upsert(event.after)
"""


@pytest.fixture(scope="module", autouse=True)
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the module of transforms that the configs below name."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "flowtest_transforms.py").write_text(MODULE)
    return folder


def config(modules: Path, entities: Mapping[str, Any]) -> ClientConfig:
    """Return a client whose orders are read from a topic, with more entities."""
    plain = {"topic": "shop.public.orders", "key": ["order_id"], "sinks": ["out"]}
    named = {"orders": plain}
    for name, more in entities.items():
        named[name] = {"key": ["order_id"], "sinks": ["out"], **named.get(name, {}), **more}
    return ClientConfig.model_validate(
        {
            "client": "flowtest",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": named,
            "transforms": {"modules": ["flowtest_transforms"], "path": str(modules)},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )


class Stage:
    """Run TransformChanges on one shard, with state that can be rolled back."""

    def __init__(self, client: ClientConfig) -> None:
        self.client = resolve(client)
        self.shard, self.state = FakeState(), FakeState()
        self.restart()

    def restart(self) -> None:
        """Go on with another instance."""
        self.stage = TransformChanges(self.client)
        self.stage.setup()
        self.stage.start_bundle()

    def __call__(self, *rows: tuple[int, int, str]) -> tuple[list[Any], list[DeadLetter]]:
        """Return (entity, values) of what orders (offset, id, total) become, and the dead letters."""
        records = tuple(
            ChangeRecord(offset, Operation.CREATE, (number,), (offset,), offset, None, _row(number, total))
            for offset, number, total in rows
        )
        frame = ChangeBatch("flowtest", "orders", 0, "shop.public.orders", 0, ("order_id",), records).encode()
        made: list[Any] = []
        letters: list[DeadLetter] = []
        cells = (self.shard.cell, self.shard.bag, self.state.cell, self.state.bag)
        for each in self.stage.process((b"s0", frame), *cells):
            if isinstance(each, TaggedOutput):
                letters += DeadLetterBatch.decode(each.value).letters
            else:
                found = MutationBatch.decode(each[1])
                made += [(found.entity, record.values) for record in found.records]
        return made, letters


def _row(number: int, total: str) -> bytes:
    return msgspec.json.encode({"order_id": number, "total": total})


def test_a_view_is_made_beside_its_source(modules: Path) -> None:
    """An entity `from` another gets its rows from that one's changes, typed by the transform's input."""
    client = config(modules, {"doubled": {"from": "orders", "transform": "flowtest.doubled@1.0.0"}})
    made, letters = Stage(client)((1, 7, "1.25"))
    assert made == [("orders", (7, "1.25")), ("doubled", (7, "2.50"))]
    assert letters == []


def test_a_row_that_breaks_the_input_contract_says_so(modules: Path) -> None:
    """The letter names the view, the field and the rule; the source's own row goes on."""
    client = config(modules, {"doubled": {"from": "orders", "transform": "flowtest.doubled@1.0.0"}})
    made, (letter,) = Stage(client)((1, 7, "much"))
    assert made == [("orders", (7, "much"))]
    assert (letter.entity, letter.reason, letter.transform) == (
        "doubled",
        "contract",
        "flowtest.doubled@1.0.0",
    )
    assert "input" in letter.detail
    assert "total" in letter.detail


def test_rows_are_routed_to_entities_without_a_topic(modules: Path) -> None:
    """One change makes rows of several entities, each under its contract."""
    client = config(modules, {"orders": {"transform": "flowtest.split@1.0.0"}, "big": {}})
    made, letters = Stage(client)((1, 7, "1"))
    assert made == [("orders", (7, "1")), ("big", (7, "2.00"))]
    assert letters == []


def test_state_is_of_the_key_and_survives_the_instance(modules: Path) -> None:
    """Each key counts for itself; a new instance goes on, and a roll-back takes the count back."""
    stage = Stage(config(modules, {"seen": {"from": "orders", "transform": "flowtest.seen@1.0.0"}}))
    stage((1, 7, "1"), (2, 8, "1"))
    snapshots = stage.shard.snapshot(), stage.state.snapshot()
    stage.restart()
    made, _ = stage((3, 7, "1"))
    assert made[-1] == ("seen", (7, 2))
    stage.shard.restore(snapshots[0])
    stage.state.restore(snapshots[1])
    made, _ = stage((3, 7, "1"), (4, 7, "1"))
    assert made[-2:] == [("seen", (7, 2)), ("seen", (7, 3))]


def test_what_a_failed_call_set_is_not_kept(modules: Path) -> None:
    """State changes with the mutations of its event, or not at all."""
    stage = Stage(config(modules, {"seen": {"from": "orders", "transform": "flowtest.seen@1.0.0"}}))
    _, letters = stage((1, 7, "1"), (2, 7, "666"))
    made, _ = stage((3, 7, "1"))
    assert [letter.reason for letter in letters] == ["transform_failed"]
    assert made[-1] == ("seen", (7, 2))


def test_contracts_come_with_transforms(modules: Path) -> None:
    """An entity without a contract takes its transform's; one that contradicts it is refused."""
    view = {"from": "orders", "transform": "flowtest.doubled@1.0.0"}
    resolved = resolve(config(modules, {"doubled": view}))
    columns = resolved.entities["doubled"].columns()
    assert [(each.name, each.kind, each.scale) for each in columns] == [
        ("order_id", "int64", None),
        ("twice", "decimal", 2),
    ]
    contract = {"order_id": "int64", "twice": "string"}
    with pytest.raises(TransformError, match=r"'twice' is string, but transform .* makes decimal\(12,2\)"):
        resolve(config(modules, {"doubled": {**view, "contract": contract}}))
    with pytest.raises(TransformError, match="makes rows of 'big', expected an entity of the config: orders"):
        resolve(config(modules, {"orders": {"transform": "flowtest.split@1.0.0"}}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flowtest.lookup@1.0.0", "looks up 'customers', expected an entity that has a topic: orders"),
        ("flowtest.wrong@1.0.0", "process takes other, expected the change event, and parameters whose"),
    ],
)
def test_what_nobody_can_give_is_refused_before_the_launch(modules: Path, name: str, said: str) -> None:
    """A lookup of an unknown entity, and a parameter of no known kind."""
    client = config(modules, {"view": {"from": "orders", "transform": name}})
    with pytest.raises(TransformError, match=said):
        flows_of(client, registry_of(client))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"from": "items", "transform": "flowtest.seen@1.0.0"}, "found 'items', expected an entity that has"),
        ({"from": "orders", "topic": "t"}, "found 'orders' beside a topic"),
        ({"from": "orders", "key": ["id"]}, "expected the key of 'orders'"),
        ({"transform": "flowtest.seen@1.0.0"}, "without changes to apply it to"),
    ],
)
def test_where_rows_come_from_is_checked(modules: Path, more: dict[str, Any], said: str) -> None:
    """An entity has a topic, or a from that names one which has, or neither."""
    with pytest.raises(ValueError, match=said):
        config(modules, {"view": more})


def test_decimals_of_the_input_are_decimals(modules: Path) -> None:
    """What a DoFn computes with has Python's types, before and after."""
    client = config(modules, {"doubled": {"from": "orders", "transform": "flowtest.doubled@1.0.0"}})
    (flow,) = (flow for flow in flows_of(client, registry_of(client))["orders"] if flow.target == "doubled")
    from tillstream.transforms.flow_runner import EventReader

    record = ChangeRecord(1, Operation.UPDATE, (7,), (1,), 1, b'{"order_id":7}', _row(7, "1.5"))
    batch = ChangeBatch("flowtest", "orders", 0, "t", 0, ("order_id",), (record,))
    event = EventReader(flow).event(batch, record)
    assert event.after == {"order_id": 7, "total": Decimal("1.5")}
    assert event.before == {"order_id": 7, "total": None}
