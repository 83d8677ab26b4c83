"""What a transform is called with, when, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.transforms.api import KeyedState, Lookup, transform

from .network import Network, SalesNamed, config, transforms

SALE = {"id": 1, "v": 7, "buyer": 1, "payer": None, "country": None, "town": 1}
NAMED = {"id": 1, "v": 7, "buyer": "Ann", "payer": None, "place": None}


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with transforms():
        yield


def test_an_event_is_made_anew_when_its_row_changes() -> None:
    """Rows before the event, after it, changed and deleted: the view follows, and is as new as the row."""
    network = Network()
    network.change("sales", SALE)
    network.settle()
    assert network.sink == {(1,): {**NAMED, "buyer": None}}
    for name in ("Bob", "Ann"):
        network.change("people", {"id": 1, "name": name}, at_us=5000)
        network.settle()
        assert network.sink == {(1,): {**NAMED, "buyer": name}}
    assert network.mutations[-1] == ("sales", 1, 2, 5000)
    network.change("people", {"id": 1}, delete=True)
    network.settle()
    assert network.sink == {(1,): {**NAMED, "buyer": None}}


def test_an_event_waits_for_all_of_its_rows() -> None:
    """The transform is not called with half of what it asks for, and once with all of it."""
    network = Network()
    for name in (1, 2):
        network.change("people", {"id": name, "name": f"p{name}"})
    network.settle()
    network.change("sales", {**SALE, "payer": 2})
    while network.deliver(to="join"):
        pass
    assert network.mutations == []
    network.settle()
    assert network.sink == {(1,): {**NAMED, "buyer": "p1", "payer": "p2"}}
    assert len(network.mutations) <= 2  # two answers, of which the first may not do


def test_a_row_of_an_old_subscription_answers_no_new_one() -> None:
    """A row sent for what an event asked before is not taken for the answer to what it asks for again."""
    network = Network()
    network.change("people", {"id": 1, "name": "old"})
    network.change("sales", SALE)
    while network.deliver(to="resolve"):
        pass
    # The first answer is on its way; the event goes from this buyer to none and back.
    network.change("sales", {**SALE, "buyer": None})
    network.change("sales", SALE)
    while network.deliver(by="route", to="join"):
        pass
    assert network.sink[1,]["buyer"] is None
    while network.deliver(by="resolve", to="join"):
        pass
    assert network.sink[1,]["buyer"] is None
    network.change("people", {"id": 1, "name": "Ann"})
    network.settle()
    assert network.sink == {(1,): NAMED}


def test_what_raises_is_made_again_when_the_row_changes() -> None:
    """The dead letter names the event; a later row may still make it good."""
    network = Network()
    network.change("people", {"id": 1, "name": "boom"})
    network.change("sales", SALE)
    network.settle()
    (letter,) = network.letters
    assert (letter.entity, letter.reason, letter.offset) == ("sales_named", "transform_failed", 2)
    network.change("people", {"id": 1, "name": "Ann"})
    network.settle()
    assert network.sink == {(1,): NAMED}


def test_an_event_without_a_column_to_look_up_is_refused() -> None:
    """What cannot be told is not guessed; the event before stays."""
    network = Network()
    network.change("sales", {key: value for key, value in SALE.items() if key != "buyer"})
    network.settle()
    assert [(each.entity, each.reason) for each in network.letters] == [("sales_named", "missing_key")]
    assert network.sink == {}


def test_events_that_share_a_row_cost_one_message() -> None:
    """A row goes once to a shard, and only while somebody there asks for it."""
    network = Network()
    for key in range(1, 31):
        network.change("sales", {**SALE, "id": key})
    network.settle()
    network.change("people", {"id": 1, "name": "Ann"})
    assert sum(map(len, network.channels.values())) == 1
    while network.deliver(to="resolve"):
        pass
    assert sum(map(len, network.channels.values())) == 3
    network.settle()
    assert {row["buyer"] for row in network.sink.values()} == {"Ann"}
    # An event that keeps what it asks for sends nothing but itself; the lookup may even be another one.
    network.change("sales", {**SALE, "v": 8})
    network.change("sales", {**SALE, "buyer": None, "payer": 1})
    assert {name[2] for name, frames in network.channels.items() if frames} == {"join"}


def test_past_the_horizon_an_event_is_forgotten() -> None:
    """It stays as it is, costs nothing any longer, and a later change of it is made as if it were new."""

    @transform("shop.sales_named@1.0.0")
    class Briefly(SalesNamed):
        def process(self, event: ChangeEvent, buyer: Any = Lookup("people", on="buyer", horizon_s=1)) -> Any:
            return super().process(event, buyer, None, None)

    with transforms(Briefly):
        network = Network()
        network.change("people", {"id": 1, "name": "Ann"}, at_us=0)
        network.change("sales", SALE, at_us=0)
        network.settle()
        for key in range(2, 12):
            network.change("sales", {**SALE, "id": key, "buyer": 2}, at_us=1_000_001)
        network.settle()
        kept = {place[2] for place in network.entries("join") if place[0] == "lookups.event"}
        assert kept == set(range(2, 12))
        network.change("people", {"id": 1, "name": "Bea"}, at_us=1_000_002)
        network.settle()
        assert network.sink[1,]["buyer"] == "Ann"
        network.change("sales", SALE, at_us=1_000_003)
        network.settle()
        assert network.sink[1,]["buyer"] == "Bea"


def test_state_of_the_key_is_there_too() -> None:
    """A transform may ask for rows and for state; a call that is made again sees what the one before set."""

    @transform("shop.sales_named@1.0.0")
    class Counting(beam.DoFn):
        def process(
            self,
            event: ChangeEvent,
            buyer: Any = Lookup("people", on="buyer"),
            calls: Any = KeyedState("calls"),
        ) -> Iterator[Mutation]:
            calls.set(calls.get(0) + 1)
            yield event.upsert({"id": 1, "buyer": buyer and buyer["name"], "calls": calls.get()})

    with transforms(Counting):
        network = Network()
        network.change("sales", SALE)
        network.settle()
        network.change("people", {"id": 1, "name": "Ann"})
        network.settle()
        assert network.sink == {(1,): {"id": 1, "buyer": "Ann", "calls": 2}}


def test_another_version_may_ask_for_other_rows() -> None:
    """The new version makes events of before as far as it asks for what they have; nobody counts wrong."""

    @transform("shop.sales_named@2.0.0")
    class Paid(beam.DoFn):
        def process(
            self, event: ChangeEvent, payer: Any = Lookup("people", on="payer")
        ) -> Iterator[Mutation]:
            yield event.upsert({"id": 1, "payer": payer and payer["name"]}) if event.after else event.delete()

    network = Network()
    network.change("sales", SALE)
    network.settle()
    checkpoint = network.snapshot()
    with transforms(Paid):
        network = Network(client=config(version="2.0.0"))
        network.restore(checkpoint, sink=False)
        network.change("people", {"id": 1, "name": "Ann"})
        network.settle()
        assert network.sink == {(1,): {"id": 1, "payer": None}}
        network.change("sales", {**SALE, "payer": 1})
        network.settle()
        assert network.sink == {(1,): {"id": 1, "payer": "Ann"}}
        network.change("sales", SALE, delete=True)
        network.settle()
        assert (network.entries("route"), network.entries("join")) == ({}, {})


def test_rows_are_read_by_their_contract() -> None:
    """A row that breaks its contract is refused where it comes in, and looked up by nobody."""
    client = config()
    contract = {"id": "int64", "name": "string", "at": "timestamptz"}
    people = {"topic": "people", "key": ["id"], "sinks": ["out"], "contract": contract}
    entities = {
        name: each.model_dump(by_alias=True, exclude_unset=True) for name, each in client.entities.items()
    }
    network = Network(client=config(entities={**entities, "people": people}))
    network.change("people", {"id": 1, "name": 5, "at": None})
    assert [(each.entity, each.reason) for each in network.letters] == [("people", "contract")]


def test_a_lookup_that_cannot_be_is_refused() -> None:
    """A lookup names a column, and looks at least a second ahead."""
    with pytest.raises(TransformError, match=r"expected on=\.\.\. to name one"):
        Lookup("people", on=())
    with pytest.raises(TransformError, match="found horizon_s 0, expected more than 0 or None"):
        Lookup("people", on="id", horizon_s=0)
