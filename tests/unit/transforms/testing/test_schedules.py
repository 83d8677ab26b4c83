"""A seed is the same schedule everywhere, and a schedule keeps what a log promises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tillstream.transforms.testing.minimising import minimised, without
from tillstream.transforms.testing.schedules import Crash, Ranges, Schedule, draw


def test_a_seed_is_the_same_schedule_everywhere() -> None:
    """These were drawn by Python 3.11; a seed that someone reports must mean the same elsewhere."""
    assert draw(8, ["a", "b", "a", "c"], [0, 1, 2, 3]) == Schedule(
        order=(0, 0, 1, 2, 3),
        bundles=(1, 2, 3, 4),
        crashes=(
            Crash(after=2, back_to=1, bundle=5),
            Crash(after=3, back_to=2),
            Crash(after=5, back_to=4, bundle=2),
        ),
        grouped=True,
        instances=2,
        resent=(1,),
    )


def test_ranges_are_overtaken_where_that_is_said() -> None:
    """Behind deduplication a range may come behind newer events; elsewhere it ends where the log is."""
    groups, times_us = ["a"] * 12, list(range(12))
    late = [draw(seed, groups, times_us, None, Ranges(overtaken=True)) for seed in range(60)]
    assert any((each.order or ())[-1] != 11 for each in late)
    assert all(draw(seed, groups, times_us).order[-1] == 11 for seed in range(60))  # type: ignore[index]
    assert any(len(draw(seed, groups, times_us).resent) > 2 for seed in range(60))
    none = [draw(seed, groups, times_us, None, Ranges(allowed=False)) for seed in range(60)]
    assert all(list(each.order or ()) == sorted(each.order or ()) for each in none)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from("abc"), max_size=30), st.none() | st.integers(0, 20))
def test_the_order_of_each_group_is_kept(seed: int, groups: list[str], late_s_max: int | None) -> None:
    """Every event comes, each group ends in its newest one, and none is later than allowed."""
    times_us = [i * 1_000_000 for i in range(len(groups))]
    order = draw(seed, groups, times_us, late_s_max).order or ()
    assert set(order) == set(range(len(groups)))
    for group in set(groups):
        own = [i for i in order if groups[i] == group]
        assert own[-1] == max(own)
        assert list(dict.fromkeys(own)) == sorted(set(own))
    if late_s_max is not None:
        seen: set[int] = set()
        for i in order:
            assert i >= max(seen, default=0) - late_s_max or order.count(i) > 1
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
