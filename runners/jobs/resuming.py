"""Find where a client's job goes on: what its pause or cancel left, or its last job's newest checkpoint."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tillstream.configs.source import StartAt
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.places import local_path

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig
    from tillstream.runners.flink.rest import FlinkRest
    from tillstream.runners.jobs.history import Entry
    from tillstream.runners.jobs.job import ClientJob

__all__ = ["Place", "beginning_of", "last_job", "last_stop", "place_of"]

_STOPS = ("pause", "cancel")
# Where a launch that began at `latest` notes which instant that was.
_START = "/source/kafka/start"


@dataclass(frozen=True)
class Place:
    """Say where a job goes on.

    Attributes:
        path: of a savepoint or checkpoint; None for nothing.
        why: it is that one, in words.
    """

    path: str | None
    why: str


def place_of(job: ClientJob) -> Place:
    """Return where the client's next job goes on; none runs.

    Raises:
        UserError: if the client ran before, and nothing tells where it was.
    """
    if job.config.source.files is not None:
        return Place(None, "files are read from their beginning")
    entries = job.history.entries()
    last = last_job(job)
    stop = last_stop(entries)
    if stop is not None and not _is_later(last, stop):
        if stop.forgotten:
            return Place(None, f"its state was dropped at {stop.at}")
        return Place(stop.taken, f"what its {stop.action} at {stop.at} left")
    job_id = _newest_id(last, entries)
    if job_id is None:
        return Place(None, "it was never launched before")
    return _place_of_job(job, job_id, is_known=last is not None, entries=entries)


def beginning_of(job: ClientJob) -> ClientConfig:
    """Return the config of a launch that goes on where the client's last job was, and finds no state of it.

    `latest` is then the instant that it was for that job, whose place it takes: what has come since is read.
    """
    kafka = job.config.source.kafka
    entries = job.history.entries()
    stop = last_stop(entries)
    if kafka is None or kafka.start != "latest" or (stop is not None and stop.forgotten):
        return job.config
    last = next(
        (each for each in reversed(entries) if each.template and each.job_id and each.action != "canary"),
        None,
    )
    start = None if last is None else last.overrides.get(_START)
    if not isinstance(start, dict):
        return job.config
    source = job.config.source.model_copy(
        update={"kafka": kafka.model_copy(update={"start": StartAt.model_validate(start)})}
    )
    return job.config.model_copy(update={"source": source})


def last_stop(entries: Sequence[Entry]) -> Entry | None:
    """Return the pause or cancel after which a history has no further launch; None without one."""
    for entry in reversed(entries):
        if entry.action in _STOPS:
            if entry.outcome == "done":
                return entry
        elif entry.job_id is not None and entry.action != "canary" and entry.outcome != "refused":
            return None
    return None


def last_job(job: ClientJob) -> dict[str, Any] | None:
    """Return the overview of the newest job of the client that the cluster remembers."""
    jobs = [each for each in job.rest.jobs() if each["name"] == job.client]
    return max(jobs, key=lambda each: int(each["start-time"]), default=None)


def _is_later(last: dict[str, Any] | None, stop: Entry) -> bool:
    """Tell whether a job was launched after a stop, by somebody with another history."""
    if last is None or last["jid"] == stop.job_id:
        return False
    return int(last["start-time"]) > dt.datetime.fromisoformat(stop.at).timestamp() * 1000


def _newest_id(last: dict[str, Any] | None, entries: Sequence[Entry]) -> str | None:
    noted = next((entry.job_id for entry in reversed(entries) if entry.job_id is not None), None)
    return noted if last is None else str(last["jid"])


def _place_of_job(job: ClientJob, job_id: str, *, is_known: bool, entries: Sequence[Entry]) -> Place:
    left = next((each.taken for each in reversed(entries) if each.job_id == job_id and _ends(each)), None)
    if left is not None:
        return Place(left, f"what the command that stopped its last job {job_id}, and then died, has left")
    newest = job.newest_checkpoint(job_id) if is_known else None
    if newest is None:
        newest = _newest_on_disk(job.rest, job_id)
    if newest is not None:
        return Place(newest, f"the newest checkpoint of its last job {job_id}")
    started = (job.rest.checkpoints(job_id).get("latest") or {}).get("restored") if is_known else None
    noted = [entry.savepoint for entry in entries if entry.job_id == job_id and entry.savepoint]
    if started or noted:
        path = str(started["external_path"]) if started else noted[-1]
        return Place(path, f"where its last job {job_id}, without a checkpoint, was started from")
    if is_known:
        return Place(None, f"its last job {job_id} had no checkpoint")
    raise UserError(
        f"client {job.client}: its last job {job_id} is unknown to {job.rest.url}, and no checkpoint of it "
        "is found, expected one: name it by --savepoint PATH, or start from nothing with --fresh"
    )


def _ends(entry: Entry) -> bool:
    """Tell whether a roll-back or rescaling had stopped the job of an entry, to start another one."""
    return entry.action in {"rollback", "rescale"} and entry.generation is None and entry.taken is not None


def _newest_on_disk(rest: FlinkRest, job_id: str) -> str | None:
    """Return a job's newest checkpoint where they lie on this machine: clusters forget jobs that ended."""
    folder = local_path(rest.settings().get("state.checkpoints.dir", ""))
    if folder is None:
        return None
    metadata = (folder / job_id).glob("chk-*/_metadata")
    found = max(metadata, key=lambda path: int(path.parent.name.removeprefix("chk-")), default=None)
    return None if found is None else found.parent.as_uri()
