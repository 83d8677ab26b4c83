"""Tell what a template would do to the job of a client that runs, or to the state that its last one left."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.flink.checkpoints import newest_beside, read_checkpoint
from tillstream.runners.flink.metadata import Metadata
from tillstream.runners.flink.template import ENTRY_CLASS, launchable, read_manifest
from tillstream.runners.jobs.compat import judge
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.planned import Change, Loss, Plan
from tillstream.runners.jobs.resuming import last_job, place_of

__all__ = ["Change", "Loss", "Plan", "noted", "plan_of", "stages_of"]

# Flink keeps a few checkpoints and deletes the others, and what it answers of them may be three seconds old
# (web.refresh-interval).
_READS_MAX = 5
# Beam's own name of a stage: [4]{TransformChanges, CollectDeadLetters}, or [2]JoinLookups/{Resolve, Both}.
_FUSED = re.compile(r"\[\d+\]([^{}]*)(?:\{([^,}]*).*\})?")


@dataclass(frozen=True)
class _Before:
    """Hold what there is of a client's job.

    Attributes:
        job_id: of the one that runs; None where none does.
        info: what it, or the last one, says of itself.
        stages: its stages' names, by id.
        path: of the state to go on from; None where there is none.
    """

    job_id: str | None = None
    info: JobInfo | None = None
    stages: dict[str, str] = field(default_factory=dict)
    path: str | None = None


def plan_of(job: ClientJob, template: Path, *, savepoint: str | None = None) -> Plan:
    """Return what would happen if a template took over from the job that runs, or were launched.

    Nothing is changed: the template is uploaded for the names of its stages, and deleted again.

    Args:
        job: the client's; its config says addresses and parallelism.
        template: as `jar.write_jar` writes it.
        savepoint: path of the state to go on from, in place of the newest.

    Raises:
        UserError: if several jobs of the client run, or the file is no template of its.
        UnavailableError: if the cluster does not answer.
    """
    manifest = read_manifest(template)
    try:
        before = _before(job, savepoint)
    except UserError as error:
        return Plan(job.client, "refused", (f"{error}",))
    if before.job_id is None and before.path is None:
        return Plan(job.client, "new")
    checkpoint, notes = _newest(before) if savepoint is None else _checkpoint(savepoint)
    parameters = job.parameters(template)
    plan = judge(
        manifest,
        stages_of(job, template, parameters),
        before.info,
        checkpoint,
        old_stages=before.stages,
        # Of a jar that was built elsewhere only the open places are as this config has them.
        config=manifest.model().at_launch(parameters).plain(),
        job_id=before.job_id,
    )
    return replace(plan, notes=(*plan.notes, *notes), checkpoint=plan.checkpoint or before.path)


def stages_of(job: ClientJob, template: Path, parameters: LaunchParameters) -> dict[str, str]:
    """Return the name of each stage that a launch of a template would run, by the id that its state has."""
    with tempfile.TemporaryDirectory() as folder:
        jar = Path(folder, f"{job.client}.jar")
        launchable(template, jar, parameters)
        jar_id = job.rest.upload(jar)
    try:
        return job.rest.stages(jar_id, entry_class=ENTRY_CLASS, parallelism=parameters.parallelism)
    finally:
        job.rest.delete_jar(jar_id)


def _before(job: ClientJob, savepoint: str | None) -> _Before:
    running = job.running_id()
    if running is not None:
        path = savepoint or job.newest_checkpoint(running)
        return _Before(running, _info(job, running), _vertices(job, running), path)
    path = savepoint or place_of(job).path
    last = last_job(job)
    if last is not None:
        return _Before(None, _info(job, last["jid"]), _vertices(job, last["jid"]), path)
    return _Before(None, noted(job.history), {}, path)


def _info(job: ClientJob, job_id: str) -> JobInfo | None:
    try:
        return job.rest.info(job_id)
    except ValueError:
        return None


def _vertices(job: ClientJob, job_id: str) -> dict[str, str]:
    """Return the names of a job's stages, also those that an older release made, by id."""
    found = {}
    for each in job.rest.job(job_id)["vertices"]:
        named = _FUSED.fullmatch(each["name"])
        found[str(each["id"])] = str(each["name"]) if named is None else "".join(filter(None, named.groups()))
    return found


def noted(history: History, where: str = "") -> JobInfo | None:
    """Return what a history says of the last launch at a place, where the cluster has forgotten it."""
    for entry in reversed(history.entries(where)):
        if entry.template is not None and entry.job_id is not None:
            try:
                manifest = read_manifest(history.jar(entry.template))
            except UserError:
                return None
            return JobInfo(
                manifest, LaunchParameters(entry.generation or 0, entry.parallelism or 1, entry.overrides)
            )
    return None


def _newest(before: _Before) -> tuple[Metadata | None, tuple[str, ...]]:
    """Read the newest checkpoint; the one that was the newest may be gone before it is read."""
    found, notes = _checkpoint(before.path)
    for _ in range(_READS_MAX):
        newest = None if before.job_id is None or before.path is None else newest_beside(before.path)
        if found is not None or newest is None:
            break
        found, notes = _checkpoint(newest)
    return found, notes


def _checkpoint(path: str | None) -> tuple[Metadata | None, tuple[str, ...]]:
    if path is None:
        return None, ()
    try:
        return read_checkpoint(path), ()
    except TillstreamError as error:
        return None, (str(error),)
