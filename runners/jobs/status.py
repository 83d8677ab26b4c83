"""Tell how a client's job does: whether it runs, since when, how far behind, and why not."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.jobs.canary.place import shadow_names
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.health import UNCOUNTED, Health, observe
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.launches import launches, unfinished
from tillstream.runners.jobs.resuming import last_job, last_stop
from tillstream.runners.stopping import stop_of

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["Checkpoint", "Status", "status_of"]

# Words for people. Those of jobs that run are judged, those that somebody ended are not.
_ENDED = {"FAILED": "failed", "FINISHED": "finished", "CANCELED": "canceled", "SUSPENDED": "failed"}
_WELL = frozenset({"running", "paused", "canceled", "finished", "absent"})
# A checkpoint is late after so many intervals, and not before so many seconds.
_LATE_INTERVALS = 10
_LATE_S = 60.0
# A failure is news for so long.
_NEWS_S = 60.0


class Checkpoint(msgspec.Struct, frozen=True):
    """Hold what is known of a job's newest completed checkpoint, and of those that failed.

    Attributes:
        age_s: time since it was complete, seconds.
        size_bytes: of all state in it.
        duration_ms: from its trigger to its end, milliseconds.
        failed: how many of the last ten failed. Those that were asked for before its tasks ran do not count.
        path: where it lies.
    """

    age_s: float | None = None
    size_bytes: int | None = None
    duration_ms: int | None = None
    failed: int = 0
    path: str | None = None


class Status(msgspec.Struct, frozen=True):
    """Hold how a client's job does.

    Attributes:
        client: its name.
        state: running, starting, restarting, failed, paused, canceled, finished, absent (never launched), or
            unknown, where the cluster does not answer.
        is_healthy: nothing is in `troubles`.
        since: when it came to that, ISO 8601, UTC.
        job_id: Flink's id of the job.
        generation: of its launch, milliseconds since 1970 UTC.
        transforms: by entity, name and version.
        parallelism: subtasks of each stage.
        checkpoint: the newest.
        savepoint: what a paused or cancelled one goes on from.
        restarts: since it was started.
        lag: messages of its topics that are not yet read; None where that is not known.
        events_read: since its tasks were last started.
        mutations_written: likewise.
        dead_letters: likewise.
        cause: of the newest failure, a sentence.
        troubles: what is wrong, a sentence each.
        canary: names of the shadows that a canary of the client runs just now.
    """

    client: str
    state: str
    is_healthy: bool = True
    since: str | None = None
    job_id: str | None = None
    generation: int | None = None
    transforms: dict[str, str] = {}
    parallelism: int | None = None
    checkpoint: Checkpoint | None = None
    savepoint: str | None = None
    restarts: int | None = None
    lag: int | None = None
    events_read: int | None = None
    mutations_written: int | None = None
    dead_letters: int | None = None
    cause: str | None = None
    troubles: Sequence[str] = ()
    canary: Sequence[str] = ()


def status_of(config: ClientConfig) -> Status:
    """Return how a client's job does; a cluster that does not answer is a state, not an error.

    Raises:
        UserError: if several jobs of the client run, or its history was edited.
    """
    job = ClientJob(config)
    try:
        running = job.running_id()
        return _at_rest(job) if running is None else _running(job, running)
    except UnavailableError as error:
        return Status(config.client, "unknown", is_healthy=False, cause=str(error), troubles=(str(error),))


def _at_rest(job: ClientJob) -> Status:
    entries = job.history.entries()
    stop = last_stop(entries)
    if stop is not None:
        state = "paused" if stop.action == "pause" else "canceled"
        return Status(job.client, state, since=stop.at, job_id=stop.job_id, savepoint=stop.taken)
    last = last_job(job)
    if last is None:
        return _forgotten(job, entries)
    state = _ENDED.get(last["state"], "unknown")
    cause = cause_of(job.rest.root_cause(last["jid"])) or None if state == "failed" else None
    if state == "canceled":
        # A job that stops itself is cancelled by its own process.
        cause = stop_of(job.rest, job.client)
        state = "canceled" if cause is None else "failed"
    trouble = _trouble_at_rest(job, entries, state, cause)
    troubles = () if trouble is None else (trouble,)
    return Status(
        job.client,
        state,
        is_healthy=not troubles,
        since=_iso(last["end-time"]),
        job_id=last["jid"],
        savepoint=job.newest_checkpoint(last["jid"]),
        cause=cause,
        troubles=troubles,
    )


def _trouble_at_rest(job: ClientJob, entries: Sequence[Entry], state: str, cause: str | None) -> str | None:
    """Say why a job that has ended should not have; None where somebody wanted it so."""
    if unfinished(launches(entries)) is not None:
        way = f"'tillstream rollback {job.client}' goes on from there"
        return f"an upgrade or a roll-back is under way, or its command died: {way}"
    # Flink calls a job finished that was stopped with a savepoint.
    if state == "finished" and job.config.source.files is None:
        way = f"'tillstream launch {job.client}' goes on"
        return f"it was stopped, and {job.history.path} notes no pause: {way}"
    # A command that could not start it has cancelled what did not run.
    if state == "canceled" and entries[-1:] and entries[-1].outcome == "failed":
        why = f"its {entries[-1].action} failed, {entries[-1].reason or 'nobody knows why'}"
        return f"{why}: 'tillstream launch {job.client}' goes on"
    return None if state in _WELL else f"it has ended: {cause or 'nobody knows why'}"


def _forgotten(job: ClientJob, entries: Sequence[Entry]) -> Status:
    """Return the status of a client of which the cluster knows no job."""
    noted = [entry for entry in entries if entry.job_id is not None]
    if not noted:
        return Status(job.client, "absent")
    trouble = f"{job.rest.url} does not know job {noted[-1].job_id}, which was launched at {noted[-1].at}"
    return Status(
        job.client, "unknown", is_healthy=False, job_id=noted[-1].job_id, cause=trouble, troubles=(trouble,)
    )


def _running(job: ClientJob, job_id: str) -> Status:
    health = observe(job.rest, job_id)
    overview = job.rest.job(job_id)
    since_ms = int(overview["timestamps"].get("RUNNING") or 0) or int(overview["start-time"])
    checkpoint = _checkpoint(job.rest.checkpoints(job_id))
    failures = job.rest.exceptions(job_id, 1)
    state = "running" if health.runs else "restarting" if health.restarts or failures else "starting"
    troubles = _troubles(job.config, health, checkpoint, since_ms, failures)
    try:
        info = job.rest.info(job_id)
    except ValueError:
        info = None
    launched = None if info is None else info.config()
    return Status(
        job.client,
        state,
        is_healthy=not troubles,
        since=_iso(since_ms),
        job_id=job_id,
        generation=None if info is None else info.launch.generation,
        transforms={}
        if launched is None
        else {name: each.transform for name, each in launched.entities.items() if each.transform},
        parallelism=None if info is None else info.launch.parallelism,
        checkpoint=checkpoint,
        restarts=health.restarts,
        lag=_lag(job.config),
        **(health.counts._asdict() if health.is_counted else {}),
        cause=cause_of(health.cause) or None,
        troubles=troubles,
        canary=[name for name in shadow_names(job.client) if job.rest.running(name)],
    )


def _troubles(
    config: ClientConfig,
    health: Health,
    checkpoint: Checkpoint,
    since_ms: int,
    failures: Sequence[Mapping[str, Any]],
) -> tuple[str, ...]:
    found = []
    if not health.runs:
        found.append(f"{health.tasks_running} of its {health.tasks} stages run")
    elif failures and _age_s(failures[0]["timestamp"]) < _NEWS_S:
        found.append(f"it failed {_age_s(failures[0]['timestamp']):.0f} s ago")
    elif not health.is_counted and _age_s(since_ms) > _NEWS_S:
        found.append(UNCOUNTED)
    if config.source.files is None:
        late_s = max(_LATE_S, _LATE_INTERVALS * config.delivery.checkpoint_interval_ms / 1000)
        age_s = checkpoint.age_s
        if min(_age_s(since_ms), float("inf") if age_s is None else age_s) > late_s:
            found.append(f"no checkpoint was complete for {late_s:.0f} s")
    if found and health.cause:
        found[0] = f"{found[0]}: {cause_of(health.cause)}"
    return tuple(found)


def _checkpoint(answer: Mapping[str, Any]) -> Checkpoint:
    failed = sum(each["status"] == "FAILED" for each in answer.get("history") or ())
    newest = (answer.get("latest") or {}).get("completed")
    if newest is None:
        return Checkpoint(failed=failed)
    return Checkpoint(
        age_s=round(_age_s(newest["latest_ack_timestamp"]), 1),
        size_bytes=int(newest["state_size"]),
        duration_ms=int(newest["end_to_end_duration"]),
        failed=failed,
        path=str(newest["external_path"]),
    )


def _lag(config: ClientConfig) -> int | None:
    if config.source.kafka is None:
        return None
    from tillstream.io.kafka_client import connection_settings
    from tillstream.runners.lag import Lag

    try:
        settings = connection_settings(config.kafka, config.client)
    except UserError:
        # Its secret is not to be had on this machine.
        return None
    with Lag(settings, config.group_id, list(config.topics)) as lag:
        return lag.read()


def _age_s(time_ms: float) -> float:
    return max(time.time() - time_ms / 1000, 0.0)


def _iso(time_ms: float) -> str:
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.timezone.utc)
    return moment.isoformat(timespec="seconds")
