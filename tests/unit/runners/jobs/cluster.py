"""A cluster that is made up: jobs with their checkpoints, for tests of what commands do to them."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.flink.rest import ENDED, FlinkRest, JobFailedError
from tillstream.runners.flink.template import MANIFEST_ENTRY, read_manifest
from tillstream.runners.jobs import commands, job
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.runners.jobs.selection import Chosen
from tillstream.transforms.lint.uids import Uids

__all__ = ["CONFIG", "NO_ANSWER", "Cluster", "chosen", "install", "manifest_of"]

CONFIG = """
client: acme
source: {kafka: {bootstrap_servers: "b:9092"}}
entities: {things: {topic: t, key: [id], sinks: [out]}}
sinks: {out: {type: files, path: out}}
"""


class Cluster(FlinkRest):
    """Be a cluster; all that talk to it share its jobs.

    Attributes:
        known: its jobs, oldest first.
        slots: how many are free.
        fault: raised by whatever is asked.
        refusal: raised by savepoints.
        folder: of checkpoints.
    """

    known: list[dict[str, Any]]
    slots: int
    fault: Exception | None
    refusal: Exception | None
    folder: Path

    def jobs(self) -> list[dict[str, Any]]:
        """Return overviews."""
        if self.fault is not None:
            raise self.fault
        return self.known

    def find(self, job_id: str) -> dict[str, Any]:
        """Return one of its jobs."""
        return next(each for each in self.known if each["jid"] == job_id)

    def add(self, info: JobInfo, savepoint: str | None) -> str:
        """Run a job."""
        job_id = f"j{len(self.known) + 1}"
        found = {"jid": job_id, "name": "acme", "state": "RUNNING", "start-time": int(time.time() * 1000)}
        self.known.append({**found, "info": info, "from": savepoint, "latest": {}, "cause": ""})
        return job_id

    def end(self, job_id: str, state: str, cause: str = "") -> None:
        """Let a job end."""
        self.find(job_id).update({"state": state, "cause": cause, "end-time": int(time.time() * 1000)})

    def complete(self, job_id: str, path: str) -> None:
        """Let a job complete a checkpoint."""
        newest = {"external_path": path, "latest_ack_timestamp": time.time_ns()}
        self.find(job_id)["latest"]["completed"] = newest

    def forget(self) -> None:
        """Be restarted: jobs that have ended are forgotten."""
        self.known[:] = [each for each in self.known if each["state"] not in ENDED]

    def info(self, job_id: str) -> JobInfo | None:
        """Return what a job says of itself."""
        found: JobInfo | None = self.find(job_id)["info"]
        return found

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """Return its newest checkpoints."""
        return {"latest": self.find(job_id)["latest"]}

    def root_cause(self, job_id: str) -> str:
        """Return its newest failure."""
        return str(self.find(job_id)["cause"])

    def overview(self) -> dict[str, Any]:
        """Return its slots."""
        return {"slots-available": self.slots, "slots-total": 8}

    def settings(self) -> dict[str, str]:
        """Return where checkpoints lie."""
        return {"state.checkpoints.dir": self.folder.as_uri()}

    def savepoint(self, job_id: str, *, stop: bool, deadline_s: float = 120.0) -> str:
        """Take a savepoint."""
        del deadline_s
        assert stop
        if self.refusal is not None:
            raise self.refusal
        self.find(job_id)["latest"]["savepoint"] = {
            "external_path": f"file:/savepoint-{job_id}",
            "latest_ack_timestamp": time.time_ns(),
        }
        self.end(job_id, "FINISHED")
        return f"file:/savepoint-{job_id}"

    def cancel(self, job_id: str, deadline_s: float = 60.0) -> None:
        """End a job."""
        del deadline_s
        self.end(job_id, "CANCELED")

    def wait(self, job_id: str, states: frozenset[str], deadline_s: float) -> str:
        """See that a job is as expected."""
        del deadline_s
        state = str(self.find(job_id)["state"])
        if state not in states:
            raise JobFailedError(f"job {job_id} ended as {state}")
        return state

    def wait_for_tasks(self, job_id: str, deadline_s: float) -> None:
        """Take tasks for running."""


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Cluster:
    """Put a new cluster in the place of all, build templates without Beam, and return it."""
    Cluster.known, Cluster.slots, Cluster.fault, Cluster.refusal = [], 8, None, None
    Cluster.folder = folder / "checkpoints"
    cluster = Cluster("http://cluster")

    def submit(
        rest: Cluster, template: Path, parameters: LaunchParameters, *, savepoint: str | None, **_: Any
    ) -> str:
        return rest.add(JobInfo(read_manifest(template), parameters), savepoint)

    monkeypatch.setattr(job, "FlinkRest", Cluster)
    monkeypatch.setattr(job, "submit", submit)
    monkeypatch.setattr(commands, "built", _build)
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(folder / "history"))
    monkeypatch.setattr("tillstream.runners.preflight.check_far_sides", lambda _: None)
    return cluster


def chosen(folder: Path, more: str = "") -> Chosen:
    """Return client acme, its config written anew."""
    path = folder / "acme.yaml"
    path.write_text(CONFIG + more, encoding="utf-8")
    return Chosen("acme", path)


def _build(client: job.ClientJob, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, manifest_of(client.config).encode())
    return path


def manifest_of(config: ClientConfig) -> Manifest:
    """Return the manifest of a config without transforms."""
    return Manifest(config.plain(), Uids("acme", {}, {}, {}, {}), {}, {}, {})


NO_ANSWER = UnavailableError("Flink at http://cluster does not answer")
