"""Events are one line each, and a list of them is one log."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.testing import Table, assert_rows, created, deleted, snapshot, stream, updated
from tillstream.transforms.testing.events import EPOCH_US, place


def test_a_list_of_events_is_one_log() -> None:
    """Offsets count by entity, positions and times rise over all; what was given stays."""
    log = place(
        [
            created("a", {"id": 1}, key="id"),
            created("b", {"id": 1}, key="id"),
            updated("a", {"id": 1}, key="id", at="2026-02-01T00:00:00Z"),
            deleted("a", {"id": 1}, key="id"),
        ]
    )
    assert [(each.entity, each.offset) for each in log] == [("a", 0), ("b", 0), ("a", 1), ("a", 2)]
    assert [each.position for each in log] == sorted(each.position for each in log)
    february_us = EPOCH_US + 31 * 86_400_000_000
    assert [each.source_time_us for each in log] == [
        EPOCH_US,
        EPOCH_US + 1_000_000,
        february_us,
        february_us + 1_000_000,
    ]


def test_a_stream_knows_the_row_before() -> None:
    """Updates and deletes get the row that the event before left; one that is given stays."""
    orders = Table("orders", key="id")
    log = stream(
        orders.created({"id": 1, "n": 1}),
        orders.updated({"id": 1, "n": 2}),
        orders.updated({"id": 1, "n": 3}, before={"id": 1}),
        orders.deleted({"id": 1}),
        orders.created({"id": 1, "n": 4}),
    )
    assert [each.before for each in log] == [None, {"id": 1, "n": 1}, {"id": 1}, {"id": 1, "n": 3}, None]


def test_a_snapshot_loses_to_the_event_at_its_place() -> None:
    """As Debezium's positions have it."""
    assert place([snapshot("a", {"id": 1}, key="id")])[0].position == (0, 1, 0, 1)


@pytest.mark.parametrize(
    ("at", "message"),
    [("yesterday", "expected an instant"), (dt.datetime(2026, 1, 1), "without a zone")],  # noqa: DTZ001
)
def test_times_are_instants(at: object, message: str) -> None:
    """A time without zone means nothing."""
    with pytest.raises(UserError, match=message):
        created("a", {"id": 1}, key="id", at=at)


def test_events_have_keys() -> None:
    """A row without its key is a mistake of the test's."""
    with pytest.raises(UserError, match="event of 'a': found no line in"):
        created("a", {"id": 1}, key=("id", "line"))


def test_rows_that_differ_are_listed() -> None:
    """One line for each column that differs, and each row that is missing or too many."""
    found = {"orders": {1: {"id": 1, "total": "9.90"}, 2: {"id": 2}}}
    assert_rows(found, {"orders": {1: {"id": 1, "total": Decimal("9.9")}, 2: {"id": 2}}, "none": {}})
    with pytest.raises(AssertionError) as caught:
        assert_rows(found, {"orders": {1: {"id": 1, "total": "9.80"}, 3: {"id": 3}}})
    assert str(caught.value).splitlines()[1:] == [
        "- orders 1: total = '9.80'",
        "+ orders 1: total = '9.90'",
        '+ orders 2: {"id": 2}',
        '- orders 3: {"id": 3}',
    ]
