"""Go back to a version of a client's job that ran before, and finish what a command that died has left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs.launching import new_generation
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.aftermath import horizons_of
from tillstream.runners.jobs.job import ClientJob, Started
from tillstream.runners.jobs.launches import Launched, launches, replaced_by, unfinished
from tillstream.runners.jobs.resuming import place_of

__all__ = ["generation_of", "go_back", "jar_of", "mend"]

_INTERRUPTED = "its command ended in its midst"


def go_back(
    job: ClientJob,
    to: Launched,
    savepoint: str | None,
    *,
    reason: str,
    timeout_s: float,
    undoes: int = 0,
) -> Started:
    """Cancel whatever runs of a client and start an earlier launch's template; raises as `ClientJob.start`.

    Args:
        job: the client's.
        to: the launch.
        savepoint: that it starts from.
        reason: for the history.
        timeout_s: how long ending and starting may take each, seconds.
        undoes: the first generation whose work is taken back; the savepoint is then what the one before it
            was stopped with.
    """
    for job_id in job.rest.running(job.client):
        job.say(f"cancelling job {job_id}")
        job.rest.cancel(job_id, timeout_s)
    all_ = launches(job.history.entries())
    generation = new_generation(max(each.generation for each in all_))
    template = jar_of(job, to)
    horizons: dict[str, Any] = {}
    if undoes:
        first = next((each for each in all_ if each.generation == undoes), None)
        config = read_manifest(template).model().at_launch(to.parameters(generation))
        horizons = {
            "since": {} if first is None else first.entry.horizons.get("since", {}),
            "until": msgspec.to_builtins(horizons_of(config)),
        }
    job.say(f"starting the version of {to.generation} from {savepoint}")
    return job.start(
        template,
        "rollback",
        savepoint=savepoint,
        parameters=to.parameters(generation, undoes),
        deadline_s=timeout_s,
        reason=reason,
        horizons=horizons,
    )


def mend(job: ClientJob, timeout_s: float, reason: str = _INTERRUPTED) -> str | None:
    """Finish what an upgrade or a roll-back has left, if its command died.

    The old job runs on where it was not stopped yet. Where it was, and nothing else runs, it is started again
    from the state that it left. A new version that runs stays: it is for an upgrade to watch or a roll-back
    to end.

    Args:
        job: the client's.
        timeout_s: as of `go_back`.
        reason: for the history.

    Returns:
        what was started, in words; None for nothing.

    Raises:
        UserError: if what it was started from, or took the place of, is not to be found.
        TillstreamError: as `ClientJob.start` does.
    """
    all_ = launches(job.history.entries())
    last = unfinished(all_)
    if last is None:
        return None
    running = job.running_id()
    if running is not None and generation_of(job, running) != last.generation:
        job.settle(running, timeout_s)
        running = job.running_id()
        if running is not None:
            job.note(last.entry, "failed", job_id=running, reason=reason, at="", actor="")
            return None
    if last.entry.action == "rollback":
        return _mend_rollback(job, all_, last, running=running, reason=reason, timeout_s=timeout_s)
    if running is not None:
        return None
    before = replaced_by(all_, last)
    savepoint = last.entry.savepoint or place_of(job).path
    # Without one in the history the new version was never started.
    undoes = last.generation if last.entry.savepoint else 0
    started = go_back(job, before, savepoint, reason=reason, undoes=undoes, timeout_s=timeout_s)
    job.note(last.entry, "rolled_back", reason=reason, at="", actor="")
    return f"{reason}; job {started.job_id} of the version before runs from {savepoint}"


def jar_of(job: ClientJob, launch: Launched) -> Path:
    """Return the template of a launch.

    Raises:
        UserError: if it is not there any more.
    """
    assert launch.entry.template is not None  # launches have one
    found = job.history.jar(launch.entry.template)
    if not found.is_file():
        raise UserError(
            f"{found}: found no such file, expected the template of launch {launch.generation} of "
            f"{job.client}: put it back, or build it from the sources of then and 'tillstream upgrade' to it"
        )
    return found


def generation_of(job: ClientJob, job_id: str) -> int:
    """Return the generation of a job that runs.

    Raises:
        UserError: if it is none of tillstream's.
    """
    info = job.rest.info(job_id)
    if info is None:
        raise UserError(f"job {job_id}: found none of tillstream's, or of an older release; end it by hand")
    return info.launch.generation


def _mend_rollback(
    job: ClientJob,
    all_: Sequence[Launched],
    last: Launched,
    *,
    running: str | None,
    reason: str,
    timeout_s: float,
) -> str:
    if running is None:
        running = go_back(
            job,
            last,
            last.entry.savepoint,
            reason=reason,
            undoes=last.entry.undoes,
            timeout_s=timeout_s,
        ).job_id
    else:
        job.note(last.entry, "done", job_id=running, at="", actor="")
    for each in all_:
        if each.generation == last.entry.undoes and each.entry.outcome == "started":
            job.note(each.entry, "rolled_back", reason=reason, at="", actor="")
    return f"{reason}; job {running} of the version before runs from {last.entry.savepoint}"
