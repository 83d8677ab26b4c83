"""Truncates go through every kind of flow, in whatever order shards and partitions bring them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest

from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.testing import DivergedError, Table, run, simulate, stream, truncated
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution, Count, Sum
from tillstream.transforms.api import KeyedState, Lookup, transform

ORDERS = Table("orders", key="order_id")
STORES = Table("stores", key="store")
SEEDS = 25


def order(number: int, total: int = 5, store: str = "a") -> dict[str, Any]:
    """Return an order's row."""
    return {"order_id": number, "total": total, "store": store}


@transform("tests.truncated_copy@1.0.0")
class Copy(beam.DoFn):
    """Pass rows on."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Pass one on."""
        yield event.delete() if event.after is None else event.upsert(event.after)


@transform("tests.truncated_versions@1.0.0")
class Versions(beam.DoFn):
    """Count the versions of a row since it was there."""

    def process(self, event: ChangeEvent, seen: Any = KeyedState("seen")) -> Iterator[Mutation]:
        """Count one."""
        if event.after is None:
            seen.clear()
            yield event.delete()
            return
        seen.set(seen.get(0) + 1)
        yield event.upsert({"order_id": event.key["order_id"], "versions": seen.get()})


@transform("tests.truncated_stores@1.0.0")
class PerStore(Aggregate):
    """Sum a store's orders."""

    combine = {"orders": Count(), "total": Sum("total")}

    def contributions(self, row: Any, event: ChangeEvent) -> Iterator[Contribution]:
        """Count a row."""
        del event
        yield Contribution((row["store"],), {"total": row["total"]})

    def rows(self, group: Any, window: Any, totals: Any) -> Iterator[dict[str, Any]]:
        """Return a store's row."""
        del window
        yield {"store": group[0], "orders": totals["orders"], "total": int(totals["total"])}


@transform("tests.truncated_named@1.0.0")
class Named(beam.DoFn):
    """Put the store's name to an order."""

    def process(self, event: ChangeEvent, store: Any = Lookup("stores", on="store")) -> Iterator[Mutation]:
        """Name one."""
        if event.after is None:
            yield event.delete()
        else:
            yield event.upsert(
                {"order_id": event.after["order_id"], "name": store["name"] if store else None}
            )


EVENTS = stream(
    ORDERS.created(order(1)),
    ORDERS.created(order(2, store="b")),
    ORDERS.updated(order(1, total=6)),
    ORDERS.truncated(),
    ORDERS.created(order(2, total=7)),
    ORDERS.updated(order(2, total=8)),
    ORDERS.created(order(3, store="c")),
)


def test_rows_from_before_are_gone() -> None:
    """Whatever comes first, the rows that stay are those of a clean run."""
    made = simulate(Copy, EVENTS, dedup=True, seeds=SEEDS)
    assert {key: row["total"] for key, row in made.rows["orders"].items()} == {2: 8, 3: 5}


def test_without_deduplication_truncates_keep_their_place() -> None:
    """Where nobody knows rows, no schedule moves a truncate past rows of its entity."""
    assert set(simulate(Copy, EVENTS, seeds=SEEDS).rows["orders"]) == {2, 3}


def test_state_of_rows_that_are_gone_is_forgotten() -> None:
    """A DoFn sees known rows go, and begins anew with their keys; versions in between may be skipped."""
    made = run(Versions, EVENTS)
    assert {key: row["versions"] for key, row in made.rows["orders"].items()} == {2: 2, 3: 1}


def test_aggregates_go_to_zero() -> None:
    """What truncated rows had contributed is taken back."""
    made = simulate(
        PerStore, EVENTS, dedup=True, seeds=SEEDS, into="stores_sum", keys={"stores_sum": "store"}
    )
    assert made.rows["stores_sum"] == {
        "a": {"store": "a", "orders": 1, "total": 8},
        "c": {"store": "c", "orders": 1, "total": 5},
    }


STORE_EVENTS = stream(
    STORES.created({"store": "a", "name": "Aarau"}),
    STORES.created({"store": "b", "name": "Bern"}),
    ORDERS.created(order(1)),
    ORDERS.created(order(2, store="b")),
    STORES.truncated(),
    STORES.created({"store": "b", "name": "Basel"}),
)


def test_lookups_find_nothing_in_a_truncated_entity() -> None:
    """Orders are made anew without the stores that are gone, and with those that came later."""
    made = simulate(Named, STORE_EVENTS, dedup=True, seeds=SEEDS, source="orders", into="named")
    assert {key: row["name"] for key, row in made.rows["named"].items()} == {1: None, 2: "Basel"}


def test_joined_rows_go_with_their_events() -> None:
    """A truncate of the events takes the joined rows along, and no looked-up row brings them back."""
    events = stream(*STORE_EVENTS[:4], ORDERS.truncated(), ORDERS.created(order(3)))
    made = simulate(Named, events, dedup=True, seeds=SEEDS, source="orders", into="named")
    assert {key: row["name"] for key, row in made.rows["named"].items()} == {3: "Aarau"}


def test_a_failing_case_is_printed_with_its_truncate() -> None:
    """The test to paste names the event as a test would."""

    @transform("tests.truncated_forgetful@1.0.0")
    class Forgetful(beam.DoFn):
        """Remember in the wrong place."""

        def __init__(self) -> None:
            self.seen = 0

        def process(self, event: ChangeEvent) -> Iterator[Mutation]:
            """Number one."""
            self.seen += 1
            if event.after is not None:
                yield event.upsert({**event.after, "total": self.seen})

    with pytest.raises(DivergedError) as caught:
        simulate(Forgetful, [truncated("orders"), *EVENTS[4:]], dedup=True, seeds=SEEDS)
    assert "def test_" in caught.value.test


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have shards forget at once what is past their horizon."""
    monkeypatch.setattr("tillstream.transforms.shard_state._SLACK", -1_000_000)


# So many that each shard sees one.
OTHERS = range(100, 200)
LATER = stream(
    ORDERS.created(order(1), at="2026-01-01T00:00:00Z"),
    *[ORDERS.created(order(number, store="b"), at="2026-01-05T00:00:00Z") for number in OTHERS],
    ORDERS.truncated(at="2026-01-05T00:00:01Z"),
    ORDERS.created(order(2, store="c"), at="2026-01-05T00:00:02Z"),
)


@pytest.mark.usefixtures("forgetful")
def test_aggregates_let_rows_go_that_shards_have_forgotten() -> None:
    """What a row contributed days ago is taken back too."""
    made = run(PerStore, LATER, into="stores_sum", keys={"stores_sum": "store"})
    assert made.rows["stores_sum"] == {"c": {"store": "c", "orders": 1, "total": 5}}


@pytest.mark.usefixtures("forgetful")
def test_joined_rows_go_that_shards_have_forgotten() -> None:
    """An event of days ago is known to the lookups, so its row goes."""
    assert set(run(Named, [*STORE_EVENTS[:1], *LATER], source="orders", into="named").rows["named"]) == {2}


@pytest.mark.usefixtures("forgetful")
def test_state_goes_of_rows_that_shards_have_forgotten() -> None:
    """A key that comes again after days begins anew."""
    again = ORDERS.created(order(1), at="2026-01-05T00:00:03Z")
    assert run(Versions, [*LATER, again]).rows["orders"][1]["versions"] == 1


@pytest.mark.usefixtures("forgetful")
def test_looked_up_rows_go_that_shards_have_forgotten() -> None:
    """A looked-up row of days ago is gone with its table, one that came later stays."""
    events = stream(
        STORES.created({"store": "a", "name": "Aarau"}, at="2026-01-01T00:00:00Z"),
        *[STORES.created({"store": f"b{n}", "name": "Bern"}, at="2026-01-05T00:00:00Z") for n in OTHERS],
        ORDERS.created(order(1), at="2026-01-05T00:00:00Z"),
        STORES.truncated(at="2026-01-05T00:00:01Z"),
        STORES.created({"store": "c", "name": "Chur"}, at="2026-01-05T00:00:02Z"),
        ORDERS.created(order(2, store="a"), at="2026-01-05T00:00:03Z"),
        ORDERS.created(order(3, store="c"), at="2026-01-05T00:00:03Z"),
    )
    made = run(Named, events, source="orders", into="named")
    assert {key: row["name"] for key, row in made.rows["named"].items()} == {1: None, 2: None, 3: "Chur"}


@pytest.mark.usefixtures("forgetful")
def test_a_truncate_of_long_ago_takes_no_newer_row_along() -> None:
    """Where a connector sends a truncate again behind the horizon, what is remembered stays."""
    late = ORDERS.truncated(at="2026-01-05T00:00:01Z", offset=900, position=LATER[-2].position)
    later = [ORDERS.created(order(n, store="d"), at="2026-01-09T00:00:00Z") for n in OTHERS]
    made = run(PerStore, [*LATER, *later, late], into="stores_sum", keys={"stores_sum": "store"})
    assert {store: row["orders"] for store, row in made.rows["stores_sum"].items()} == {"c": 1, "d": 100}
