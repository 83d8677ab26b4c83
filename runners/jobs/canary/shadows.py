"""Run the old and the new version as shadows of a client's job, over the same part of its input."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.launching import CanaryLaunch, LaunchParameters, new_generation
from tillstream.io.sources.bounded import reached
from tillstream.pipelines.errors import TillstreamError, UnavailableError
from tillstream.runners.flink.launch import submit
from tillstream.runners.flink.rest import ENDED, FlinkRest
from tillstream.runners.jobs.canary.place import Side
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.job import ClientJob

if TYPE_CHECKING:
    from tillstream.io.sources.kafka import Partition

__all__ = [
    "INTERRUPTED",
    "Shadow",
    "ShadowFailedError",
    "bounds_of_input",
    "run_shadows",
    "shadow_parameters",
]

_CHECKPOINT_INTERVAL_MS_MAX = 1000
_POLL_S = 0.2
INTERRUPTED = "it was interrupted"


class ShadowFailedError(TillstreamError):
    """Say why a shadow did not come to its end."""


def bounds_of_input(*configs: ClientConfig) -> list[dict[str, tuple[int, ...]]]:
    """Return where the partitions end now that each of some versions reads: by topic, from partition 0 on.

    What several read ends at one offset for all.

    Raises:
        UnavailableError: if Kafka does not answer.
    """
    from tillstream.io.sources.choosing import partitions_of
    from tillstream.io.sources.kafka import KafkaReader

    ends: dict[Partition, int] = {}
    found = []
    for config in configs:
        reader = KafkaReader(config.kafka, config.client, f"{config.group_id}-canary")
        try:
            counts = reader.topics()
            if not counts:
                raise UnavailableError(f"Kafka at {config.kafka.bootstrap_servers} names no topics")
            until: dict[str, tuple[int, ...]] = {}
            for each in partitions_of(config, counts):
                if each not in ends:
                    ends[each] = reader.end_offset(each)
                until[each[0]] = (*until.get(each[0], ()), ends[each])
            found.append(until)
        finally:
            reader.close()
    return found


def shadow_parameters(
    parameters: LaunchParameters, config: ClientConfig, launch: CanaryLaunch
) -> LaunchParameters:
    """Return the parameters of a version's shadow.

    Args:
        parameters: of the version's own launch.
        config: as it has it.
        launch: what makes it a shadow.
    """
    own = {
        # Nothing is published in it; the client's own must not even be named.
        "/source/kafka/group_id": f"{config.group_id}-canary-{launch.side}",
        "/delivery/checkpoint_interval_ms": min(
            config.delivery.checkpoint_interval_ms, _CHECKPOINT_INTERVAL_MS_MAX
        ),
    }
    return msgspec.structs.replace(
        parameters,
        generation=new_generation(),
        overrides={**parameters.overrides, **own},
        canary=launch,
    )


class Shadow:
    """Be one version that runs as a shadow.

    Args:
        rest: of the cluster.
        side: which it is.
        template: of its job.
        parameters: of its launch.
        drops_state: let go state of stages that it does not have.
    """

    def __init__(
        self,
        rest: FlinkRest,
        side: Side,
        template: Path,
        parameters: LaunchParameters,
        *,
        drops_state: bool = False,
    ) -> None:
        assert parameters.canary is not None  # as `shadow_parameters` returns them
        self._rest = rest
        self.side: Side = side
        self._template = template
        self._drops_state = drops_state
        self.parameters = parameters
        self.folder = Path(parameters.canary.folder)
        self._partitions = sum(map(len, parameters.canary.until.values()))
        self._job_id = ""
        self._started_s = 0.0
        self._highest: int | None = None
        self._first: int | None = None
        self.read_s: float | None = None
        self.source_changes = 0

    def start(self, savepoint: str) -> None:
        """Start the job from a savepoint.

        Raises:
            ShadowFailedError: if the job cannot be started.
        """
        try:
            self._job_id = submit(
                self._rest,
                self._template,
                self.parameters,
                savepoint=savepoint,
                drops_state=self._drops_state,
            )
        except TillstreamError as error:
            raise self._failed(str(error)) from error
        self._started_s = time.monotonic()

    def is_done(self) -> bool:
        """Tell whether all of its input was read and what came of it was written.

        Raises:
            ShadowFailedError: if the job has failed, even if Flink would start it again.
        """
        state = self._rest.job(self._job_id)["state"]
        # A restarted job writes again what it wrote before: nothing could be told by it.
        trace = self._rest.root_cause(self._job_id)
        if trace or state in ENDED or state in {"FAILING", "RESTARTING"}:
            raise self._failed(cause_of(trace) or f"its job is {state}")
        if self.read_s is None and not self._is_read():
            return False
        return self._is_written()

    def stop(self) -> None:
        """End the job."""
        self._rest.cancel(self._job_id)

    def late(self, deadline_s: float) -> ShadowFailedError:
        """Return the error of a shadow that is not done in time."""
        done = len(reached(self.folder))
        return self._failed(
            f"it has read {done} of {self._partitions} partitions to their ends within {deadline_s:.0f} s: "
            "it is slower, or hangs; give it more by --canary-timeout"
        )

    def _is_read(self) -> bool:
        marks = reached(self.folder)
        if len(marks) < self._partitions:
            return False
        self.read_s = time.monotonic() - self._started_s
        self.source_changes = sum(until - first for first, until in marks.values())
        return True

    def _is_written(self) -> bool:
        """Tell whether two checkpoints have passed through all stages since the last message was read.

        The first gives what was read to the writers, which hold it until that checkpoint is complete; the
        second comes to them after they have written it.
        """
        checkpoints = self._rest.checkpoints(self._job_id)
        if self._highest is None:
            self._highest = max((int(each["id"]) for each in checkpoints["history"]), default=0)
            return False
        latest = (checkpoints.get("latest") or {}).get("completed") or {}
        completed = int(latest.get("id", 0))
        if self._first is None:
            if completed > self._highest:
                self._first = completed
            return False
        return completed > self._first

    def _failed(self, reason: str) -> ShadowFailedError:
        which = "the new version" if self.side == "new" else "the running version, started beside itself,"
        return ShadowFailedError(f"{which} failed in the canary: {reason}")


def run_shadows(
    job: ClientJob, shadows: Sequence[Shadow], savepoint: str, deadline_s: float, stop: Event
) -> None:
    """Run shadows side by side until all are done, or one after the other where slots do not suffice.

    Args:
        job: the client's.
        shadows: to run.
        savepoint: that all start from.
        deadline_s: for each run, seconds.
        stop: set by a person who wants an end.

    Raises:
        ShadowFailedError: if one fails, is not done in time, or is to end.
    """
    for group in _groups(job, shadows):
        for shadow in group:
            job.say(f"starts the {shadow.side} version as {shadow.parameters.job_name(job.client)}")
            shadow.start(savepoint)
        _wait(group, deadline_s, stop)
        for shadow in group:
            shadow.stop()


def _groups(job: ClientJob, shadows: Sequence[Shadow]) -> list[Sequence[Shadow]]:
    free = int(job.rest.overview()["slots-available"])
    needed = [shadow.parameters.parallelism for shadow in shadows]
    if free >= sum(needed):
        return [shadows]
    if free >= max(needed):
        job.say(
            f"found {free} free slots, {sum(needed)} would run both versions at once: one after the other"
        )
        return [[shadow] for shadow in shadows]
    raise ShadowFailedError(
        f"found {free} free slots at {job.rest.url}, expected {max(needed)}, better {sum(needed)}: "
        f"{max(needed) - free} are missing for one version at a time; add TaskManagers, or end other jobs"
    )


def _wait(shadows: Sequence[Shadow], deadline_s: float, stop: Event) -> None:
    end_s = time.monotonic() + deadline_s
    open_ = list(shadows)
    while open_:
        open_ = [shadow for shadow in open_ if not shadow.is_done()]
        if open_ and time.monotonic() > end_s:
            raise open_[0].late(deadline_s)
        if stop.wait(_POLL_S):
            raise ShadowFailedError(INTERRUPTED)
