"""Judge what a step of the day has shown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

__all__ = [
    "CALM_S_MAX",
    "Footprint",
    "UnexpectedError",
    "check_calm",
    "check_diff",
    "check_history",
    "version_held",
]

# What south may notice of a step that touches north alone: its rows come a second or two after their commits,
# whatever is done to north; more is two processors that north's builds, starts and restores take in turns.
CALM_S_MAX = 10.0
# What it may notice of the death of a part that both share: longest is a broker's (docs/guarantees.md).
_SHARED_S_MAX = 60.0
_CHANGED = re.compile(r"changed id=(\d+)  cents: (-?\d+) -> (-?\d+)")


class UnexpectedError(AssertionError):
    """Say what is not as the day expects."""


class Footprint(NamedTuple):
    """Hold what a job is known by, and when it failed last.

    Attributes:
        job_id: Flink's id of it.
        generation: of its launch.
        failed_ms: when it failed last and was restarted, milliseconds since 1970 UTC; 0 if it did not since
            its JobManager was started. Known at once, unlike the count of restarts, which is a metric.
    """

    job_id: str
    generation: int
    failed_ms: int


def check_calm(name: str, worst_s: float, before: Footprint, after: Footprint, *, is_shared: bool) -> None:
    """Check that south noticed of a step no more than it may.

    Args:
        name: of the step.
        worst_s: age of south's newest row at worst, seconds; 0 where nobody saw one.
        before: its job, before the step.
        after: its job, after the step.
        is_shared: a part died on which both clients run.

    Raises:
        UnexpectedError: if it did.
    """
    if after[:2] != before[:2]:
        raise UnexpectedError(f"{name}: south's job and launch are {after[:2]}, expected {before[:2]}")
    if not is_shared and after.failed_ms != before.failed_ms:
        raise UnexpectedError(f"{name}: south failed at {after.failed_ms}, expected it to run on")
    if worst_s <= 0:
        raise UnexpectedError(f"{name}: nobody saw south's rows")
    worst_s_max = _SHARED_S_MAX if is_shared else CALM_S_MAX
    if worst_s > worst_s_max:
        raise UnexpectedError(
            f"{name}: south's newest row was {worst_s:.1f} s old, expected at most {worst_s_max:.0f} s"
        )


def check_diff(printed: str, lines: Sequence[Mapping[str, Any]]) -> None:
    """Check that a canary has shown what the wrong version does, alone: a cent at every seventh order.

    Args:
        printed: by the command.
        lines: of its file of differences.

    Raises:
        UnexpectedError: if it has not.
    """
    shown = [tuple(map(int, found)) for found in _CHANGED.findall(printed)]
    if not shown:
        raise UnexpectedError(f"the canary shows no order with both of its cents:\n{printed}")
    filed = []
    for line in lines:
        if line["kind"] != "changed" or set(line["columns"]) != {"cents"}:
            raise UnexpectedError(f"the canary's file has {line}, expected cents that changed")
        filed.append((int(line["key"]["id"]), *map(int, line["columns"]["cents"])))
    wrong = [each for each in filed if each[0] % 7 or each[2] != each[1] + 1]
    if wrong or not set(shown) <= set(filed):
        raise UnexpectedError(f"the canary found {wrong or filed}, and showed {shown}")


def version_held(entries: Sequence[Mapping[str, Any]], job_id: str) -> str:
    """Return the transform that a client's job has by its history, whose last word must be about that job.

    Args:
        entries: of the history.
        job_id: of the job that runs.

    Raises:
        UnexpectedError: if the history says nothing of it, or something else last.
    """
    held = [entry for entry in entries if entry["outcome"] == "done" and "generation" in entry]
    if not held or held[-1].get("job_id") != job_id:
        last = held[-1] if held else None
        raise UnexpectedError(f"job {job_id} runs, but what held last by the history is {last}")
    return str(held[-1]["transforms"]["orders"])


def check_history(entries: Sequence[Mapping[str, Any]], wanted: Sequence[str]) -> None:
    """Check what was done to a client, in order.

    Raises:
        UnexpectedError: if something else was.
    """
    done = [entry["action"] for entry in entries if entry["outcome"] == "done"]
    # An action may take several entries, what it stopped and what it started; and an upgrade that the death
    # of a part has undone is a roll-back.
    found = [action for action, _ in groupby(done)]
    if found != list(wanted):
        raise UnexpectedError(f"found the history {found}, expected {list(wanted)}")
