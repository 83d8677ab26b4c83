"""Start and stop the job of one client, and remember it: what every command on jobs is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.flink.launch import parameters_of, submit
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.manifest import JobInfo

__all__ = ["ClientJob", "Say", "Started"]

Say = Callable[[str], None]

_RUNNING = frozenset({"RUNNING", "FINISHED"})


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
        deadline_s: float = 60.0,
        **noted: Any,
    ) -> Started:
        """Run a template as the client's job, with this config's addresses and parallelism, and remember it.

        Args:
            template: as `jar.write_jar` writes it, of a config with the same entities and sinks.
            action: what this is in the history.
            savepoint: path of the savepoint or checkpoint to start from.
            deadline_s: how long its tasks may take until all run, seconds.
            noted: further attributes of the entries.

        Raises:
            UserError: if a job of this client runs already, or lacks a stage whose state the savepoint holds.
            JobFailedError: if the job fails, or not all tasks run in time.
            UnavailableError: if the cluster does not answer.
        """
        running = self.running_id()
        if running is not None:
            raise UserError(f"client {self.client} runs already as job {running} at {self.rest.url}")
        built = read_manifest(template).model()
        parameters = parameters_of(built, self.config)
        digest = self.history.keep(template)
        transforms = {
            name: entity.transform for name, entity in self.config.entities.items() if entity.transform
        }
        entry = Entry(
            action,
            "started",
            generation=parameters.generation,
            savepoint=savepoint,
            template=digest,
            parallelism=parameters.parallelism,
            transforms=transforms,
            **noted,
        )
        self.history.append(entry)
        job_id = None
        try:
            job_id = submit(self.rest, template, parameters, savepoint=savepoint, progress=self.say)
            self.rest.wait(job_id, _RUNNING, deadline_s)
            self.rest.wait_for_tasks(job_id, deadline_s)
        except TillstreamError as error:
            self.note(entry, "failed", job_id=job_id, reason=str(error)[:1000])
            raise
        self.note(entry, "done", job_id=job_id)
        return Started(job_id, parameters.generation, digest)

    def stop(self, job_id: str, *, deadline_s: float = 120.0) -> str:
        """End a job with a savepoint that holds all of its state, and return the savepoint's path.

        Raises:
            JobFailedError: if Flink cannot take it; the job then runs on.
            UnavailableError: if it takes longer than the deadline.
        """
        return self.rest.savepoint(job_id, stop=True, deadline_s=deadline_s)

    def note(self, entry: Entry, outcome: str, **changes: Any) -> Entry:
        """Append an entry to the history: another one, with another outcome."""
        return self.history.append(msgspec.structs.replace(entry, outcome=outcome, **changes))
