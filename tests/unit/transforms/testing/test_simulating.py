"""The simulator catches transforms that depend on delivery, and lets those pass that do not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.transforms.testing import bad_dofns
from tillstream.pipelines.records import ChangeEvent
from tillstream.testing import DivergedError, Table, simulate, stream

orders = Table("orders", key="order_id")


def log(count: int) -> list[ChangeEvent]:
    """Return events of seven orders."""
    events = []
    for i in range(count):
        row = {"order_id": i % 7, "total": f"{i}.50", "status": ("new", "paid")[i % 2]}
        change = orders.created if i < 7 else orders.deleted if i % 11 == 10 else orders.updated
        events.append(change(row))
    return stream(*events)


@pytest.mark.parametrize("dofn", bad_dofns.BAD, ids=lambda dofn: dofn.__name__)
def test_what_depends_on_delivery_is_caught_and_printed_as_a_test(dofn: type[Any]) -> None:
    """Each bad transform fails within 30 seeds; the test that is printed is small, and fails when pasted."""
    with pytest.raises(DivergedError) as caught:
        simulate(dofn, log(40), seeds=30)
    failure = caught.value
    assert f"seed {failure.seed}: " in str(failure)
    assert len(failure.events) <= 3
    assert failure.test in str(failure)
    scope: dict[str, Any] = {}
    exec(failure.test, scope)  # noqa: S102  (what a developer pastes)
    (test,) = [value for name, value in scope.items() if name.startswith("test_")]
    with pytest.raises(DivergedError):
        test()


@pytest.mark.parametrize("dofn", bad_dofns.GOOD, ids=lambda dofn: dofn.__name__)
def test_what_does_not_depend_on_delivery_passes(dofn: type[Any]) -> None:
    """State by key, caches of what can be computed again, and sorted sets are fine."""
    simulate(dofn, log(60), seeds=150)
