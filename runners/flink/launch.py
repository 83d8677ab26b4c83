"""Launch a client's job on a Flink cluster."""

from __future__ import annotations

import datetime as dt
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters, differences
from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.flink.template import ENTRY_CLASS, launchable, read_manifest
from tillstream.runners.stopping import stop_of

__all__ = ["Launched", "launch", "parameters_of", "submit"]

_RUNNING = frozenset({"RUNNING", "FINISHED"})
_START_DEADLINE_S = 60.0
# Source: Flink 1.19, Checkpoints.loadAndValidateCheckpoint.
_UNMAPPED = "Cannot map checkpoint/savepoint state for operator"


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
    generation: int | None = None,
    wait: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Launched:
    """Build a client's job and run it.

    Args:
        config: the client's; `latest` as a start means now.
        runner_jars: folder of the Beam Flink runner's jars.
        savepoint: path of the savepoint or checkpoint to start from.
        generation: of the launch, milliseconds since 1970 UTC. Only a restart from the newest checkpoint may
            keep that of the job which wrote it; the default is a new one, which is always right.
        wait: wait until a bounded job has ended.
        progress: called with a line at each step.

    Raises:
        UserError: if a job of this client runs already, or lacks a stage whose state the savepoint holds.
        UnavailableError: if the cluster does not answer.
        JobFailedError: if the job fails.
    """
    rest = FlinkRest(config.flink.rest_url)
    running = rest.running(config.client)
    if running:
        raise UserError(
            f"client {config.client} runs already as job {running[0]} at {rest.url}: one job per client; "
            f"cancel it first"
        )
    stopped = stop_of(rest, config.client)
    if stopped is not None:
        progress(stopped)
    bounded = config.source.files is not None
    # Beam takes seconds to import: not before it is sure to be needed.
    from tillstream.runners.flink.jar import write_jar

    progress(f"building the job of {config.client}")
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template.jar")
        write_jar(config, template, runner_jars, bounded=bounded)
        parameters = parameters_of(config, config, generation)
        job_id = submit(rest, template, parameters, savepoint=savepoint, progress=progress)
    rest.wait(job_id, _RUNNING, _START_DEADLINE_S)
    rest.wait_for_tasks(job_id, _START_DEADLINE_S)
    if wait and bounded:
        rest.wait(job_id, frozenset({"FINISHED"}), float("inf"))
    return Launched(job_id, f"{rest.url}/#/job/running/{job_id}", parameters.generation)


def parameters_of(
    built: ClientConfig, launched: ClientConfig, generation: int | None = None
) -> LaunchParameters:
    """Return the parameters of a launch that happens now.

    Args:
        built: the config that a template was built of.
        launched: the config as the launch wants it, of the same entities and sinks.
        generation: as of `launch`.
    """
    if launched.source.kafka is not None:
        kafka = launched.source.kafka.starting_at(dt.datetime.now(dt.timezone.utc))
        source = launched.source.model_copy(update={"kafka": kafka})
        launched = launched.model_copy(update={"source": source})
    if generation is None:
        generation = time.time_ns() // 1_000_000
    overrides = differences(built.plain(), launched.plain())
    return LaunchParameters(generation, launched.flink.parallelism, overrides)


def submit(
    rest: FlinkRest,
    template: Path,
    parameters: LaunchParameters,
    *,
    savepoint: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> str:
    """Run a template on a cluster and return the job's id, without waiting for its tasks.

    Args:
        rest: of the cluster.
        template: as `jar.write_jar` writes it.
        parameters: of the launch.
        savepoint: path of the savepoint or checkpoint to start from.
        progress: called with a line at each step.

    Raises:
        UserError: if the job lacks a stage whose state the savepoint holds, or the file is no template.
        UnavailableError: if the cluster does not answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = read_manifest(template).client
        jar = Path(folder, f"{client}.jar")
        launchable(template, jar, parameters)
        progress(f"submitting {jar.stat().st_size // 1024} KB to {rest.url}")
        jar_id = rest.upload(jar)
    try:
        return rest.run(
            jar_id, entry_class=ENTRY_CLASS, parallelism=parameters.parallelism, savepoint=savepoint
        )
    except UnavailableError as error:
        if _UNMAPPED not in str(error):
            raise
        raise _unmapped(client, savepoint) from error
    finally:
        rest.delete_jar(jar_id)


def _unmapped(client: str, savepoint: str | None) -> UserError:
    return UserError(
        f"savepoint {savepoint}: found state of a stage that the job of {client} no longer has, expected all "
        "of its stages: put back into the config what was removed. Where delivery.atomicity was set from "
        "transaction to row, see docs/transactions.md, 'Change over'"
    )
