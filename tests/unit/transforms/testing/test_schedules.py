"""A seed is the same schedule everywhere, and a schedule keeps what a log promises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.transforms.testing.minimising import minimised, without
from tillstream.transforms.testing.schedules import Crash, Schedule, draw


def test_a_seed_is_the_same_schedule_everywhere() -> None:
    """These were drawn by Python 3.11; a seed that someone reports must mean the same elsewhere."""
    assert draw(5, ["a", "b", "a", "c"], [0, 1, 2, 3]) == Schedule(
        order=(0, 1, 3, 3, 2), crashes=(Crash(after=1, back_to=0, bundle=2),), grouped=True, instances=2
    )


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from("abc"), max_size=30), st.none() | st.integers(0, 20))
def test_the_order_of_each_group_is_kept(seed: int, groups: list[str], late_s_max: int | None) -> None:
    """Every event comes, repeated ones before a newer one of their group, and none later than allowed."""
    times_us = [i * 1_000_000 for i in range(len(groups))]
    order = draw(seed, groups, times_us, late_s_max).order or ()
    assert set(order) == set(range(len(groups)))
    for group in set(groups):
        own = [i for i in order if groups[i] == group]
        assert own == sorted(own)
    if late_s_max is not None:
        seen: set[int] = set()
        for i in order:
            if i not in seen:
                assert i >= max(seen, default=0) - late_s_max
            seen.add(i)


def test_places_move_with_what_is_left_out() -> None:
    """A schedule without some deliveries counts in those that are left."""
    schedule = Schedule((0, 1, 1, 2), (1, 3), (2,), (Crash(3, 1), Crash(2, 1)), (4,))
    assert without(schedule, {1}) == Schedule((0, 1, 2), (1, 2), (1,), (Crash(2, 1),))


def test_what_fails_is_made_small() -> None:
    """Of many events and a crash, what is left is what the failure needs."""
    whole = Schedule(
        tuple(range(40)), tuple(range(1, 40)), (3, 7), (Crash(30, 10, 5), Crash(35, 2)), instances=3
    )

    def fails(tried: Schedule) -> bool:
        order = tried.order or ()
        return {7, 33} <= set(order) and any(crash.after > order.index(33) for crash in tried.crashes)

    assert minimised(whole, fails) == Schedule((7, 33), crashes=(Crash(2, 1),))
