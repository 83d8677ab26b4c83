"""The simulator catches transforms that depend on delivery, and lets those pass that do not."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import ChangeEvent
from tillstream.testing import DivergedError, Table, simulate, stream

from . import bad_dofns

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


def test_a_transform_that_refuses_all_is_not_taken_for_a_right_one() -> None:
    """Dead letters alone are the same however events arrive, and say nothing."""
    with pytest.raises(UserError, match=r"made no row, only dead letters.*KeyError"):
        simulate(bad_dofns.RaisesAlways, log(3), seeds=2)


def test_one_seed_can_be_asked_for_again() -> None:
    """A seed that failed fails by itself, and one that did not passes."""
    with pytest.raises(DivergedError) as caught:
        simulate(bad_dofns.InstanceMemory, log(40))
    seed = caught.value.seed
    assert seed
    with pytest.raises(DivergedError, match=f"seed {seed}: "):
        simulate(bad_dofns.InstanceMemory, log(40), seed=seed)
    simulate(bad_dofns.InstanceMemory, log(40), seed=0)


def test_tolerances() -> None:
    """Numbers may differ by so much; or a function says what will do."""
    with pytest.raises(DivergedError):
        simulate(bad_dofns.Chance, log(5), seeds=3)
    simulate(bad_dofns.Chance, log(5), seeds=3, tolerance={"n": 1.0})
    simulate(bad_dofns.Chance, log(5), seeds=3, tolerance=lambda clean, found: len(clean) == len(found))
    with pytest.raises(DivergedError):
        simulate(bad_dofns.Chance, log(5), seeds=3, tolerance={"n": 0.0001})


def test_changes_are_compared_for_sinks_that_append() -> None:
    """A transform whose last row is right may make other changes on the way."""
    simulate(bad_dofns.SkipsTheFirst, log(40), seeds=40)
    with pytest.raises(DivergedError) as caught:
        simulate(bad_dofns.SkipsTheFirst, log(40), seeds=40, compare="changes")
    assert "compare='changes'" in caught.value.test


def test_repeats_can_be_left_to_deduplication() -> None:
    """A count of changes is right behind it, until its horizon."""
    simulate(bad_dofns.CountsRepeats, log(40), seeds=60, dedup=True)


def test_lateness_can_be_bounded() -> None:
    """Orders that are a minute apart at most keep state that lives for longer."""
    with pytest.raises(DivergedError):
        simulate(bad_dofns.ForgetsAfterAMinute, log(150), seeds=60, compare="changes")
    simulate(bad_dofns.ForgetsAfterAMinute, log(150), seeds=60, compare="changes", late_s_max=30)


@pytest.mark.parametrize("dofn", bad_dofns.GOOD, ids=lambda dofn: dofn.__name__)
def test_what_does_not_depend_on_delivery_passes(dofn: type[Any]) -> None:
    """State by key, caches of what can be computed again, and sorted sets are fine."""
    simulate(dofn, log(60), seeds=80)
