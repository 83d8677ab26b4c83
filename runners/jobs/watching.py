"""Judge a new version of a job by what it does, against what the one before did."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from tillstream.configs.upgrade import Upgrade
from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.health import UNCOUNTED, Counts, Health, observe

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["Look", "Rows", "UnhealthyError", "await_running", "judge", "lag_of", "rows_of", "tells", "watch"]

_POLL_S = 0.5
_SHOW_EVERY_S = 5.0
# By the second checkpoint all that waited in the savepoint is written, and by the third what was read then.
_SETTLED, _TOLD = 2, 3


class UnhealthyError(TillstreamError):
    """Say what is wrong with a new version."""


class Look(NamedTuple):
    """Hold one look at the new version.

    Attributes:
        at_ms: when, milliseconds since 1970 UTC.
        health: what it showed.
        lag: events that wait to be read; None where nobody could say.
    """

    at_ms: int
    health: Health
    lag: int | None


class Rows(NamedTuple):
    """Hold how many rows were written, and the least and the most events that they can be of.

    Attributes:
        rows: written by all sinks together.
        events_min: the least.
        events_max: the most; None where nobody knows.
    """

    rows: int
    events_min: int
    events_max: int | None


def judge(looks: Sequence[Look], before: Counts | None, limits: Upgrade, *, is_over: bool) -> list[str]:
    """Return what is wrong with a new version, a sentence each; nothing where it is well so far.

    Args:
        looks: since all of its tasks ran, oldest first; at least one.
        before: what the version before had counted; None where it is not known.
        limits: what is well.
        is_over: whether this is the last judgement; lag and rows are judged then.
    """
    health = looks[-1].health
    found = health.troubles(limits.checkpoint_age_s_max)
    if health.restarts > limits.restarts_max:
        told = f"Flink restarted it {health.restarts} times, expected at most {limits.restarts_max}"
        found.append(f"{told}{health.because}")
    watched_s = (looks[-1].at_ms - looks[0].at_ms) / 1000
    if not health.checkpoints and (is_over or watched_s > limits.checkpoint_age_s_max):
        found.append(f"it completed no checkpoint in {watched_s:.0f} s")
    found += _letters(health.counts, before, limits)
    if is_over:
        if not health.is_counted:
            found.append(UNCOUNTED)
        elif not tells(looks, limits):
            found.append(
                f"of {health.counts.events_read} events read it is not known what became of them: only "
                f"{health.checkpoints} checkpoints were completed since"
            )
        found += _lag(looks, limits)
        found += _rows(looks, before, limits)
    return found


def tells(looks: Sequence[Look], limits: Upgrade) -> bool:
    """Tell whether what was read has come out where it shows; a checkpoint is enough where it was little."""
    health = looks[-1].health
    if not health.is_counted:
        return False
    return health.checkpoints >= (1 if health.counts.events_read < limits.events_min else _TOLD)


def _letters(now: Counts, before: Counts | None, limits: Upgrade) -> list[str]:
    if now.dead_letters < limits.dead_letters_min:
        return []
    known = 0.0 if before is None else before.dead_letter_rate
    most = max(limits.dead_letter_rate_max, known * limits.dead_letter_rate_factor_max)
    rate = now.dead_letters / max(now.events_read, 1)
    told = (
        f"{now.dead_letters} of {now.events_read} events became dead letters, {rate:.1%}, expected at most "
        f"{most:.1%}; before it were {known:.1%}"
    )
    return [told] if rate > most else []


def _lag(looks: Sequence[Look], limits: Upgrade) -> list[str]:
    known = [look.lag for look in looks if look.lag is not None]
    if not known or known[-1] <= limits.lag_events_max or known[-1] < known[0]:
        return []
    return [f"{known[-1]} events wait to be read, and do not become fewer"]


def _rows(looks: Sequence[Look], before: Counts | None, limits: Upgrade) -> list[str]:
    if before is None or before.events_read < limits.events_min or not before.mutations_written:
        return []
    found = rows_of(looks)
    if found is None or found.events_min < limits.events_min:
        return []
    usual = before.rows_rate
    lowest, highest = limits.rows_ratio_min * usual, (limits.rows_ratio_max or math.inf) * usual
    told = (
        f"{found.rows} rows were written for {found.events_min} events, expected {lowest:.2f} to "
        f"{highest:.2f} for each: before it were {usual:.2f}"
    )
    is_few = found.rows / found.events_min < lowest
    is_many = found.events_max is not None and found.rows / found.events_max > highest
    return [told] if is_few or is_many else []


def rows_of(looks: Sequence[Look]) -> Rows | None:
    """Return what was written, and of what, while a new version was looked at; None before it tells.

    Rows of an event are written when the checkpoint that follows it is complete. So what is written at a look
    is of what was read before the newest checkpoint but one was triggered, at least.
    """
    last = looks[-1]
    settled = _read_by(looks, last.health.settled_ms)
    for first in looks:
        if first.health.checkpoints < _SETTLED:
            continue
        least = settled - first.health.counts.events_read
        if least <= 0:
            break
        rows = last.health.counts.mutations_written - first.health.counts.mutations_written
        return Rows(rows, least, last.health.counts.events_read - _read_by(looks, first.health.settled_ms))
    # All came at once. With what waited in the savepoint these rows may be of many more events.
    return Rows(last.health.counts.mutations_written, settled, None) if settled else None


def _read_by(looks: Sequence[Look], at_ms: int | None) -> int:
    known = [look.health.counts.events_read for look in looks if at_ms is not None and look.at_ms <= at_ms]
    return known[-1] if known else 0


def await_running(rest: FlinkRest, job_id: str, limits: Upgrade, deadline_s: float, stop: Event) -> None:
    """Wait until all tasks of a job run.

    Raises:
        UnhealthyError: if it ends, is restarted too often, or takes longer.
        UnavailableError: if the cluster does not answer for as long.
    """
    end_s = time.monotonic() + deadline_s
    while True:
        health = _seen(rest, job_id, end_s)
        if health is not None:
            if health.runs:
                return
            troubles = health.troubles(limits.checkpoint_age_s_max)
            if health.has_ended or health.restarts > limits.restarts_max or time.monotonic() > end_s:
                raise UnhealthyError("; ".join(troubles))
        _pause(stop)


def watch(
    rest: FlinkRest,
    job_id: str,
    limits: Upgrade,
    *,
    before: Counts | None,
    lag: Callable[[], int | None],
    watch_s: float,
    stop: Event,
    say: Callable[[str], None],
) -> list[Look]:
    """Watch a new version for a while, and return what was seen.

    Args:
        rest: of the cluster.
        job_id: of the new version; all of its tasks run.
        limits: what is well.
        before: what the version before had counted; None where it is not known.
        lag: returns how many events wait to be read.
        watch_s: for how long, seconds; longer where it has not shown by then what becomes of events.
        stop: set by a person who wants an end.
        say: takes a line now and then.

    Raises:
        UnhealthyError: as soon as something is wrong.
        UnavailableError: if the cluster does not answer for as long as a checkpoint may take.
    """
    looks: list[Look] = []
    end_s = time.monotonic() + watch_s
    shown_s = answered_s = time.monotonic()
    while True:
        health = _seen(rest, job_id, answered_s + limits.checkpoint_age_s_max)
        if health is not None:
            answered_s = time.monotonic()
            looks.append(Look(time.time_ns() // 1_000_000, health, lag()))
            left_s = end_s - time.monotonic()
            # A job that has just been restored, on a busy machine, may take a while to show anything.
            is_over = left_s <= 0 and (tells(looks, limits) or left_s < -limits.checkpoint_age_s_max)
            troubles = judge(looks, before, limits, is_over=is_over)
            if troubles:
                raise UnhealthyError("; ".join(troubles))
            if is_over:
                return looks
        if time.monotonic() - shown_s >= _SHOW_EVERY_S and looks:
            shown_s = time.monotonic()
            say(_line(looks[-1], end_s - shown_s))
        _pause(stop)


def _seen(rest: FlinkRest, job_id: str, until_s: float) -> Health | None:
    """Look at a job; None while the cluster does not answer, which a JobManager that comes back may cure."""
    try:
        return observe(rest, job_id)
    except UnavailableError:
        if time.monotonic() > until_s:
            raise
        return None


def _line(look: Look, left_s: float) -> str:
    counts = look.health.counts
    waiting = "" if look.lag is None else f", {look.lag} wait"
    return (
        f"{counts.events_read} events read{waiting}, {counts.mutations_written} rows written, "
        f"{counts.dead_letters} dead letters, {look.health.checkpoints} checkpoints; "
        f"{max(left_s, 0):.0f} s to go"
    )


def _pause(stop: Event) -> None:
    if stop.wait(_POLL_S):
        raise UnhealthyError("it was interrupted")


@contextmanager
def lag_of(config: ClientConfig) -> Iterator[Callable[[], int | None]]:
    """Hold what tells how many events wait to be read by a client's job; None where nobody can say."""
    if config.source.kafka is None:
        yield lambda: None
        return
    # With librdkafka, which those that judge nothing need not load.
    from tillstream.io.kafka_client import connection_settings
    from tillstream.runners.lag import Lag

    try:
        settings = connection_settings(config.kafka, config.client)
    except UserError:
        # Its secret is not to be had on this machine.
        yield lambda: None
        return
    with Lag(settings, config.group_id, list(config.topics)) as lag:
        yield lag.read
