"""Launch, pause, resume and cancel the job of one client; each does nothing where it is done already."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.launch import parameters_of
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob, Say
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.resuming import Place, beginning_of, last_job, last_stop, place_of
from tillstream.runners.jobs.selection import LOADING, Chosen

__all__ = ["From", "built", "cancel", "launch", "pause", "resume"]

# A change of these changes no job.
_IDLE = ("labels", "capture", "upgrade")


@dataclass(frozen=True)
class From:
    """Say what a launch starts from; by default from where the client's last job was.

    Attributes:
        template: jar to launch, in place of one that is built now.
        fresh: from nothing.
        savepoint: path of a savepoint or checkpoint.
        timeout_s: how long its tasks may take until all run, seconds.

    Raises:
        UserError: for both of `fresh` and `savepoint`.
    """

    template: Path | None = None
    fresh: bool = False
    savepoint: str | None = None
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if self.fresh and self.savepoint is not None:
            raise UserError("found --fresh beside --savepoint, expected one of them")


def launch(chosen: Chosen, say: Say, wanted: From) -> Done:
    """Launch a client's job.

    Raises:
        UserError: if another version of it runs, or nothing tells where to go on.
        TillstreamError: as `ClientJob.start` does.
    """
    from tillstream.runners.preflight import check_far_sides

    config = chosen.check() if wanted.template is None else chosen.load()
    job = ClientJob(config, say)
    with job.exclusive("launch"), tempfile.TemporaryDirectory() as folder:
        running = job.running_id()
        if running is None:
            check_far_sides(config)
        template = wanted.template or built(job, Path(folder, "template.jar"))
        manifest = read_manifest(template)
        if manifest.client != config.client:
            raise UserError(f"{template}: found a template of {manifest.client}, expected {config.client}'s")
        if running is not None:
            return _compared(job, running, manifest)
        place = _start_of(job, wanted)
        say(f"starting from {place.path or 'nothing'}: {place.why}")
        parameters = None if wanted.fresh or place.path else _parameters(job, manifest)
        started = job.start(
            template, "launch", savepoint=place.path, parameters=parameters, deadline_s=wanted.timeout_s
        )
    return _started(job, "launched", started.job_id, place.path)


def built(job: ClientJob, path: Path) -> Path:
    """Build the template of a client's job, as its config is now, and return its path.

    Args:
        job: the client's.
        path: file to write.
    """
    from tillstream.runners.local.toolchain import ensure_jars

    job.say("building the job")
    with LOADING:
        from tillstream.runners.flink.jar import write_jar

        bounded = job.config.source.files is not None
        write_jar(job.config, path, ensure_jars(job.say).flink_runner, bounded=bounded)
    return path


def _start_of(job: ClientJob, wanted: From) -> Place:
    if wanted.savepoint is not None:
        return Place(wanted.savepoint, "as it was asked for")
    return Place(None, "as it was asked for") if wanted.fresh else place_of(job)


def _parameters(job: ClientJob, manifest: Manifest) -> LaunchParameters:
    """Return the parameters of a launch in the place of a job that has left no state."""
    return parameters_of(manifest.model(), beginning_of(job))


def _compared(job: ClientJob, job_id: str, manifest: Manifest) -> Done:
    info = job.rest.info(job_id)
    if info is not None and _is_same(info, manifest, job):
        job.note_running(job_id)
        return _started(job, "runs already", job_id, None)
    raise UserError(
        f"client {job.client}: found job {job_id} at {job.rest.url}, other than would be launched, "
        f"expected none or the same: 'tillstream plan {job.client}' shows how, 'tillstream upgrade "
        f"{job.client}' makes it so"
    )


def _is_same(info: JobInfo, manifest: Manifest, job: ClientJob) -> bool:
    """Tell whether what runs is what would be launched; where a source starts matters to no job that runs."""
    wanted = manifest.model().at_launch(parameters_of(manifest.model(), job.config))
    return (
        _shaping(info.config().plain()) == _shaping(wanted.plain())
        and (info.manifest.transforms, info.manifest.encodings, info.manifest.libraries)
        == (manifest.transforms, manifest.encodings, manifest.libraries)
        and info.launch.parallelism == wanted.flink.parallelism
    )


def _shaping(config: dict[str, Any]) -> dict[str, Any]:
    kafka = config["source"].get("kafka")
    source = config["source"] if kafka is None else {"kafka": {**kafka, "start": None}}
    return {name: value for name, value in {**config, "source": source}.items() if name not in _IDLE}


def _started(job: ClientJob, outcome: str, job_id: str, savepoint: str | None) -> Done:
    facts = {"job_id": job_id, "url": job.page(job_id), "savepoint": savepoint}
    return Done(outcome, f"job {job_id}, see {job.page(job_id)}", facts)


def pause(chosen: Chosen, say: Say, timeout_s: float) -> Done:
    """End a client's job with all of its state and its position in a savepoint.

    A job that cannot take one, because it fails again and again, is cancelled: its newest checkpoint then
    has what a restart would have gone on from.

    Args:
        chosen: the client.
        say: takes a line for each step.
        timeout_s: how long the savepoint may take, seconds.

    Raises:
        UserError: if the client was never launched.
        UnavailableError: if the cluster does not answer.
    """
    job = ClientJob(chosen.load(), say)
    with job.exclusive("pause"):
        running = job.running_id()
        if running is None:
            return _paused_already(job)
        job.note_running(running)
        entry = Entry("pause", "started", job_id=running)
        job.history.append(entry)
        reason = None
        try:
            say(f"taking a savepoint of job {running}")
            taken: str | None = job.stop(running, deadline_s=timeout_s)
        except (JobFailedError, UnavailableError) as error:
            reason = f"no savepoint, hence cancelled: {cause_of(str(error))}"
            say(reason)
            taken = _cancelled(job, running, entry)
        job.note(entry, "done", taken=taken, reason=reason)
    return _kept("paused", taken, running)


def _cancelled(job: ClientJob, job_id: str, entry: Entry) -> str | None:
    """Cancel a job and return what it can go on from: its newest checkpoint, or where it was started from."""
    try:
        job.rest.cancel(job_id)
        return place_of(job).path
    except TillstreamError as error:
        job.note(entry, "failed", reason=cause_of(str(error)))
        raise


def _paused_already(job: ClientJob) -> Done:
    stop = last_stop(job.history.entries())
    if stop is not None and stop.action == "pause":
        return _kept("paused already", stop.taken, stop.job_id)
    last = last_job(job)
    if stop is None and last is None and not job.history.entries():
        raise UserError(f"client {job.client}: found no job of it at {job.rest.url}, expected one to pause")
    place = place_of(job)
    job_id = stop.job_id if stop is not None else last["jid"] if last is not None else None
    job.history.append(
        Entry("pause", "done", job_id=job_id, taken=place.path, reason=f"it did not run: {place.why}")
    )
    return _kept("paused", place.path, job_id)


def _kept(outcome: str, taken: str | None, job_id: str | None) -> Done:
    where = f"goes on from {taken}" if taken else "starts from nothing"
    return Done(outcome, where, {"job_id": job_id, "savepoint": taken})


def resume(chosen: Chosen, say: Say, timeout_s: float) -> Done:
    """Launch a paused client's job as it was, from exactly where its pause left it.

    It is the template that ran before; addresses, parallelism and bounds are those of the config now. Other
    changes of the config wait for an upgrade.

    Args:
        chosen: the client.
        say: takes a line for each step.
        timeout_s: how long its tasks may take until all run, seconds.

    Raises:
        UserError: if the client is not paused.
        TillstreamError: as `ClientJob.start` does.
    """
    job = ClientJob(chosen.load(), say)
    with job.exclusive("resume"):
        running = job.running_id()
        if running is not None:
            job.note_running(running)
            return _started(job, "runs already", running, None)
        entries = job.history.entries()
        stop = last_stop(entries)
        if stop is None or stop.action != "pause":
            raise UserError(
                f"client {job.client}: found no pause in {job.history.path}, expected one to resume from: "
                f"'tillstream launch {job.client}' goes on from its newest checkpoint"
            )
        template = _template_of(job, stop, entries)
        parameters = None if stop.taken else _parameters(job, read_manifest(template))
        started = job.start(
            template, "resume", savepoint=stop.taken, parameters=parameters, deadline_s=timeout_s
        )
    return _started(job, "resumed", started.job_id, stop.taken)


def _template_of(job: ClientJob, stop: Entry, entries: Sequence[Entry]) -> Path:
    for entry in reversed(entries):
        if entry.template is not None and entry.job_id == stop.job_id:
            if job.history.jar(entry.template).exists():
                return job.history.jar(entry.template)
            break
    raise UserError(
        f"client {job.client}: found no template of job {stop.job_id} in {job.history.folder}, expected that "
        f"which was launched: 'tillstream launch {job.client}' builds it anew, and goes on from the pause"
    )


def cancel(chosen: Chosen, say: Say, timeout_s: float, *, forget: bool) -> Done:
    """End a client's job at once; its newest checkpoint is kept for the next launch.

    Args:
        chosen: the client.
        say: takes a line for each step.
        timeout_s: how long it may take to end, seconds.
        forget: the next launch starts from nothing; files of checkpoints stay.

    Raises:
        UnavailableError: if the cluster does not answer, or the job does not end.
    """
    job = ClientJob(chosen.load(), say)
    with job.exclusive("cancel"):
        running = job.running_id()
        stop = last_stop(job.history.entries())
        if running is None and (not forget or (stop is not None and stop.forgotten)):
            return Done("does not run", facts={"job_id": None, "savepoint": stop and stop.taken})
        entry = Entry("cancel", "started", job_id=running)
        job.history.append(entry)
        if running is not None:
            try:
                job.rest.cancel(running, timeout_s)
            except TillstreamError as error:
                job.note(entry, "failed", reason=cause_of(str(error)))
                raise
        taken = None if forget else place_of(job).path
        job.note(entry, "done", taken=taken, forgotten=forget)
    if forget:
        return Done("cancelled", "starts from nothing next", {"job_id": running, "savepoint": None})
    return _kept("cancelled", taken, running)
