"""Change how many subtasks a client's job has, with all of its state, and at any time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from tillstream.configs.launching import LaunchParameters, new_generation, overridden
from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.commands import built
from tillstream.runners.jobs.going_back import jar_of
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob, Say, Started
from tillstream.runners.jobs.launches import launches
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.resuming import last_job, place_of
from tillstream.runners.jobs.selection import Chosen

__all__ = ["check", "rescale", "rescale_job", "scaled"]

_PARALLELISM = "/flink/parallelism"


def rescale(chosen: Chosen, say: Say, parallelism: int, timeout_s: float) -> Done:
    """Run a client's job with another parallelism; as `rescale_job`."""
    return rescale_job(ClientJob(chosen.load(), say), parallelism, timeout_s)


def rescale_job(job: ClientJob, parallelism: int, timeout_s: float) -> Done:
    """Run a client's job with another parallelism: the same template, from where it was stopped.

    Where the job does not start with the new one, it is started with the old one again, from the same place.

    Delivery guarantees:
        Those of the job: it is stopped with a savepoint, which holds all state, the position in each
        partition, and what waits for its sinks. Flink hands out state by key groups, so that each shard and
        each partition finds its own, whatever subtask works on it then, and what waits stays in order. The
        new launch has a generation of its own, so that a leftover of the old one cannot write any more.

    Args:
        job: the client's.
        parallelism: subtasks of each stage.
        timeout_s: how long the savepoint, and then the start, may each take, seconds.

    Raises:
        UserError: if none of tillstream's runs, or it cannot have that parallelism.
        UnavailableError: if the cluster lacks slots.
        TillstreamError: as `ClientJob.stop` and `ClientJob.start` do; the latter only if it does not start
            with its old parallelism either.
    """
    with job.exclusive("rescale"), tempfile.TemporaryDirectory() as folder:
        stopped = _stopped_before(job)
        if stopped is None:
            job_id, info = _running(job)
            job.note_running(job_id)
            before = info.launch.parallelism
            facts = {"job_id": job_id, "url": job.page(job_id), "parallelism": before, "before": before}
            if before == parallelism:
                return Done("has it already", f"parallelism {before}{_hint(job, before)}", facts)
            check(info, parallelism)
            job.expect_slots(parallelism, freed=before)
            template = _template(job, job_id, info, Path(folder, "template.jar"))
            taken = _stop(job, job_id, before, parallelism, timeout_s)
        else:
            template, info, taken = stopped
            before = info.launch.parallelism
            check(info, parallelism)
            job.say(f"a rescaling ended in its midst: going on from {taken}")
        wanted = scaled(info, parallelism)
        try:
            started = job.start(template, "rescale", savepoint=taken, parameters=wanted, deadline_s=timeout_s)
        except TillstreamError as error:
            return _undone(job, template, info, taken, error, timeout_s=timeout_s)
    facts = {"parallelism": parallelism, "before": before, **_facts(job, started, taken)}
    return Done("rescaled", f"parallelism {before} to {parallelism}{_hint(job, parallelism)}", facts)


def check(info: JobInfo, parallelism: int) -> None:
    """See that a job can have a parallelism.

    Raises:
        UserError: if it cannot.
    """
    client, config = info.manifest.client, info.config()
    if info.manifest.bounded:
        raise UserError(f"client {client}: found a bounded job, expected one that reads on: wait for its end")
    flink = config.flink
    most = min(flink.shards, flink.max_parallelism)
    if not 1 <= parallelism <= most:
        raise UserError(
            f"client {client}: found parallelism {parallelism}, expected 1 to {most}: flink.shards "
            f"{flink.shards} and flink.max_parallelism {flink.max_parallelism} bound it while state lives"
        )


def scaled(info: JobInfo, parallelism: int) -> LaunchParameters:
    """Return the parameters of a launch that happens now: those of a job, with another parallelism."""
    overrides = {name: value for name, value in info.launch.overrides.items() if name != _PARALLELISM}
    config = overridden(info.manifest.config, overrides)
    if config["flink"]["parallelism"] != parallelism:
        overrides[_PARALLELISM] = parallelism
    return msgspec.structs.replace(
        info.launch,
        generation=new_generation(info.launch.generation),
        parallelism=parallelism,
        overrides=overrides,
    )


def _stop(job: ClientJob, job_id: str, before: int, parallelism: int, timeout_s: float) -> str:
    """Stop a job, as the history tells, and return its savepoint."""
    entry = job.history.append(Entry("rescale", "started", job_id=job_id, parallelism=before))
    job.say(f"taking a savepoint of job {job_id}")
    try:
        taken = job.stop(job_id, deadline_s=timeout_s)
    except TillstreamError as error:
        job.note(entry, "failed", reason=cause_of(str(error)))
        raise
    job.note(entry, "done", taken=taken, reason=f"stopped to have parallelism {parallelism}")
    return taken


def _stopped_before(job: ClientJob) -> tuple[Path, JobInfo, str] | None:
    """Return what a rescaling has stopped and not started again: template, job, place; None without one."""
    entries = job.history.entries()
    last = entries[-1] if entries else None
    if last is None or last.action != "rescale" or job.running_id() is not None:
        return None
    # What was not stopped, and what has run since, is for a launch to go on with.
    if last.outcome == ("failed" if last.generation is None else "done"):
        return None
    stopped = next((each.job_id for each in reversed(entries) if each.generation is None), None)
    before = next((each for each in launches(entries) if each.entry.job_id == stopped), None)
    if not _is_newest(job, last, stopped):
        return None
    place = place_of(job)
    if before is None or place.path is None:
        return None
    template = jar_of(job, before)
    return template, JobInfo(read_manifest(template), before.parameters(before.generation)), place.path


def _is_newest(job: ClientJob, last: Entry, stopped: str | None) -> bool:
    """Tell whether nothing of the client has run since, but what the rescaling itself may have started."""
    newest = last_job(job)
    if newest is None:
        # The cluster has forgotten it all: of what was started, and how far it came, nobody knows.
        return last.generation is None
    if newest["jid"] == stopped:
        return True
    info = job.rest.info(str(newest["jid"]))
    return info is not None and info.launch.generation == last.generation


def _running(job: ClientJob) -> tuple[str, JobInfo]:
    job_id = job.running_id()
    if job_id is None:
        raise UserError(
            f"client {job.client}: found no job of it at {job.rest.url}, expected one that runs: set "
            f"flink.parallelism, and start it by 'tillstream resume {job.client}' or 'tillstream launch "
            f"{job.client}'"
        )
    info = job.rest.info(job_id)
    if info is None:
        raise UserError(
            f"client {job.client}: job {job_id} does not say what it is made of, expected one that this "
            f"release has launched: set flink.parallelism, and use 'tillstream upgrade {job.client}'"
        )
    return job_id, info


def _template(job: ClientJob, job_id: str, info: JobInfo, path: Path) -> Path:
    """Return the template of a job that runs: as it was kept, else built anew, if that gives the same."""
    for entry in reversed(job.history.entries()):
        if entry.job_id == job_id and entry.template is not None:
            kept = job.history.jar(entry.template)
            if kept.exists() and read_manifest(kept).digest == info.manifest.digest:
                return kept
    if read_manifest(built(job, path)).digest == info.manifest.digest:
        return path
    raise UserError(
        f"client {job.client}: found no template of job {job_id} in {job.history.folder}, and its config or "
        f"code has changed since, expected what runs: set flink.parallelism, and use 'tillstream upgrade "
        f"{job.client}'"
    )


def _undone(
    job: ClientJob, template: Path, info: JobInfo, taken: str, error: TillstreamError, *, timeout_s: float
) -> Done:
    """Start a job with its old parallelism again; what the new one has done until then is kept."""
    why = cause_of(str(error))
    before = info.launch.parallelism
    job.say(f"it does not start: {why}; starting it with parallelism {before} again")
    failed = job.running_id()
    place = taken
    if failed is not None:
        job.rest.cancel(failed, timeout_s)
        place = job.newest_checkpoint(failed) or taken
    try:
        started = job.start(
            template,
            "rescale",
            savepoint=place,
            parameters=scaled(info, before),
            deadline_s=timeout_s,
            reason=f"back to parallelism {before}: {why}",
        )
    except TillstreamError as failure:
        raise UnavailableError(
            f"client {job.client}: it does not start, neither anew ({why}) nor with parallelism {before}, as "
            f"before ({failure}). Nothing of it runs: 'tillstream rescale' again, or 'tillstream launch "
            f"{job.client}', goes on from {place}"
        ) from failure
    facts = {"parallelism": before, "before": before, "reason": why, **_facts(job, started, place)}
    return Done("went back", f"parallelism {before}: {why}", facts, is_good=False)


def _facts(job: ClientJob, started: Started, savepoint: str) -> dict[str, object]:
    return {"job_id": started.job_id, "url": job.page(started.job_id), "savepoint": savepoint}


def _hint(job: ClientJob, runs: int) -> str:
    """Say what later launches will do where the config asks for another parallelism than the job has."""
    asked = job.config.flink.parallelism
    if asked == runs:
        return ""
    return (
        f"; flink.parallelism is {asked}: set it to {runs}, or the next launch, resume or upgrade has {asked}"
    )
