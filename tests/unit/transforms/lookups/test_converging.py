"""Whatever arrives when, what is made of events ends as the join of the newest rows."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from .network import Network, transforms

IDS = st.integers(1, 2)
MAYBE = st.none() | IDS
TOWNS = st.tuples(st.just("no"), st.integers(1, 2))
Change = tuple[str, dict[str, Any], bool]


def _person(draw: Any) -> Change:
    return "people", {"id": draw(IDS), "name": f"p{draw(st.integers(0, 99))}"}, draw(st.booleans())


def _place(draw: Any) -> Change:
    country, town = draw(TOWNS)
    row = {"country": country, "town": town, "name": f"t{draw(st.integers(0, 99))}"}
    return "places", row, draw(st.booleans())


def _sale(draw: Any) -> Change:
    country, town = draw(st.none() | TOWNS) or (None, 1)
    row = {"id": draw(st.integers(1, 3)), "v": draw(st.integers(0, 99)), "country": country, "town": town}
    return "sales", {**row, "buyer": draw(MAYBE), "payer": draw(MAYBE)}, draw(st.integers(0, 3)) == 0


@st.composite
def changes(draw: Any) -> Change:
    """Return a change of a sale, a person or a place; some are deletes."""
    made: Change = draw(st.sampled_from([_sale, _sale, _person, _place]))(draw)
    return made


# A change, or how many messages are delivered; none stands for all but the events.
STEPS = st.lists(changes() | changes() | st.integers(0, 4), min_size=10, max_size=60)
RANDOMS = st.randoms(use_true_random=False)


class Model:
    """Hold the tables of the source, and join them."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Any, Any]] = {"people": {}, "places": {}, "sales": {}}

    def apply(self, change: Change) -> None:
        """Apply a change to its table."""
        entity, row, delete = change
        key = (row["country"], row["town"]) if entity == "places" else row["id"]
        if delete:
            self.tables[entity].pop(key, None)
        else:
            self.tables[entity][key] = row

    def joined(self) -> dict[Any, Any]:
        """Return what the view has to hold."""
        people, places = self.tables["people"], self.tables["places"]
        return {
            (key,): {
                "id": key,
                "v": sale["v"],
                "buyer": (people.get(sale["buyer"]) or {}).get("name"),
                "payer": (people.get(sale["payer"]) or {}).get("name"),
                "place": (places.get((sale["country"], sale["town"])) or {}).get("name"),
            }
            for key, sale in self.tables["sales"].items()
        }


def play(network: Network, model: Model, steps: list[Any], choose: Random) -> None:
    """Apply changes and deliver messages as the steps say."""
    for step in steps:
        if step == 0:
            network.overtake()
        elif isinstance(step, int):
            for _ in range(step):
                network.deliver(choose)
        else:
            entity, row, delete = step
            model.apply(step)
            network.change(entity, row, delete=delete)


@settings(max_examples=150)
@given(steps=STEPS, bounded=st.booleans(), choose=RANDOMS)
def test_any_interleaving_ends_in_the_join(steps: list[Any], *, bounded: bool, choose: Random) -> None:
    """Streaming keeps the order of each channel, a bounded run none at all; both end in the same rows."""
    with transforms():
        network, model = Network(bounded=bounded), Model()
        play(network, model, steps, choose)
        network.settle(choose)
        assert network.sink == model.joined()


@settings(max_examples=80)
@given(before=STEPS, lost=STEPS, sink=st.booleans(), fresh=st.booleans(), choose=RANDOMS)
def test_a_roll_back_changes_nothing(
    before: list[Any], lost: list[Any], *, sink: bool, fresh: bool, choose: Random
) -> None:
    """After a failure, and a launch from an older savepoint whose sink is ahead, the rows are the same."""
    with transforms():
        network, model = Network(), Model()
        play(network, model, before, choose)
        checkpoint = network.snapshot()
        # What follows is lost, then read again, and delivered in another order.
        play(network, Model(), lost, choose)
        if fresh:
            crashed, network = network, Network()
            network.sink = crashed.sink
        network.restore(checkpoint, sink=sink)
        play(network, model, lost, choose)
        network.settle(choose)
        assert network.sink == model.joined()


@settings(max_examples=80)
@given(STEPS, RANDOMS)
def test_nothing_is_kept_of_what_is_gone(steps: list[Any], choose: Random) -> None:
    """When all sales are deleted no shard is subscribed, and no event, row or count is left behind."""
    with transforms():
        network, model = Network(), Model()
        play(network, model, steps, choose)
        for row in list(model.tables["sales"].values()):
            play(network, model, [("sales", row, True)], choose)
        network.settle(choose)
        assert network.sink == {}
        assert network.entries("route") == {}
        assert network.entries("join") == {}
        people, places = model.tables["people"], model.tables["places"]
        rows = {("row", "people", key) for key in people} | {("row", "places", *key) for key in places}
        assert set(network.entries("resolve")) == rows


@settings(max_examples=50)
@given(STEPS, RANDOMS)
def test_versions_of_an_event_can_be_told_apart(steps: list[Any], choose: Random) -> None:
    """Topic, offset and index name each version made of an event; later ones have greater indexes."""
    with transforms():
        network = Network()
        play(network, Model(), steps, choose)
        network.settle(choose)
        assert len({each[:3] for each in network.mutations}) == len(network.mutations)
        latest: dict[Any, int] = {}
        for topic, offset, index, _ in network.mutations:
            assert index > latest.get((topic, offset), -1)
            latest[topic, offset] = index
