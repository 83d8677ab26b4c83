"""Run an earlier version of a client's job again, from the very state that it was left in, or from today's.

The template is the one that ran: it is kept beside the history, by its digest. From the state that it was
left in, it reads all events since then again, and writes their rows again by key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.places import local_path
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.going_back import generation_of, go_back, jar_of, mend
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob, Say
from tillstream.runners.jobs.launches import (
    Goal,
    Launched,
    goal_of,
    launches,
    same,
    standing,
    unfinished,
)
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.selection import Chosen

__all__ = ["STEPS_MAX", "Back", "is_gone", "leftovers_of", "rollback", "ways_back"]

# Numbers up to here count launches back; greater ones are generations.
STEPS_MAX = 10_000


@dataclass(frozen=True)
class Back:
    """Say how to roll back.

    Attributes:
        to: how many launches back, or a generation; None for the last other version that has held, once.
        keeps_state: go on from the state of the job that runs, not from the one that the version was left in.
        accepts_loss: also where that leaves some state behind.
        timeout_s: how long a savepoint may take, and the tasks until all run, seconds.
        wait_s: how long to wait until it has read again what there was, to tell what is left, seconds.
        agrees: asked when it is known where to, and nothing was touched.
    """

    to: int | None = None
    keeps_state: bool = False
    accepts_loss: bool = False
    timeout_s: float = 120.0
    wait_s: float = 60.0
    agrees: Callable[[str], bool] = field(default=lambda _: True, compare=False)


def rollback(chosen: Chosen, say: Say, wanted: Back) -> Done:
    """Go back to an earlier launch of a client's job; what was gone back to already is left alone.

    Raises:
        UserError: if there is no such launch, its template or its state is gone, or another plan refuses.
        TillstreamError: as `ClientJob.start` does; what ran before then runs again.
    """
    job = ClientJob(chosen.load(), say)
    with job.exclusive("rollback"):
        cut_short = unfinished(launches(job.history.entries()))
        mended = mend(job, wanted.timeout_s)
        all_ = launches(job.history.entries())
        running = job.running_id()
        current = _current(job, running, all_)
        if mended is not None and wanted.to is None and _led_back(cut_short, all_, current):
            return Done("rolled back", mended, {"job_id": running})
        generation = _generation(wanted.to, all_, current)
        back = _back_already(job, running, all_, current, wanted)
        if back is not None:
            return back
        goal = goal_of(all_, current.generation, generation)
        template = jar_of(job, goal.launch)
        savepoint = None if wanted.keeps_state else _state_of(goal)
        if wanted.keeps_state:
            _check_plan(job, goal, template, running, accepts_loss=wanted.accepts_loss)
        say(f"rolling back to {goal.launch.line()}{'' if running else '; nothing of it runs: it is started'}")
        if not wanted.agrees(f"roll back {job.client}?"):
            return Done("not begun", "nobody agreed to it", {"job_id": running}, is_good=False)
        reason = f"of {current.generation} to {goal.launch.generation}"
        taken = _stopped(job, running, wanted, reason)
        if savepoint is None:
            savepoint = taken
        takes_back = not wanted.keeps_state and _was_stopped_with(job, savepoint)
        undoes = goal.undone[0].generation if takes_back else 0
        try:
            started = go_back(
                job, goal.launch, savepoint, reason=reason, undoes=undoes, timeout_s=wanted.timeout_s
            )
        except TillstreamError as error:
            _forward(job, current, taken, error, wanted.timeout_s)
            raise
        facts = {
            "job_id": started.job_id,
            "generation": started.generation,
            "savepoint": savepoint,
            "taken": taken,
            "template": started.template,
            "undone": [each.generation for each in goal.undone],
        }
        if undoes and wanted.wait_s:
            facts |= leftovers_of(job, wanted.wait_s)
    return Done("rolled back", f"job {started.job_id}, see {job.page(started.job_id)}", facts)


def leftovers_of(job: ClientJob, wait_s: float) -> dict[str, Any]:
    """Say and return what the last roll-back has left of the version that it took back.

    Args:
        job: the client's.
        wait_s: how long it may still take to read again what there was, seconds.

    Raises:
        UserError: if there was no roll-back.
    """
    from tillstream.runners.jobs.aftermath import look_after

    all_ = launches(job.history.entries())
    last = next((each for each in reversed(all_) if each.entry.action == "rollback"), None)
    undone = next((each for each in all_ if last is not None and each.generation == last.entry.undoes), None)
    if last is None or undone is None:
        raise UserError(
            f"client {job.client}: found no roll-back in {job.history.path} that took a version back to the "
            "state before it, expected one"
        )
    config = read_manifest(jar_of(job, last)).model().at_launch(last.parameters(last.generation))
    return look_after(job, config, last.entry, (undone.begun_at, last.begun_at), wait_s)


def ways_back(job: ClientJob) -> list[Launched]:
    """Return the launches before the one that runs, or ran last, newest first: what `Back.to` counts."""
    all_ = launches(job.history.entries())
    if not all_:
        return []
    return _before(all_, _current(job, job.running_id(), all_))


def _current(job: ClientJob, running: str | None, all_: Sequence[Launched]) -> Launched:
    """Return the launch that runs, or that ran last where none does."""
    generation = None if running is None else generation_of(job, running)
    for each in reversed(all_):
        if generation is None and each.entry.outcome == "done":
            return each
        if generation is not None and each.generation == generation:
            return each
    raise UserError(
        f"client {job.client}: found {'no launch' if generation is None else f'no launch {generation}'} in "
        f"{job.history.path}, expected that of the job to roll back: was it launched with another "
        "TILLSTREAM_HISTORY?"
    )


def _before(all_: Sequence[Launched], current: Launched) -> list[Launched]:
    done = [each for each in all_ if each.generation < current.generation and each.entry.outcome == "done"]
    return done[::-1]


def _generation(to: int | None, all_: Sequence[Launched], current: Launched) -> int | None:
    if to is None or to > STEPS_MAX:
        return to
    before = _before(all_, current)
    if not before:
        raise UserError(
            f"--to: found {to}, and no launch before {current.generation}, which runs or ran last"
        )
    if not 1 <= to <= len(before):
        raise UserError(f"--to: found {to}, expected 1 to {len(before)}, or a generation; see --list")
    return before[to - 1].generation


def _led_back(cut_short: Launched | None, all_: Sequence[Launched], current: Launched) -> bool:
    """Tell whether finishing what a command has left has led back.

    It has not where that was the way forward again of a roll-back that had failed.
    """
    if cut_short is not None and (cut_short.entry.action == "upgrade" or cut_short.entry.undoes):
        return True
    return standing(all_, current)[0].entry.action == "rollback"


def _back_already(
    job: ClientJob, running: str | None, all_: Sequence[Launched], current: Launched, wanted: Back
) -> Done | None:
    """Return what is to be said where a roll-back has led to what is wanted; None where it has not."""
    came_by = standing(all_, current)
    backs = [each for each in came_by if each.entry.action == "rollback"]
    if wanted.to is None:
        is_back = came_by[0] in backs
    elif wanted.to <= STEPS_MAX:
        is_back = False  # counted from what runs
    elif running is None:
        is_back = False
    elif wanted.to == current.generation:
        is_back = True
    else:
        goal = goal_of(all_, current.generation, wanted.to)
        is_back = any(
            same(each, goal.launch) and (wanted.keeps_state or each.entry.savepoint == goal.savepoint)
            for each in backs
        )
    if not is_back:
        return None
    if running is None:
        raise UserError(
            f"client {job.client}: found no job of it, and that it was rolled back already, expected --to: "
            f"'tillstream launch {job.client}' goes on, --to goes further back, see --list"
        )
    detail = f"job {running} is of {current.line()}; --to goes further back, see --list"
    return Done("rolled back already", detail, {"job_id": running, "generation": current.generation})


def _state_of(goal: Goal) -> str:
    if goal.savepoint is None:
        raise UserError(
            f"launch {goal.launch.generation}: found no savepoint that it was left in, expected one: "
            "--keep-state goes on from the state of the job that runs"
        )
    if is_gone(goal.savepoint):
        raise UserError(
            f"{goal.savepoint}: found no such savepoint, expected the state that launch "
            f"{goal.launch.generation} was left in: --keep-state goes on from that of the job that runs"
        )
    return goal.savepoint


def _was_stopped_with(job: ClientJob, savepoint: str | None) -> bool:
    """Tell whether a job was ended with this savepoint, so that it has written nothing from behind it."""
    return savepoint is not None and any(
        # A pause that cannot take a savepoint cancels, and leaves a checkpoint.
        entry.taken == savepoint and "/savepoint-" in savepoint and entry.action != "cancel"
        for entry in job.history.entries()
    )


def is_gone(savepoint: str) -> bool:
    """Tell whether a savepoint is surely not there any more; of those on other machines nobody knows."""
    place = local_path(savepoint)
    return place is not None and not place.exists()


def _check_plan(
    job: ClientJob, goal: Goal, template: Path, running: str | None, *, accepts_loss: bool
) -> None:
    from tillstream.runners.jobs.plan import plan_of

    if running is None:
        raise UserError(
            f"--keep-state: found no job of {job.client} that runs, expected one to keep the state of"
        )
    config = read_manifest(template).model().at_launch(goal.launch.parameters(goal.launch.generation))
    plan = plan_of(ClientJob(config, job.say, job.history), template)
    if plan.verdict == "refused" or (plan.verdict == "restore_without" and not accepts_loss):
        way = "" if plan.verdict == "refused" else "; --accept-loss does it all the same"
        raise UserError("\n".join(plan.lines()) + way)


def _stopped(job: ClientJob, running: str | None, wanted: Back, reason: str) -> str | None:
    """End what runs, with a savepoint if it can take one: the way forward again, kept in the history."""
    if running is None:
        return None
    entry = job.history.append(Entry("rollback", "started", job_id=running, reason=reason))
    job.say(f"stopping job {running} with a savepoint")
    try:
        taken = job.stop(running, deadline_s=wanted.timeout_s)
    except (JobFailedError, UnavailableError) as error:
        if wanted.keeps_state:
            job.note(entry, "failed", reason=cause_of(str(error)), at="", actor="")
            raise
        job.say(f"no savepoint, hence cancelled: {cause_of(str(error))}")
        job.rest.cancel(running, wanted.timeout_s)
        return job.newest_checkpoint(running)
    job.note(entry, "started", taken=taken, at="", actor="")
    return taken


def _forward(
    job: ClientJob, current: Launched, taken: str | None, error: TillstreamError, timeout_s: float
) -> None:
    """Start again what ran before a roll-back that failed."""
    if taken is None:
        return
    job.say(f"cannot roll back: {cause_of(str(error))}")
    go_back(job, current, taken, reason=f"could not roll back: {cause_of(str(error))}", timeout_s=timeout_s)
