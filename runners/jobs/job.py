"""Start and stop the job of one client, and remember it: what every command on jobs is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import TillstreamError, UnavailableError, UserError
from tillstream.runners.flink.launch import parameters_of, submit
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.stopping import stop_of

__all__ = ["ClientJob", "Say", "Started"]

Say = Callable[[str], None]

_RUNNING = frozenset({"RUNNING", "FINISHED"})
# Those of a job that was just ended become free a moment later, and a TaskManager may be starting.
_SLOTS_DEADLINE_S = 15.0
_POLL_S = 0.2


@dataclass(frozen=True)
class Started:
    """Name a job that was started.

    Attributes:
        job_id: Flink's id of it.
        generation: of its launch, milliseconds since 1970 UTC.
        template: digest of its template in the history.
    """

    job_id: str
    generation: int
    template: str


class ClientJob:
    """Be the job of one client on its cluster; it has one or none.

    Args:
        config: the client's, as it is wanted.
        say: takes a line for each step.
        history: the client's audit log; by default that of `history_folder()`.
    """

    def __init__(
        self, config: ClientConfig, say: Say = lambda _: None, history: History | None = None
    ) -> None:
        self.config = config
        self.client = config.client
        self.say = say
        self.rest = FlinkRest(config.flink.rest_url)
        self.history = History(self.client) if history is None else history

    def exclusive(self, what: str) -> AbstractContextManager[None]:
        """Keep other commands away from this client for a while; see `History.exclusive`."""
        return self.history.exclusive(what)

    def page(self, job_id: str) -> str:
        """Return the address of a job's page in the Flink dashboard."""
        return f"{self.rest.url}/#/job/running/{job_id}"

    def running_id(self) -> str | None:
        """Return the id of the client's job, None where none runs.

        Raises:
            UserError: if several do.
        """
        found = self.rest.running(self.client)
        if len(found) > 1:
            raise UserError(
                f"client {self.client}: found {len(found)} jobs at {self.rest.url} ({', '.join(found)}), "
                "expected one: cancel the others in the dashboard"
            )
        return found[0] if found else None

    def expect_none(self) -> None:
        """See that no job of the client runs, and tell why the last one has stopped itself, if it has.

        Raises:
            UserError: if one runs.
        """
        running = self.running_id()
        if running is not None:
            raise UserError(
                f"client {self.client} runs already as job {running} at {self.rest.url}: one job per client; "
                "change it by 'tillstream upgrade', or end it by 'tillstream cancel'"
            )
        stopped = stop_of(self.rest, self.client)
        if stopped is not None:
            self.say(stopped)

    def info(self) -> JobInfo | None:
        """Return what the running job says of itself; None without a job, or where it says nothing."""
        job_id = self.running_id()
        return None if job_id is None else self.rest.info(job_id)

    def newest_checkpoint(self, job_id: str) -> str | None:
        """Return the path of the newest that a job can be restored from: checkpoint or savepoint."""
        latest = self.rest.checkpoints(job_id).get("latest") or {}
        found = [each for each in (latest.get("completed"), latest.get("savepoint")) if each]
        newest = max(found, key=lambda each: int(each["latest_ack_timestamp"]), default=None)
        return None if newest is None else str(newest["external_path"])

    def start(
        self,
        template: Path,
        action: str,
        *,
        savepoint: str | None = None,
        drops_state: bool = False,
        parameters: LaunchParameters | None = None,
        deadline_s: float = 60.0,
        **noted: Any,
    ) -> Started:
        """Run a template as the client's job, with this config's addresses and parallelism, and remember it.

        Args:
            template: as `jar.write_jar` writes it, of a config with the same entities and sinks.
            action: what this is in the history.
            savepoint: path of the savepoint or checkpoint to start from.
            drops_state: let go its state of stages that the job does not have.
            parameters: of the launch, where they are not those that this config asks for.
            deadline_s: how long its tasks may take until all run, seconds.
            noted: further attributes of the entries.

        Raises:
            UserError: if a job of this client runs already, or lacks a stage whose state the savepoint holds.
            JobFailedError: if the job fails, or not all tasks run in time.
            UnavailableError: if the cluster does not answer or lacks slots, or another command is at it.
        """
        with self.exclusive(action):
            self.expect_none()
            parameters = parameters or self.parameters(template)
            entry = self.entry(action, template, parameters, savepoint=savepoint, **noted)
            self.history.append(entry)
            return self._run(template, entry, parameters, drops_state=drops_state, deadline_s=deadline_s)

    def _run(
        self,
        template: Path,
        entry: Entry,
        parameters: LaunchParameters,
        *,
        drops_state: bool,
        deadline_s: float,
    ) -> Started:
        job_id = None
        try:
            self.expect_slots(parameters.parallelism, deadline_s=_SLOTS_DEADLINE_S)
            job_id = submit(
                self.rest,
                template,
                parameters,
                savepoint=entry.savepoint,
                drops_state=drops_state,
                progress=self.say,
            )
            self.rest.wait(job_id, _RUNNING, deadline_s)
            self.rest.wait_for_tasks(job_id, deadline_s)
        except TillstreamError as error:
            self.note(entry, "failed", job_id=job_id, reason=cause_of(str(error)))
            raise
        self.note(entry, "done", job_id=job_id)
        assert entry.template is not None  # kept just now
        return Started(job_id, parameters.generation, entry.template)

    def expect_slots(self, needed: int, *, freed: int = 0, deadline_s: float = 0.0) -> None:
        """See that the cluster has slots for a job of the client.

        Args:
            needed: the job's parallelism.
            freed: how many more there are once the job that runs has ended.
            deadline_s: how long to wait for them, seconds.

        Raises:
            UnavailableError: if there are fewer.
        """
        end_s = time.monotonic() + deadline_s
        while True:
            cluster = self.rest.overview()
            free, total = int(cluster["slots-available"]), int(cluster["slots-total"])
            if free + freed >= needed:
                return
            if time.monotonic() >= end_s:
                own = f", and {freed} of its job that runs" if freed else ""
                raise UnavailableError(
                    f"Flink at {self.rest.url}: found {free} free slots of {total}{own}, expected {needed} "
                    f"for {self.client}, its parallelism: add a TaskManager or slots "
                    "(taskmanager.numberOfTaskSlots), lower the parallelism, or end another job"
                )
            time.sleep(_POLL_S)

    def parameters(self, template: Path) -> LaunchParameters:
        """Return the parameters of a launch of a template that happens now, as this config asks for them."""
        return parameters_of(read_manifest(template).model(), self.config)

    def entry(self, action: str, template: Path, parameters: LaunchParameters, **noted: Any) -> Entry:
        """Keep a template, and return what the history says when its launch begins; as `start`."""
        launched = read_manifest(template).model().at_launch(parameters)
        return Entry(
            action,
            "started",
            generation=parameters.generation,
            template=self.history.keep(template),
            parallelism=parameters.parallelism,
            transforms={
                name: entity.transform for name, entity in launched.entities.items() if entity.transform
            },
            overrides=parameters.overrides,
            undoes=parameters.undoes,
            **noted,
        )

    def stop(self, job_id: str, *, deadline_s: float = 120.0) -> str:
        """End a job with a savepoint that holds all of its state, and return the savepoint's path.

        Flink cannot be told to give up a savepoint: one that is under way when the time is over may yet end
        the job. It is waited for as long again, so that whoever is told of a failure has a job that runs.

        Raises:
            JobFailedError: if Flink cannot take it; the job then runs on.
            UnavailableError: if it takes longer than the deadline.
        """
        before = self._saved(job_id)
        try:
            return self.rest.savepoint(job_id, stop=True, deadline_s=deadline_s)
        except UnavailableError:
            self.settle(job_id, deadline_s)
            saved = self._saved(job_id)
            # One that somebody took before, and that this job did not end with, is not where it stopped.
            if saved is None or saved == before or self._state(job_id) != "FINISHED":
                raise
            return saved

    def settle(self, job_id: str, timeout_s: float) -> None:
        """Wait while a job may yet be ended by a savepoint that somebody has asked for.

        Args:
            job_id: the job.
            timeout_s: how long at most, seconds.

        Raises:
            UnavailableError: if the cluster does not answer.
        """
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and self.rest.running(self.client):
            if not _is_stopping(self.rest.checkpoints(job_id).get("history") or ()):
                return
            time.sleep(_POLL_S)

    def _saved(self, job_id: str) -> str | None:
        saved = (self.rest.checkpoints(job_id).get("latest") or {}).get("savepoint")
        return None if not saved else str(saved["external_path"])

    def _state(self, job_id: str) -> str | None:
        return next((str(each["state"]) for each in self.rest.jobs() if each["jid"] == job_id), None)

    def note_running(self, job_id: str) -> None:
        """Note that a launch has held which was given up, or whose answer was lost, and whose job runs.

        Flink goes on trying after a command has waited long enough: without this no roll-back would lead to
        what such a launch has started.
        """
        try:
            info = self.rest.info(job_id)
        except ValueError:  # of another release: it can still be paused
            return
        if info is None:
            return
        for entry in reversed(self.history.entries()):
            if entry.generation == info.launch.generation:
                if entry.outcome != "done":
                    self.note(entry, "done", job_id=job_id, reason="found running", at="", actor="")
                return

    def note(self, entry: Entry, outcome: str, **changes: Any) -> Entry:
        """Append an entry to the history: another one, with another outcome."""
        return self.history.append(msgspec.structs.replace(entry, outcome=outcome, **changes))


def _is_stopping(history: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a savepoint is under way, or is complete and the job just about to end with it.

    Args:
        history: of checkpoints, the newest first (Flink 1.19, `CheckpointingStatistics`).
    """
    if any(each["is_savepoint"] and each["status"] == "IN_PROGRESS" for each in history):
        return True
    return any(
        each.get("checkpoint_type") == "SYNC_SAVEPOINT" and each["status"] == "COMPLETED"
        for each in history[:1]
    )
