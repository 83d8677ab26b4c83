"""Put a new version in the place of a client's running job, watch it, and keep it or go back by itself.

All that can fail is tried before the old job is stopped: building, planning, the far sides, the upload. The
history says what is under way before it happens, so whoever comes after a command that died can finish it
(`going_back.mend`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from tillstream.configs.launching import LaunchParameters
from tillstream.configs.upgrade import Upgrade
from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.launch import run_uploaded, uploaded
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.flink.template import ENTRY_CLASS, read_manifest
from tillstream.runners.jobs.aftermath import horizons_of
from tillstream.runners.jobs.canary.options import CanaryOptions
from tillstream.runners.jobs.canary.report import lines_of
from tillstream.runners.jobs.canary.run import run_canary
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.commands import built
from tillstream.runners.jobs.going_back import go_back, jar_of, mend
from tillstream.runners.jobs.health import UNCOUNTED, Counts, observe
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob, Say
from tillstream.runners.jobs.launches import Launched, launches, replaced_by, unfinished
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.rolling_back import leftovers_of
from tillstream.runners.jobs.selection import Chosen
from tillstream.runners.jobs.watching import await_running, lag_of, watch

__all__ = ["Wanted", "upgrade"]

# Between checkpoints, how many may pass before one is missed.
_INTERVALS = 5
# How long Flink may take to show metrics of a job that has just been started, seconds.
_COUNTED_S = 30.0
_COUNTED_POLL_S = 0.5


@dataclass(frozen=True)
class Wanted:
    """Say how to upgrade.

    Attributes:
        template: jar to launch, in place of one that is built now.
        watch_s: how long the new version is watched, seconds; None for what the config says.
        timeout_s: how long the savepoint may take, and the tasks until all run, seconds.
        accepts_loss: also where the plan leaves some state behind.
        canary: how the new version is tried first; None for not at all.
        wait_s: how long to wait, after going back, until it can be told what is left, seconds.
        agrees: asked when the plan is known, and nothing was touched.
    """

    template: Path | None = None
    watch_s: float | None = None
    timeout_s: float = 120.0
    accepts_loss: bool = False
    canary: CanaryOptions | None = None
    wait_s: float = 60.0
    agrees: Callable[[str], bool] = field(default=lambda _: True, compare=False)


def upgrade(chosen: Chosen, say: Say, wanted: Wanted, stop: Event) -> Done:
    """Upgrade a client's job.

    Args:
        chosen: the client.
        say: takes a line for each step.
        wanted: how.
        stop: set by a person who wants an end: the version before then runs again.

    Raises:
        UserError: if no job runs, or nothing would lead back to it.
        UnavailableError: if a far side or the cluster does not answer; the old job then runs on.
        TillstreamError: if it cannot go back either; `tillstream rollback` then does.
    """
    from tillstream.runners.preflight import check_far_sides

    config = chosen.check() if wanted.template is None else chosen.load()
    job = ClientJob(config, say)
    if stop.is_set():
        return Done("not begun", "it was interrupted", is_good=False)
    with job.exclusive("upgrade"), tempfile.TemporaryDirectory() as folder:
        mended = mend(job, wanted.timeout_s)
        if mended is not None:
            say(mended)
        template = wanted.template or built(job, Path(folder, "template.jar"))
        if read_manifest(template).client != config.client:
            raise UserError(f"{template}: found a template of another client, expected {config.client}'s")
        check_far_sides(config)
        return _Upgrade(job, template, wanted, stop).run()


def _limits(job: ClientJob) -> Upgrade:
    """Return the limits of the config, with room for checkpoints that are meant to be rare."""
    limits = job.config.upgrade
    least_s = _INTERVALS * job.config.delivery.checkpoint_interval_ms // 1000
    return limits.model_copy(update={"checkpoint_age_s_max": max(limits.checkpoint_age_s_max, least_s)})


@dataclass(frozen=True)
class _Step:
    """Hold what leads from the job that runs to the new one."""

    running: str
    old: Launched
    before: Counts
    jar_id: str
    parameters: LaunchParameters
    drops_state: bool


class _Upgrade:
    def __init__(self, job: ClientJob, template: Path, wanted: Wanted, stop: Event) -> None:
        self.job = job
        self.template = template
        self.wanted = wanted
        self.stop = stop
        self.limits = _limits(job)
        self.watch_s = self.limits.watch_s if wanted.watch_s is None else wanted.watch_s
        self.gap_s: float | None = None
        self.tried: dict[str, Any] = {}

    def run(self) -> Done:
        from tillstream.runners.jobs.plan import plan_of

        job = self.job
        running = job.running_id()
        if running is None:
            raise UserError(
                f"client {job.client}: found no job of it at {job.rest.url}, expected one to upgrade: "
                f"'tillstream launch {job.client}'"
            )
        plan = plan_of(job, self.template)
        for line in plan.lines():
            job.say(line)
        if plan.verdict == "no_change":
            return self._unchanged(running)
        why_not = plan.why_not(accepts_loss=self.wanted.accepts_loss)
        if why_not is not None:
            return Done("refused", why_not, {"job_id": running}, is_good=False)
        old = self._way_back(running)
        if not self.wanted.agrees(f"upgrade {job.client}?"):
            return Done("not begun", "nobody agreed to it", {"job_id": running}, is_good=False)
        if self.wanted.canary is not None:
            verdict = run_canary(
                job, self.template, self.wanted.canary, drops_state=plan.drops_state, stop=self.stop
            )
            self.tried = {"canary": msgspec.to_builtins(verdict)}
            for line in lines_of(verdict):
                job.say(line)
            if not verdict.promote:
                return Done("refused", verdict.reason, {"job_id": running, **self.tried}, is_good=False)
        before = self._counted(running)
        parameters = job.parameters(self.template)
        job.expect_slots(parameters.parallelism, freed=old.entry.parallelism or 1)
        with uploaded(job.rest, self.template, parameters, job.say) as jar_id:
            # What Flink cannot make a job of is found here.
            job.rest.stages(jar_id, entry_class=ENTRY_CLASS, parallelism=parameters.parallelism)
            if self.stop.is_set():
                return Done("not begun", "it was interrupted", {"job_id": running}, is_good=False)
            # Whatever its own command saw of it: from here on it is what leads back.
            job.note_running(running)
            noted = job.entry("upgrade", self.template, parameters, replaces=old.generation)
            entry = job.history.append(noted)
            step = _Step(running, old, before, jar_id, parameters, plan.drops_state)
            return self._switch(step, entry)

    def _unchanged(self, running: str) -> Done:
        """Finish an upgrade whose command died while it watched; what runs is what is wanted."""
        job = self.job
        all_ = launches(job.history.entries())
        last = unfinished(all_)
        info = job.rest.info(running)
        if last is None or info is None or info.launch.generation != last.generation:
            return Done("runs already", f"job {running}", {"job_id": running})
        job.say("an upgrade to this was never watched to its end")
        return self._judged(running, replaced_by(all_, last), None, last.entry)

    def _way_back(self, running: str) -> Launched:
        """Return the launch that runs, with its template in the history."""
        job = self.job
        info = job.rest.info(running)
        if info is None:
            raise UserError(
                f"job {running}: found no manifest in it, expected one of tillstream: stop it, launch it anew"
            )
        known = [
            each for each in launches(job.history.entries()) if each.generation == info.launch.generation
        ]
        if known:
            jar_of(job, known[0])
            return known[0]
        raise UserError(
            f"client {job.client}: found no launch {info.launch.generation} in {job.history.path}, expected "
            "it to lead back to what runs: upgrade with the TILLSTREAM_HISTORY that it was launched with"
        )

    def _counted(self, running: str) -> Counts:
        """Return what the old job has counted, by which the new one is judged.

        Raises:
            UnavailableError: if Flink shows none.
        """
        end_s = time.monotonic() + _COUNTED_S
        while True:
            health = observe(self.job.rest, running)
            if health.is_counted:
                return health.counts
            if time.monotonic() > end_s or self.stop.wait(_COUNTED_POLL_S):
                raise UnavailableError(f"job {running} of {self.job.client}: {UNCOUNTED}")

    def _switch(self, step: _Step, entry: Entry) -> Done:
        job = self.job
        job.say(f"stopping job {step.running} with a savepoint")
        begun_s = time.monotonic()
        try:
            savepoint = job.stop(step.running, deadline_s=self.wanted.timeout_s)
        except (JobFailedError, UnavailableError) as error:
            reason = f"no savepoint: {cause_of(str(error))}"
            mended = mend(job, self.wanted.timeout_s, reason)
            facts = {"job_id": job.running_id()}
            way = (
                f"'tillstream pause {job.client}', then 'tillstream launch', go on from its newest checkpoint"
            )
            said = f"{reason}; the old job runs on. If it fails again and again: {way}"
            return Done("failed", mended or said, facts, is_good=False)
        job_id = None
        try:
            # Nothing of the client writes now: what is written from here on is the new version's.
            since = {"since": msgspec.to_builtins(horizons_of(job.config))}
            entry = job.note(
                entry, "started", savepoint=savepoint, taken=savepoint, horizons=since, at="", actor=""
            )
            job.say(f"starting the new version from {savepoint}")
            job_id = run_uploaded(
                job.rest, step.jar_id, step.parameters, savepoint=savepoint, drops_state=step.drops_state
            )
            await_running(job.rest, job_id, self.limits, self.wanted.timeout_s, self.stop)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (nobody is left without a job)
            return self._back(step.old, msgspec.structs.replace(entry, savepoint=savepoint), error, job_id)
        self.gap_s = round(time.monotonic() - begun_s, 1)
        job.say(f"job {job_id} runs, {self.gap_s} s after the old one was asked to stop")
        return self._judged(job_id, step.old, step.before, entry)

    def _judged(self, job_id: str, old: Launched, before: Counts | None, entry: Entry) -> Done:
        job = self.job
        job.say(f"watching it for {self.watch_s:.0f} s")
        try:
            with ExitStack() as things:
                lag = things.enter_context(lag_of(job.config))
                looks = watch(
                    job.rest,
                    job_id,
                    self.limits,
                    before=before,
                    lag=lag,
                    watch_s=self.watch_s,
                    stop=self.stop,
                    say=job.say,
                )
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (nobody is left with a bad version)
            return self._back(old, entry, error, job_id)
        job.note(entry, "done", job_id=job_id, at="", actor="")
        facts = self._facts(job_id, entry)
        facts |= {"before": None if before is None else before._asdict()}
        facts |= {"after": looks[-1].health.counts._asdict(), "lag": looks[-1].lag}
        return Done("upgraded", f"job {job_id}, see {job.page(job_id)}", facts)

    def _back(self, old: Launched, entry: Entry, error: BaseException, job_id: str | None) -> Done:
        """Run the version before again, from the very state that it left."""
        job = self.job
        reason = cause_of(str(error)) or "it was interrupted"
        job.say(f"going back: {reason}")
        try:
            started = go_back(
                job,
                old,
                entry.savepoint,
                reason=reason,
                undoes=entry.generation or 0,
                timeout_s=self.wanted.timeout_s,
            )
        except TillstreamError as failure:
            raise UnavailableError(
                f"client {job.client}: the new version does badly ({reason}), and the one before did not "
                f"start: {failure}; 'tillstream rollback {job.client}' tries again"
            ) from failure
        job.note(entry, "rolled_back", job_id=job_id, reason=reason, at="", actor="")
        facts = {**self._facts(started.job_id, entry), "reason": reason}
        facts |= leftovers_of(job, self.wanted.wait_s)
        return Done(
            "rolled back", f"{reason}; job {started.job_id} is the version before", facts, is_good=False
        )

    def _facts(self, job_id: str, entry: Entry) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "generation": entry.generation,
            "savepoint": entry.savepoint,
            "template": entry.template,
            "gap_s": self.gap_s,
            **self.tried,
        }
