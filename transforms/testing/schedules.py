"""Describe how events reach a pipeline, and draw such descriptions by a seed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from random import Random

__all__ = ["Crash", "Ranges", "Schedule", "draw"]


@dataclass(frozen=True)
class Crash:
    """Lose all since a checkpoint, and deliver it again.

    Attributes:
        after: how many deliveries had been made when it happened.
        back_to: how many the checkpoint holds.
        bundle: size of the bundles in which the rest comes again.
    """

    after: int
    back_to: int
    bundle: int = 1


@dataclass(frozen=True)
class Schedule:
    """Say how events are delivered. Without arguments: all in order, once, in one bundle.

    Attributes:
        order: numbers of the events as they are delivered, repeated ones twice; None for each once, in order.
        bundles: after how many deliveries a bundle ends.
        restarts: after how many deliveries instances are torn down and made anew, with nothing lost.
        crashes: what is lost and delivered again.
        holds: after how many deliveries every other stage gets its messages only with those of later ones.
        grouped: whether a bundle's events come as one batch for each shard, as a poll gives them, rather than
            in their own order.
        instances: of each stage; shards are spread over them.
        resent: at which places of the order, from 0, an event comes again under a new offset, as where a
            connector sends it again. Later events of its partition get later offsets then.
    """

    order: tuple[int, ...] | None = None
    bundles: tuple[int, ...] = ()
    restarts: tuple[int, ...] = ()
    crashes: tuple[Crash, ...] = ()
    holds: tuple[int, ...] = ()
    grouped: bool = False
    instances: int = 1
    resent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ranges:
    """Say how a connector may send a whole range again.

    Attributes:
        allowed: whether it does at all.
        overtaken: whether newer events may come first; otherwise all since a place comes again up to the
            newest, as where a connector goes back, so that in the end each key is as before.
        late_s_max: by how much event time a repeated event may come behind a newer one, seconds.
    """

    allowed: bool = True
    overtaken: bool = False
    late_s_max: float = inf


def draw(
    seed: int,
    groups: Sequence[Hashable],
    times_us: Sequence[int],
    late_s_max: float | None = None,
    ranges: Ranges = Ranges(),
) -> Schedule:
    """Return the schedule of a seed: the same on every machine and release of Python.

    Args:
        seed: any number.
        groups: of each event; events of one group keep their order.
        times_us: of each event, microseconds.
        late_s_max: by how much event time an event may come behind a newer one, seconds; None for any.
        ranges: how whole ranges may come again.
    """
    # Of Random's methods only random() is promised to give the same numbers in every release.
    rng = Random(seed)  # noqa: S311  (a test's, not a secret)
    order, resent = _with_repeats(rng, _reordered(rng, groups, times_us, late_s_max), groups)
    if ranges.allowed:
        late_s = min(inf if late_s_max is None else late_s_max, ranges.late_s_max)
        order, resent = _with_range(rng, order, resent, times_us, late_s, overtaken=ranges.overtaken)
    count = len(order)
    crashes = []
    for _ in range(_pick(rng, (0, 1, 1, 2, 3))):
        after = 1 + _below(rng, count)
        back_to = after - 1 - int(rng.random() ** 2 * after)
        crashes.append(Crash(after, back_to, _pick(rng, (1, 2, 5, 50, 1000))))
    return Schedule(
        tuple(order),
        _cuts(rng, count, _pick(rng, (1, 2, 3, 8, 30, 1000))),
        tuple(sorted({1 + _below(rng, count) for _ in range(_pick(rng, (0, 0, 1, 2)))})),
        tuple(crashes),
        _cuts(rng, count, 4) if rng.random() < 0.5 else (),  # noqa: PLR2004  (a half)
        # Within a batch of its own a shard may be as far behind as the bundle is long.
        rng.random() < 0.5 and late_s_max is None,  # noqa: PLR2004  (a half)
        _pick(rng, (1, 1, 2, 3)),
        tuple([place for place, is_resent in enumerate(resent) if is_resent]),
    )


def _below(rng: Random, bound: int) -> int:
    return int(rng.random() * bound)


def _pick(rng: Random, choices: Sequence[int]) -> int:
    return choices[_below(rng, len(choices))]


def _cuts(rng: Random, count: int, size: int) -> tuple[int, ...]:
    """Return the ends of parts whose sizes are drawn, of about `size`."""
    cuts: list[int] = []
    place = 0
    while True:
        place += 1 + _below(rng, 2 * size - 1)
        if place >= count:
            return tuple(cuts)
        cuts.append(place)


def _reordered(
    rng: Random, groups: Sequence[Hashable], times_us: Sequence[int], late_s_max: float | None
) -> list[int]:
    """Delay some events, and with each those of its group that follow it."""
    count = len(groups)
    span = _pick(rng, (0, 2, 10, count)) if count else 0
    share = rng.random()
    newest_us = list(accumulate(times_us, max))
    due: dict[Hashable, float] = {}
    keyed = []
    for i, group in enumerate(groups):
        delay = rng.random() * span if span and rng.random() < share else 0.0
        if late_s_max is not None:
            # Nothing that is newer by more than the bound overtakes it.
            bound = bisect_right(newest_us, int(times_us[i] + late_s_max * 1_000_000)) - 1
            delay = min(delay, max(bound - i, 0))
        due[group] = max(due.get(group, 0.0), i + delay)
        keyed.append((due[group], i))
    return [i for _, i in sorted(keyed)]


def _with_repeats(
    rng: Random, order: Sequence[int], groups: Sequence[Hashable]
) -> tuple[list[int], list[bool]]:
    """Deliver some events again, soon or later, before the next of their group, half under a new offset."""
    share = (0.0, 0.05, 0.3)[_below(rng, 3)]
    if not share:
        return list(order), [False] * len(order)
    repeated: list[int] = []
    waiting: dict[Hashable, tuple[int, int]] = {}
    for i in order:
        group = groups[i]
        again = waiting.pop(group, None)
        if again is not None:
            repeated.append(again[1])
        overdue = [name for name, (due, _) in waiting.items() if due <= len(repeated)]
        repeated += [waiting.pop(name)[1] for name in overdue]
        repeated.append(i)
        if rng.random() < share:
            waiting[group] = (len(repeated) + _below(rng, _pick(rng, (1, 3, 20))), i)
    repeated += [i for _, i in waiting.values()]
    seen: set[int] = set()
    resent = []
    for i in repeated:
        resent.append(i in seen and rng.random() < 0.5)  # noqa: PLR2004  (a half)
        seen.add(i)
    return repeated, resent


def _with_range(
    rng: Random,
    order: list[int],
    resent: list[bool],
    times_us: Sequence[int],
    late_s_max: float,
    *,
    overtaken: bool,
) -> tuple[list[int], list[bool]]:
    """Deliver a range again, under new offsets, in one of two cases."""
    if not order or rng.random() < 0.5:  # noqa: PLR2004  (a half)
        return order, resent
    end = 1 + _below(rng, len(order))
    start = end - 1 - int(rng.random() ** 2 * end)
    place = end + int(rng.random() ** 2 * (len(order) - end + 1)) if overtaken else end
    floor_us = max(times_us[i] for i in order[:place]) - late_s_max * 1_000_000
    late = [at for at in range(start, end) if times_us[order[at]] < floor_us]
    part = order[max([start - 1, *late]) + 1 : end]
    return (
        [*order[:place], *part, *order[place:]],
        [*resent[:place], *[True] * len(part), *resent[place:]],
    )
