"""Make a failing case small: fewer events, then a plainer schedule, as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from tillstream.transforms.testing.schedules import Crash, Schedule

__all__ = ["minimised", "without"]

_Item = TypeVar("_Item")
_Fails = Callable[[Schedule], bool]
# A bound on the work, in deliveries; a case this deep is small enough to read long before.
_DELIVERIES_MAX = 300_000


def minimised(schedule: Schedule, fails: _Fails) -> Schedule:
    """Return a smaller schedule that fails too, by delta debugging.

    Args:
        schedule: that fails, with an order; events that its order leaves out are not delivered at all.
        fails: tells whether a schedule does.
    """
    budget = _Budget(fails)
    while True:
        before = schedule
        for step in (_fewer_events, _fewer_deliveries, _in_order, _fewer_extras, _simpler):
            schedule = step(schedule, budget)
        if schedule == before or budget.spent:
            return schedule


class _Budget:
    """Count the work, and say no when it is done."""

    def __init__(self, fails: _Fails) -> None:
        self._fails = fails
        self._left = _DELIVERIES_MAX

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def __call__(self, schedule: Schedule) -> bool:
        if self.spent or not schedule.order:
            return False
        self._left -= 2 * len(schedule.order) + 5
        return self._fails(schedule)


def without(schedule: Schedule, places: set[int]) -> Schedule:
    """Return a schedule without the deliveries at some places of its order."""
    order = schedule.order or ()
    kept = [0]
    for place in range(len(order)):
        kept.append(kept[-1] + (place not in places))
    last = kept[-1]

    def moved(found: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted({kept[min(each, len(order))] for each in found} - {0, last}))

    crashes = [
        replace(each, after=kept[each.after], back_to=kept[each.back_to])
        for each in schedule.crashes
        if each.after <= len(order)
    ]
    return replace(
        schedule,
        order=tuple(event for place, event in enumerate(order) if place not in places),
        bundles=moved(schedule.bundles),
        restarts=moved(schedule.restarts),
        holds=moved(schedule.holds),
        crashes=tuple(each for each in dict.fromkeys(crashes) if each.back_to < each.after),
        resent=tuple(kept[place] for place in schedule.resent if place not in places and place < len(order)),
    )


def _reduced(items: Sequence[_Item], fails: Callable[[list[_Item]], bool]) -> list[_Item]:
    """Return items of which none can be left out, by Zeller's ddmin."""
    kept, parts = list(items), 2
    if kept and fails([]):
        return []
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            rest = kept[:start] + kept[start + size :]
            if rest and fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(kept))
    return kept


def _fewer_events(schedule: Schedule, fails: _Budget) -> Schedule:
    order = schedule.order or ()

    def of(events: Sequence[int]) -> Schedule:
        kept = set(events)
        return without(schedule, {place for place, event in enumerate(order) if event not in kept})

    return of(_reduced(sorted(set(order)), lambda events: fails(of(events))))


def _fewer_deliveries(schedule: Schedule, fails: _Budget) -> Schedule:
    order, seen = schedule.order or (), set()
    again = [place for place, event in enumerate(order) if event in seen or seen.add(event)]  # type: ignore[func-returns-value]

    def of(kept: Sequence[int]) -> Schedule:
        return without(schedule, set(again) - set(kept))

    return of(_reduced(again, lambda kept: fails(of(kept))))


def _in_order(schedule: Schedule, fails: _Budget) -> Schedule:
    order = list(schedule.order or ())
    # Of repeated events the first stays the first.
    moved = sorted(range(len(order)), key=order.__getitem__)
    resent = tuple(place for place, old in enumerate(moved) if old in schedule.resent)
    whole = replace(schedule, order=tuple(sorted(order)), resent=resent)
    if order != sorted(order) and fails(whole):
        return whole
    for place in range(len(order) - 1):
        if order[place] > order[place + 1] and not {place, place + 1} & set(schedule.resent):
            swapped = [*order[:place], order[place + 1], order[place], *order[place + 2 :]]
            if fails(replace(schedule, order=tuple(swapped))):
                order = swapped
    return replace(schedule, order=tuple(order))


def _fewer_extras(schedule: Schedule, fails: _Budget) -> Schedule:
    crashes = _reduced(schedule.crashes, lambda kept: fails(replace(schedule, crashes=tuple(kept))))
    schedule = replace(schedule, crashes=tuple(crashes))
    restarts = _reduced(schedule.restarts, lambda kept: fails(replace(schedule, restarts=tuple(kept))))
    schedule = replace(schedule, restarts=tuple(restarts))
    resent = _reduced(schedule.resent, lambda kept: fails(replace(schedule, resent=tuple(kept))))
    schedule = replace(schedule, resent=tuple(resent))
    holds = _reduced(schedule.holds, lambda kept: fails(replace(schedule, holds=tuple(kept))))
    schedule = replace(schedule, holds=tuple(holds))
    bundles = _reduced(schedule.bundles, lambda kept: fails(replace(schedule, bundles=tuple(kept))))
    return replace(schedule, bundles=tuple(bundles))


def _simpler(schedule: Schedule, fails: _Budget) -> Schedule:
    for each in _simpler_ones(schedule):
        if each != schedule and fails(each):
            return each
    return schedule


def _simpler_ones(schedule: Schedule) -> Iterator[Schedule]:
    if schedule.grouped:
        yield replace(schedule, grouped=False)
    if schedule.instances > 1:
        yield replace(schedule, instances=1)
    for place, crash in enumerate(schedule.crashes):
        for simpler in (replace(crash, bundle=1), Crash(crash.after, crash.after - 1)):
            if simpler != crash:
                rest = schedule.crashes
                yield replace(schedule, crashes=(*rest[:place], simpler, *rest[place + 1 :]))
