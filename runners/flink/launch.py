"""Launch a client's job on a Flink cluster."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters, new_generation
from tillstream.configs.open_places import open_differences
from tillstream.pipelines.errors import NoAnswerError, UnavailableError, UserError
from tillstream.runners.flink.rest import ENDED, FlinkRest
from tillstream.runners.flink.template import ENTRY_CLASS, launchable, read_manifest
from tillstream.runners.jobs.history import History

__all__ = ["Launched", "launch", "parameters_of", "run_uploaded", "submit", "uploaded"]

_START_DEADLINE_S = 60.0
# How long a JobManager may take to answer again, and then to show the job that it was asked to run.
_LOST_DEADLINE_S = 60.0
_POLL_S = 0.5
# Source: Flink 1.19, Checkpoints.loadAndValidateCheckpoint.
_UNMAPPED = "Cannot map checkpoint/savepoint state for operator"
_LACKING = re.compile(r"(ClassNotFoundException|NoClassDefFoundError): org.apache.beam")


@dataclass(frozen=True)
class Launched:
    """Name a job that was launched.

    Attributes:
        job_id: Flink's id of it.
        url: its page in the Flink dashboard.
        generation: of this launch; see `launch`.
    """

    job_id: str
    url: str
    generation: int


def launch(
    config: ClientConfig,
    runner_jars: Path,
    *,
    savepoint: str | None = None,
    wait: bool = False,
    history: History | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Launched:
    """Build a client's job and run it.

    Args:
        config: the client's; `latest` as a start means now.
        runner_jars: folder of the Beam Flink runner's jars.
        savepoint: path of the savepoint or checkpoint to start from; without one it starts from nothing.
        wait: wait until a bounded job has ended.
        history: the client's audit log; by default that of `history_folder()`.
        progress: called with a line at each step.

    Raises:
        UserError: if a job of this client runs already, or lacks a stage whose state the savepoint holds.
        UnavailableError: if the cluster does not answer, or has no slots for it.
        JobFailedError: if the job fails.
    """
    from tillstream.runners.jobs.job import ClientJob

    job = ClientJob(config, progress, history)
    job.expect_none()
    bounded = config.source.files is not None
    # Beam takes seconds to import: not before it is sure to be needed.
    from tillstream.runners.flink.jar import write_jar

    progress(f"building the job of {config.client}")
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template.jar")
        write_jar(config, template, runner_jars, bounded=bounded)
        started = job.start(template, "launch", savepoint=savepoint, deadline_s=_START_DEADLINE_S)
    if wait and bounded:
        job.rest.wait(started.job_id, frozenset({"FINISHED"}), float("inf"))
    return Launched(started.job_id, job.page(started.job_id), started.generation)


def parameters_of(
    built: ClientConfig, launched: ClientConfig, generation: int | None = None
) -> LaunchParameters:
    """Return the parameters of a launch that happens now.

    Args:
        built: the config that a template was built of.
        launched: the config as the launch wants it; what shaped the template stays that of the build.
        generation: as of `launch`.
    """
    if launched.source.kafka is not None:
        kafka = launched.source.kafka.starting_at(dt.datetime.now(dt.timezone.utc))
        source = launched.source.model_copy(update={"kafka": kafka})
        launched = launched.model_copy(update={"source": source})
    if generation is None:
        generation = new_generation()
    overrides = open_differences(built.plain(), launched.plain())
    return LaunchParameters(generation, launched.flink.parallelism, overrides)


def submit(
    rest: FlinkRest,
    template: Path,
    parameters: LaunchParameters,
    *,
    savepoint: str | None = None,
    drops_state: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """Run a template on a cluster and return the job's id, without waiting for its tasks.

    Args:
        rest: of the cluster.
        template: as `jar.write_jar` writes it.
        parameters: of the launch.
        savepoint: path of the savepoint or checkpoint to start from.
        drops_state: let go the savepoint's state of stages that the job does not have.
        progress: called with a line at each step.

    Raises:
        UserError: if the job lacks a stage whose state the savepoint holds, or the file is no template.
        UnavailableError: if the cluster does not answer.
    """
    with uploaded(rest, template, parameters, progress) as jar_id:
        return run_uploaded(rest, jar_id, parameters, savepoint=savepoint, drops_state=drops_state)


@contextmanager
def uploaded(
    rest: FlinkRest,
    template: Path,
    parameters: LaunchParameters,
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Hold the jar of one launch on a cluster, for `run_uploaded`, and yield its id there; as `submit`."""
    with tempfile.TemporaryDirectory() as folder:
        jar = Path(folder, f"{read_manifest(template).client}.jar")
        launchable(template, jar, parameters)
        progress(f"submitting {jar.stat().st_size // 1024} KB to {rest.url}")
        jar_id = rest.upload(jar)
    try:
        yield jar_id
    finally:
        # One that is left lies about until the JobManager ends; a job that runs must not fail for it.
        with suppress(UnavailableError):
            rest.delete_jar(jar_id)


def run_uploaded(
    rest: FlinkRest,
    jar_id: str,
    parameters: LaunchParameters,
    *,
    savepoint: str | None = None,
    drops_state: bool = False,
) -> str:
    """Run the jar of `uploaded` and return the job's id, without waiting for its tasks; as `submit`."""
    try:
        return rest.run(
            jar_id,
            entry_class=ENTRY_CLASS,
            parallelism=parameters.parallelism,
            savepoint=savepoint,
            drops_state=drops_state,
        )
    except NoAnswerError as error:
        # Perhaps it runs: a second one must not be started beside it.
        found = _find(rest, parameters.generation)
        if found is None:
            raise NoAnswerError(
                f"{error}. Whether the job runs is not known: when the cluster answers, launch it again: it "
                "is found if it does"
            ) from error
        return found
    except UnavailableError as error:
        if _LACKING.search(str(error)):
            raise UserError(
                f"Flink at {rest.url}: found none of Beam's runner on its class path, expected its jars in "
                "lib/, as in tillstream's image, or a template that brings them: 'tillstream template build "
                "--fat'"
            ) from error
        if _UNMAPPED not in str(error):
            raise
        raise _unmapped(savepoint) from error


def _find(rest: FlinkRest, generation: int) -> str | None:
    """Return the id of the job of one launch as soon as the cluster shows it; None if it never does."""
    end_s = time.monotonic() + _LOST_DEADLINE_S
    while True:
        with suppress(UnavailableError):
            for job in rest.jobs():
                info = rest.info(job["jid"]) if job["state"] not in ENDED else None
                if info is not None and info.launch.generation == generation:
                    return str(job["jid"])
        if time.monotonic() > end_s:
            return None
        time.sleep(_POLL_S)


def _unmapped(savepoint: str | None) -> UserError:
    return UserError(
        f"savepoint {savepoint}: found state of a stage that the job no longer has, expected all "
        "of its stages: put back into the config what was removed. Where delivery.atomicity was set from "
        "transaction to row, see docs/transactions.md, 'Change over'"
    )
