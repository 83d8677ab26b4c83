"""Find out whether a transform gives the same rows however its events are delivered."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import msgspec

from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import ChangeEvent, Operation
from tillstream.transforms.testing.comparing import Compare, Comparison, Difference, Tolerance
from tillstream.transforms.testing.events import EPOCH_US, Columns, place
from tillstream.transforms.testing.executor import Delivery, Executor, Outcome, deliveries
from tillstream.transforms.testing.minimising import minimised
from tillstream.transforms.testing.perturbing import World
from tillstream.transforms.testing.printing import printed_test, spelt
from tillstream.transforms.testing.result import Result, readable, result_of
from tillstream.transforms.testing.schedules import Ranges, Schedule, draw
from tillstream.transforms.testing.settings import SEEDS, SETTINGS
from tillstream.transforms.testing.subjects import Subject, Tested, subject_of

__all__ = ["DivergedError", "simulate"]

_SHOWN_MAX = 5
_NOTHING = Schedule()
_USUAL = {"compare": "rows", "tolerance": None, "dedup": False, "late_s_max": None}
_UNPLACED: dict[str, Any] = {"offset": -1, "position": (), "source_time_us": EPOCH_US}


class DivergedError(AssertionError):
    """Say that a transform's rows depend on how its events were delivered.

    Attributes:
        seed: that showed it; None where a schedule was given.
        schedule: the smallest one that shows it.
        events: the fewest.
        differences: what differs then.
        test: a pytest test that fails with it.
    """

    def __init__(
        self,
        seed: int | None,
        schedule: Schedule,
        events: Sequence[ChangeEvent],
        differences: Sequence[Difference],
        test: str,
    ) -> None:
        self.seed = seed
        self.schedule = schedule
        self.events = list(events)
        self.differences = list(differences)
        self.test = test
        shown = [str(each) for each in differences[:_SHOWN_MAX]]
        if len(differences) > _SHOWN_MAX:
            shown.append(f"and {len(differences) - _SHOWN_MAX} more")
        found = "the schedule" if seed is None else f"seed {seed}"
        super().__init__(
            f"{found}: not what a clean run of the same events gives\n"
            + "\n".join(shown)
            + f"\nbecause {_reason(schedule)}\nwith {len(events)} events and {spelt(schedule)}; "
            + f"a test that shows it:\n\n{test}"
        )


def simulate(
    tested: Tested,
    events: Iterable[ChangeEvent],
    *,
    source: str | None = None,
    into: str | None = None,
    keys: Mapping[str, Columns] | None = None,
    modules: Sequence[str] = (),
    seeds: int | None = None,
    seed: int | None = None,
    schedule: Schedule | None = None,
    compare: Compare = "rows",
    tolerance: Tolerance | None = None,
    dedup: bool = False,
    late_s_max: float | None = None,
) -> Result:
    """Run a transform once cleanly and once for each seed, and expect the same rows every time.

        simulate(OrdersEnriched, [created("orders", {"order_id": 1}, key="order_id")])

    A seed chooses where bundles end, which events come twice (before a newer one of their key does, at their
    offset or a new one), from where on a connector sends all again, the order of events of different keys,
    where the job crashes and goes on from a checkpoint, how many instances there are and when they are made
    anew, and which messages between stages come late. The clock, and the order of sets and hashes, are
    others than in the clean run. The same seed gives the same schedule everywhere.

    Args:
        tested: as of `run`.
        events: in the order of the log; `place` says what those without a place get.
        source: as of `run`; so are `into`, `keys` and `modules`.
        into: see source.
        keys: see source.
        modules: see source.
        seeds: how many seeds are tried, from 0 on. Default: 1000. Pytest's `--tillstream-seeds` goes first.
        seed: the only one to try. Pytest's `--tillstream-seed` goes first.
        schedule: the only one to try, in place of seeds.
        compare: `rows`, what a sink that upserts holds in the end; or `changes`, what a sink that appends
            does: each key's changes in order, repeated ones once. Dead letters are compared in both.
        tolerance: by how much numbers may differ, by column; or what tells whether a row that was found (its
            second argument) will do for the one of the clean run (its first).
        dedup: whether repeated events are dropped before the transform, as they are in production. A right
            transform does without, because deduplication forgets what is past its horizon. With it, ranges
            are also sent again later, behind newer events; without it and with `compare="changes"` none are,
            because a sink that appends would get what is older after what is newer.
        late_s_max: by how much event time an event may come behind a newer one, seconds. Default: any.

    Returns:
        What the clean run gave.

    Raises:
        DivergedError: an AssertionError, with the smallest failing case as a test to paste.
        UserError: if the events and the transform do not fit together, or all events are refused;
            TransformError if the transform cannot be used.
    """
    __tracebackhide__ = True
    placed = place(events)
    subject = subject_of(tested, placed, source=source, into=into, keys=keys, modules=modules, dedup=dedup)
    horizon_s = subject.config.dedup.horizon_s if dedup else inf
    ranges = Ranges(allowed=dedup or compare == "rows", overtaken=dedup, late_s_max=horizon_s)
    options = _unusual(compare=compare, tolerance=tolerance, dedup=dedup, late_s_max=late_s_max)
    comparison = Comparison(subject.shown, compare, tolerance)
    given = None if schedule is None else [(None, schedule)]
    return _compared(
        subject,
        comparison,
        options,
        placed,
        lambda delivered: iter(given or _drawn(delivered, compare, (seeds, seed), late_s_max, ranges)),
    )


def _unusual(**said: Any) -> dict[str, Any]:
    """Return the arguments that a test must say to have them."""
    return {name: value for name, value in said.items() if value != _USUAL[name]}


def _compared(
    subject: Subject,
    comparison: Comparison,
    options: Mapping[str, Any],
    placed: Sequence[ChangeEvent],
    tries: Callable[[Sequence[Delivery]], Iterator[tuple[int | None, Schedule]]],
) -> Result:
    """Run cleanly, then each schedule; return the first, or raise for the first that differs."""
    __tracebackhide__ = True
    with World(subject.classes) as world:
        simulation = _Simulation(subject, comparison, world, options)
        delivered = deliveries(subject, placed)
        clean = simulation.clean(delivered)
        made = result_of(clean, subject.shown)
        _check_not_empty(made)
        expected = comparison.view(clean)
        for number, each in tries(delivered):
            if comparison.differences(expected, comparison.view(simulation.other(delivered, each))):
                raise simulation.diverged(number, delivered, each)
    return made


def _check_not_empty(made: Result) -> None:
    """Raise UserError where every event is refused: that is the same however they are delivered."""
    if made.letters and not made.mutations:
        raise UserError(
            "a clean run made no row, only dead letters, so there is nothing to compare; the first is: "
            + readable(made.letters[0])
        )


def _groups(delivered: Sequence[Delivery], ranges: Ranges, compare: Compare) -> list[Hashable]:
    """Return what each event keeps its order in."""
    # Without deduplication nobody knows which rows a truncate overtakes, and a log shows what it deletes.
    fenced: set[str] = set()
    if not ranges.overtaken or compare == "changes":
        fenced = {each.entity for each in delivered if each.record.operation is Operation.TRUNCATE}
    # Deduplication takes a change that a later one of its partition has overtaken for a repeated one.
    return [
        each.entity
        if each.entity in fenced
        else (each.topic, each.partition)
        if ranges.overtaken
        else (each.entity, each.record.key)
        for each in delivered
    ]


def _drawn(
    delivered: Sequence[Delivery],
    compare: Compare,
    tries: tuple[int | None, int | None],
    late_s_max: float | None,
    ranges: Ranges,
) -> Iterator[tuple[int | None, Schedule]]:
    """Yield each seed with its schedule."""
    seeds, seed = tries
    groups = _groups(delivered, ranges, compare)
    times_us = [each.record.source_time_us for each in delivered]
    only = seed if SETTINGS.seed is None else SETTINGS.seed
    count = next(each for each in (SETTINGS.seeds, seeds, SEEDS) if each is not None)
    for number in range(count) if only is None else (only,):
        yield number, draw(number, groups, times_us, late_s_max, ranges) if number else _NOTHING


class _Simulation:
    """Run deliveries, and make small what fails."""

    def __init__(
        self, subject: Subject, comparison: Comparison, world: World, options: Mapping[str, Any]
    ) -> None:
        self._subject = subject
        self._comparison = comparison
        self._world = world
        self._options = options
        self._executor = Executor(subject)

    def clean(self, delivered: Sequence[Delivery]) -> Outcome:
        """Run all once, in order, in the world as it is."""
        self._world.other = False
        return self._executor.run(delivered, _NOTHING)

    def other(self, delivered: Sequence[Delivery], schedule: Schedule) -> Outcome:
        """Run a schedule in another world."""
        self._world.other = True
        return self._executor.run(delivered, schedule)

    def diverged(self, seed: int | None, delivered: Sequence[Delivery], schedule: Schedule) -> DivergedError:
        """Return what to raise, as small as it gets."""
        whole = replace(schedule, order=schedule.order or tuple(range(len(delivered))))

        def fails(tried: Schedule) -> bool:
            part, folded = _folded(delivered, tried)
            # What rests on chance may fail once and not again.
            return all(self._differences(part, folded) for _ in range(1 if folded != _NOTHING else 2))

        part, folded = _folded(delivered, minimised(whole, fails))
        events = place([msgspec.structs.replace(each.event, **_UNPLACED) for each in part])
        differences = self._differences(deliveries(self._subject, events), folded)
        if not differences:
            events = [each.event for each in part]
            differences = self._differences(part, folded)
        title = "schedule" if seed is None else f"seed_{seed}"
        test = printed_test(
            self._subject,
            events,
            folded,
            self._options,
            (title, f"Give the rows of a clean run ({title.replace('_', ' ')})."),
        )
        return DivergedError(seed, folded, events, differences, test)

    def _differences(self, delivered: Sequence[Delivery], schedule: Schedule) -> list[Difference]:
        view = self._comparison.view
        expected = view(self.clean(delivered))
        return self._comparison.differences(expected, view(self.other(delivered, schedule)))


def _folded(delivered: Sequence[Delivery], schedule: Schedule) -> tuple[list[Delivery], Schedule]:
    """Return the deliveries that a schedule uses, and the schedule as it counts in these."""
    kept = sorted(set(schedule.order or ()))
    number = {event: place for place, event in enumerate(kept)}
    order = tuple([number[event] for event in schedule.order or ()])
    folded = replace(schedule, order=None if order == tuple(range(len(kept))) else order)
    return [delivered[event] for event in kept], folded


def _reason(schedule: Schedule) -> str:
    order = schedule.order or ()
    reasons = []
    if schedule.crashes:
        reasons.append("it was replayed from a checkpoint: what a DoFn keeps outside of KeyedState() is lost")
    if len(set(order)) < len(order):
        reasons.append("an event came twice: the second time must make the same rows as the first")
    if schedule.resent:
        reasons.append("it was sent again under a new offset: only its position tells that it is known")
    if list(dict.fromkeys(order)) != sorted(set(order)):
        reasons.append("events of different keys came in another order")
    if schedule.restarts or schedule.instances > 1:
        reasons.append("another instance went on: what a DoFn keeps outside of KeyedState() is not there")
    if schedule.bundles:
        reasons.append("bundles ended elsewhere: only process() may make rows, out of its event and state")
    if schedule.holds:
        reasons.append("messages between stages came later")
    if schedule.grouped:
        reasons.append("events came in batches by their shard, as a poll gives them")
    return "; ".join(reasons) or (
        "the same events, delivered alike, gave something else: it rests on the clock, on chance, on the "
        "order of a set, or on what a class attribute or a module kept from before"
    )
