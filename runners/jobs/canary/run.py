"""Run a canary: decide by what a new version writes whether it may take over from the running one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.launching import CanaryLaunch
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.canary.compare import Note, compare_entities, compare_letters
from tillstream.runners.jobs.canary.options import CanaryOptions, Tolerance
from tillstream.runners.jobs.canary.place import Place, Side, place_of
from tillstream.runners.jobs.canary.shadows import (
    INTERRUPTED,
    Shadow,
    ShadowFailedError,
    bounds_of_input,
    run_shadows,
    shadow_parameters,
)
from tillstream.runners.jobs.canary.verdict import CanaryVerdict, Difference
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.manifest import JobInfo

__all__ = ["run_canary"]


def run_canary(
    job: ClientJob,
    template: Path,
    options: CanaryOptions,
    *,
    drops_state: bool = False,
    stop: Event | None = None,
) -> CanaryVerdict:
    """Run a new version and the running one as shadows over the same changes, and compare what they write.

    Both start from one savepoint of the running job, read up to the same offsets, and write into files. The
    running job goes on untouched; all that the shadows leave is taken away before this returns.

    Args:
        job: the client's, with the config that is wanted.
        template: of the new version, as `jar.write_jar` writes it.
        options: how.
        drops_state: let go state of stages that the new version does not have.
        stop: set by a person who wants an end; the new version is then refused.

    Returns:
        The verdict; a version that fails, or is too slow, is one that must not be promoted.

    Raises:
        UserError: if no job of the client runs, its version cannot be had, or it reads no stream.
        UnavailableError: if the cluster or Kafka does not answer, or another command is at the client.
    """
    with job.exclusive("canary"):
        job_id = job.running_id()
        if job_id is None:
            raise UserError(
                f"client {job.client}: found no job at {job.rest.url}: a canary needs one to compare"
            )
        info = job.rest.info(job_id)
        if info is None:
            raise UserError(
                f"client {job.client}: job {job_id} does not say what it is: launch it by this release"
            )
        if info.manifest.bounded or job.config.source.kafka is None:
            raise UserError(f"client {job.client}: a job that ends has no canary: run it into another folder")
        tolerance = Tolerance.checked(options.tolerate, info.config(), job.config)
        # Without template and generation: it is no launch of the client's job.
        transforms = {name: each.transform for name, each in job.config.entities.items() if each.transform}
        entry = job.history.append(Entry("canary", "started", job_id=job_id, transforms=transforms))
        try:
            with place_of(job, options.folder) as place:
                canary = _Canary(job, job_id, info, place, tolerance, options, drops_state, stop or Event())
                verdict = canary.judge(template)
        except BaseException as error:
            reason = cause_of(str(error)) or "it was interrupted"
            job.note(entry, "failed", reason=reason, at="", actor="")
            raise
        outcome = "done" if verdict.promote else "refused"
        job.note(entry, outcome, reason=verdict.reason, at="", actor="")
        return verdict


@dataclass(frozen=True)
class _Canary:
    """Judge a template; `job` runs as `job_id`, which says `info` of itself."""

    job: ClientJob
    job_id: str
    info: JobInfo
    place: Place
    tolerance: Tolerance
    options: CanaryOptions
    drops_state: bool
    stop: Event

    def judge(self, template: Path) -> CanaryVerdict:
        """Run both versions, and compare."""
        running = self._running_template()
        savepoint = self.job.rest.savepoint(self.job_id, stop=False)
        self.place.remember(self.job_id, savepoint)
        try:
            self._gather()
            old, new = self._shadows(running, template)
            run_shadows(self.job, (old, new), savepoint, self.options.deadline_s, self.stop)
        except ShadowFailedError as error:
            return CanaryVerdict(promote=False, reason=str(error))
        if self.job.running_id() != self.job_id:
            return CanaryVerdict(promote=False, reason=f"job {self.job_id} has ended meanwhile")
        if new.source_changes < self.options.changes_min:
            return CanaryVerdict(
                promote=False,
                reason=f"found {new.source_changes} changes in {self.options.seconds:.0f} s, expected "
                f"{self.options.changes_min} or more: nothing was shown; give it longer by --canary-for",
            )
        return self._compare(old, new)

    def _running_template(self) -> Path:
        """Return the template of the running job: the one that was kept, else the same one built again."""
        for entry in reversed(self.job.history.entries()):
            if entry.generation == self.info.launch.generation and entry.template is not None:
                kept = self.job.history.jar(entry.template)
                if kept.exists():
                    return kept
        from tillstream.runners.flink.jar import write_jar
        from tillstream.runners.local.toolchain import ensure_jars

        self.job.say("builds the running version again: its template was not kept")
        built = self.place.old_template
        try:
            manifest = write_jar(self.info.manifest.model(), built, ensure_jars().flink_runner, bounded=False)
        except (TillstreamError, ValueError) as error:
            raise UserError(
                f"client {self.job.client}: the running version cannot be built: {error}"
            ) from error
        if manifest.digest != self.info.manifest.digest:
            raise UserError(
                f"client {self.job.client}: found no template of job {self.job_id} in "
                f"{self.job.history.folder}, and what is installed here builds another one: run the canary "
                "where the job was launched, or launch it anew first"
            )
        return built

    def _gather(self) -> None:
        seconds = self.options.seconds
        self.job.say(f"lets changes come in for {seconds:.0f} s")
        if self.stop.wait(seconds):
            raise ShadowFailedError(INTERRUPTED)

    def _shadows(self, running: Path, template: Path) -> tuple[Shadow, Shadow]:
        config = self.info.config()
        ends = dict(zip(("old", "new"), bounds_of_input(config, self.job.config), strict=True))
        wanted = self.job.parameters(template)

        def shadow(side: Side, jar: Path) -> Shadow:
            launch = CanaryLaunch(side, str(self.place.side(side)), ends[side])
            own = self.info.launch if side == "old" else wanted
            version = config if side == "old" else read_manifest(template).model().at_launch(wanted)
            parameters = shadow_parameters(own, version, launch)
            drops = self.drops_state and side == "new"
            return Shadow(self.job.rest, side, jar, parameters, drops_state=drops)

        return shadow("old", running), shadow("new", template)

    def _compare(self, old: Shadow, new: Shadow) -> CanaryVerdict:
        self.job.say("compares what they wrote")
        versions = _resolved(self.info.config()), _resolved(self.job.config)
        try:
            with _differences(self.options.diff_file) as note:
                entities = compare_entities(
                    (versions[0], old.folder), (versions[1], new.folder), self.tolerance, note
                )
            letters = compare_letters(old.folder, new.folder)
        except (ValueError, OSError) as error:
            return CanaryVerdict(promote=False, reason=f"what the versions wrote cannot be read: {error}")
        count = sum(each.differences for each in entities)
        count += sum(each.gained + each.lost for each in letters)
        promote = not count or self.options.expect_changes
        return CanaryVerdict(
            promote,
            _reason(count, sum(each.tolerated for each in entities), promote=promote),
            new.source_changes,
            {shadow.side: round(shadow.read_s or 0.0, 1) for shadow in (old, new)},
            entities,
            letters,
            count,
        )


def _resolved(config: ClientConfig) -> ClientConfig:
    """Return a config with the contracts that its transforms bring, where they can be imported here."""
    from tillstream.transforms.resolving import resolve

    try:
        return resolve(config)
    except (TillstreamError, ImportError):
        # The running version is carried by its template.
        return config


def _reason(count: int, tolerated: int, *, promote: bool) -> str:
    if not count:
        return f"no difference but {tolerated} that are meant" if tolerated else "no difference"
    what = f"{count} difference{'s' if count > 1 else ''}"
    if promote:
        return f"{what}, which were expected"
    return f"{what}: name what is meant by --tolerate, or take all of it by --expect-changes"


@contextmanager
def _differences(path: Path | None) -> Iterator[Note]:
    """Give what writes differences into a file, one JSON object a line; nowhere without a file."""
    if path is None:
        yield lambda _: None
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise UserError(
            f"--diff-file {path}: {error.strerror}: expected a file that can be written"
        ) from error
    with file:
        path.chmod(0o600)

        def note(difference: Difference) -> None:
            file.write(msgspec.json.encode(difference) + b"\n")

        yield note
