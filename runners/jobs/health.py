"""See how a running job does: its tasks, restarts, checkpoints, and what it has read and written so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tillstream.runners.flink.rest import ENDED, FlinkRest
from tillstream.runners.jobs.causes import cause_of

__all__ = ["COUNTERS", "UNCOUNTED", "Counts", "Health", "as_json", "counts_of", "observe"]

_ALIVE = frozenset({"RUNNING", "FINISHED"})
# What a JobManager does after an outage of minutes of all its TaskManagers; a new one hears of them again.
UNCOUNTED = (
    "Flink shows no metrics of it, by which it is judged: restart the JobManager, which its jobs outlive"
)
COUNTERS = ("events_read", "mutations_written", "dead_letters")


class Counts(NamedTuple):
    """Hold what a job has counted since its tasks were last started.

    Attributes:
        events_read: records of its topics.
        mutations_written: that its sinks have taken; a mutation counts once, whatever its sinks.
        dead_letters: that reading and transforming made.
    """

    events_read: int = 0
    mutations_written: int = 0
    dead_letters: int = 0

    @property
    def dead_letter_rate(self) -> float:
        """Return dead letters for each event read."""
        return self.dead_letters / self.events_read if self.events_read else 0.0

    @property
    def rows_rate(self) -> float:
        """Return mutations written for each event read."""
        return self.mutations_written / self.events_read if self.events_read else 0.0


class Health(NamedTuple):
    """Hold what one look at a job has shown.

    Attributes:
        job_id: Flink's id of it.
        state: Flink's word for it, such as RUNNING.
        tasks: how many stages it has.
        tasks_running: how many of them run, or have come to their end.
        restarts: since it was started.
        checkpoints: completed since it was started or its JobManager was.
        checkpoint_age_s: time since the newest completed one was triggered, seconds; None without one.
        counts: what it has counted; as fresh as `metrics.fetcher.update-interval` of the cluster.
        settled_ms: when the newest checkpoint but one was triggered, milliseconds since 1970 UTC: what was
            read before that is written; None without two.
        cause: the newest failure, in Flink's words; empty without one.
        is_counted: Flink shows metrics of it; without any `counts` says nothing.
    """

    job_id: str
    state: str
    tasks: int
    tasks_running: int
    restarts: int
    checkpoints: int
    checkpoint_age_s: float | None
    counts: Counts
    settled_ms: int | None
    cause: str
    is_counted: bool = True

    @property
    def has_ended(self) -> bool:
        """Tell whether it runs no more."""
        return self.state in ENDED

    @property
    def runs(self) -> bool:
        """Tell whether all of its tasks do what they are for."""
        return self.state in _ALIVE and self.tasks_running == self.tasks

    def troubles(self, checkpoint_age_s_max: float) -> list[str]:
        """Return what is wrong with it now, a sentence each; nothing where it is well.

        Args:
            checkpoint_age_s_max: how old its newest checkpoint may be, seconds; one that has none yet is
                not in trouble for that.
        """
        found = []
        if self.has_ended:
            found.append(f"job {self.job_id} has ended as {self.state}{self.because}")
        elif not self.runs:
            found.append(
                f"job {self.job_id} is {self.state}, and {self.tasks_running} of its {self.tasks} stages "
                f"run{self.because}"
            )
        age_s = self.checkpoint_age_s
        if age_s is not None and age_s > checkpoint_age_s_max and not self.has_ended:
            found.append(f"its newest checkpoint is {age_s:.0f} s old, expected {checkpoint_age_s_max:.0f} s")
        return found

    @property
    def because(self) -> str:
        """Return why it fails, to follow a sentence; nothing where it does not."""
        return f": {cause_of(self.cause)}" if self.cause else ""


def observe(rest: FlinkRest, job_id: str) -> Health:
    """Look at a job once; some calls of the cluster's REST interface, which cost the job nothing.

    Raises:
        UnavailableError: if the cluster does not answer, or does not know the job.
    """
    job = rest.job(job_id)
    vertices = job["vertices"]
    checkpoints = rest.checkpoints(job_id)
    completed = [
        int(each["trigger_timestamp"])
        for each in checkpoints.get("history") or ()
        if each["status"] == "COMPLETED" and not each["is_savepoint"]
    ]
    completed.sort()
    counts = counts_of(rest, job_id, [str(vertex["id"]) for vertex in vertices])
    return Health(
        job_id=job_id,
        state=str(job["state"]),
        tasks=len(vertices),
        tasks_running=sum(vertex["status"] in _ALIVE for vertex in vertices),
        restarts=rest.restarts(job_id),
        checkpoints=int((checkpoints.get("counts") or {}).get("completed") or 0),
        checkpoint_age_s=time.time() - completed[-1] / 1000 if completed else None,
        counts=counts or Counts(),
        settled_ms=completed[-2] if len(completed) > 1 else None,
        cause=rest.root_cause(job_id),
        is_counted=counts is not None,
    )


def counts_of(rest: FlinkRest, job_id: str, vertices: Sequence[str]) -> Counts | None:
    """Return what the stages of a job have counted, all subtasks together; None where Flink has no metrics.

    Beam's counters are metrics of the operators that count them, `<operator>.<namespace>_<name>`.
    """
    found = dict.fromkeys(COUNTERS, 0)
    ends = [f".tillstream_{each}" for each in COUNTERS]
    known = [rest.sums(job_id, vertex, ends) for vertex in vertices]
    for name, value in (each for sums in known if sums is not None for each in sums.items()):
        found[name.rpartition(".tillstream_")[2]] += int(value)
    return None if all(sums is None for sums in known) else Counts(**found)


def as_json(health: Health) -> Mapping[str, Any]:
    """Return a look at a job for programs."""
    return {**health._asdict(), "counts": health.counts._asdict(), "cause": cause_of(health.cause)}
