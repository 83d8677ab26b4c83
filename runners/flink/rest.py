"""Talk to a Flink cluster's REST interface (Flink documentation, "REST API", v1)."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from tillstream.pipelines.errors import NoAnswerError, TillstreamError, UnavailableError
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.manifest import JobInfo, read_agent

__all__ = ["FlinkRest", "JobFailedError"]

_TIMEOUT_S = 30.0
_POLL_INTERVAL_S = 0.1
# How long a job may be about to run before a savepoint of it is given up.
_RESTART_S_MAX = 45.0
# How long to let Flink find out that a task is gone.
_RESTART_POLL_S = 0.5
# What a savepoint says that met a job whose tasks were just going or coming. Source: Flink 1.19,
# DefaultCheckpointPlanCalculator, CheckpointFailureReason, RecipientUnreachableException, JobMaster,
# CreditBasedPartitionRequestClientHandler.
_PASSING = (
    "is not being executed at the moment",
    "because the recipient is unreachable",
    "Checkpoint Coordinator is suspending",
    "FailoverRegion is restarting",
    "Checkpoint was declined (tasks not ready)",
    "Checkpoint was declined (task is closing)",
    "TaskManager with id",
    "Connection unexpectedly closed by remote task manager",
)
ENDED = frozenset({"FINISHED", "CANCELED", "FAILED", "SUSPENDED"})


class JobFailedError(TillstreamError):
    """Say why Flink ended a job, in the words of its root cause."""


class FlinkRest:
    """Call one cluster.

    Args:
        url: of its REST interface, such as http://127.0.0.1:8081.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()

    def overview(self) -> dict[str, Any]:
        """Return the cluster's slots and version."""
        return self._call("GET", "/overview")

    def jobs(self) -> list[dict[str, Any]]:
        """Return an overview of every job that the cluster remembers."""
        found: list[dict[str, Any]] = self._call("GET", "/jobs/overview")["jobs"]
        return found

    def running(self, name: str) -> list[str]:
        """Return the ids of the jobs of a name that have not ended."""
        return [job["jid"] for job in self.jobs() if job["name"] == name and job["state"] not in ENDED]

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job's state and vertices."""
        return self._call("GET", f"/jobs/{job_id}")

    def info(self, job_id: str) -> JobInfo | None:
        """Return what a job says of itself; None where tillstream did not launch it, or an older one did.

        Raises:
            ValueError: if it cannot be read.
        """
        settings = self._call("GET", f"/jobs/{job_id}/config").get("execution-config") or {}
        return read_agent((settings.get("user-config") or {}).get("userAgent"))

    def stages(self, jar_id: str, *, entry_class: str, parallelism: int) -> dict[str, str]:
        """Return the name of each stage that an uploaded jar would run, by the id that its state has."""
        body = {"entryClass": entry_class, "parallelism": parallelism}
        plan = self._call("POST", f"/jars/{jar_id}/plan", json=body)["plan"]
        return {node["id"]: html.unescape(node["description"]).split("<br/>")[0] for node in plan["nodes"]}

    def wait_for_tasks(self, job_id: str, deadline_s: float) -> None:
        """Wait until every task of a job runs or has finished; raises as `wait` does."""
        end_s = time.monotonic() + deadline_s
        while True:
            job = self.job(job_id)
            if job["state"] == "FINISHED" or all(
                vertex["status"] in {"RUNNING", "FINISHED"} for vertex in job["vertices"]
            ):
                return
            if job["state"] in ENDED or time.monotonic() > end_s:
                raise JobFailedError(
                    f"job {job_id} is {job['state']}, and not all of its tasks run after {deadline_s:.0f} s: "
                    f"{cause_of(self.root_cause(job_id)) or f'look at {self.url}/#/job/{job_id}'}"
                    + ("" if job["state"] in ENDED else ". It goes on trying, see 'tillstream status'")
                )
            time.sleep(_POLL_INTERVAL_S)

    def root_cause(self, job_id: str) -> str:
        """Return the newest failure of a job, or an empty string."""
        history = self._call("GET", f"/jobs/{job_id}/exceptions")
        return str(history.get("root-exception") or "")

    def exceptions(self, job_id: str, count_max: int = 20) -> list[dict[str, Any]]:
        """Return the newest failures of a job, newest first; timestamps are milliseconds since 1970 UTC."""
        history = self._call("GET", f"/jobs/{job_id}/exceptions?maxExceptions={count_max}")
        found: list[dict[str, Any]] = (history.get("exceptionHistory") or {}).get("entries") or []
        return found

    def settings(self) -> dict[str, str]:
        """Return the JobManager's configuration."""
        found: Any = self._call("GET", "/jobmanager/config")
        return {each["key"]: each["value"] for each in found}

    def logs(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield the id of each TaskManager, and the lines of its log, without their ends."""
        for manager in self._call("GET", "/taskmanagers")["taskmanagers"]:
            with self._answer("GET", f"/taskmanagers/{manager['id']}/log", stream=True) as answer:
                yield str(manager["id"]), answer.iter_lines(1 << 16)

    def task_managers(self, job_id: str, vertex_id: str) -> set[str]:
        """Return the ids of the TaskManagers that run a vertex of a job."""
        found = self._call("GET", f"/jobs/{job_id}/vertices/{vertex_id}/taskmanagers")["taskmanagers"]
        return {str(each["taskmanager-id"]) for each in found}

    def restarts(self, job_id: str) -> int:
        """Return how often Flink has restarted a job by itself."""
        found: Any = self._call("GET", f"/jobs/{job_id}/metrics?get=numRestarts")
        return sum(int(each["value"]) for each in found)

    def sums(self, job_id: str, vertex_id: str, ends: Sequence[str]) -> dict[str, float] | None:
        """Return the metrics of a vertex whose names end so, each summed up over its subtasks.

        None where Flink shows none of it at all, not even its own: after an outage of TaskManagers a
        JobManager may no longer hear of theirs.
        """
        path = f"/jobs/{job_id}/vertices/{vertex_id}/subtasks/metrics"
        known: Any = self._call("GET", path)
        if not known:
            return None
        names = [str(each["id"]) for each in known if str(each["id"]).endswith(tuple(ends))]
        if not names:
            return {}
        found: Any = self._call("GET", f"{path}?get={quote(','.join(names))}&agg=sum")
        return {str(each["id"]): float(each["sum"]) for each in found}

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """Return the counts and the newest of a job's checkpoints."""
        return self._call("GET", f"/jobs/{job_id}/checkpoints")

    def upload(self, jar: Path) -> str:
        """Upload a jar and return its id."""
        with jar.open("rb") as content:
            files = {"jarfile": (jar.name, content, "application/java-archive")}
            answer = self._call("POST", "/jars/upload", files=files)
        return str(answer["filename"]).rsplit("/", 1)[-1]

    def run(
        self,
        jar_id: str,
        *,
        entry_class: str,
        parallelism: int,
        savepoint: str | None = None,
        drops_state: bool = False,
    ) -> str:
        """Run an uploaded jar and return the job's id.

        Args:
            jar_id: as `upload` returns it.
            entry_class: whose `main` is run.
            parallelism: of the job.
            savepoint: path of the savepoint or checkpoint to start from.
            drops_state: let go its state of stages that the job does not have.
        """
        body: dict[str, Any] = {"entryClass": entry_class, "parallelism": parallelism}
        if savepoint is not None:
            body["savepointPath"] = savepoint
            body["allowNonRestoredState"] = drops_state
        return str(self._call("POST", f"/jars/{jar_id}/run", json=body)["jobid"])

    def delete_jar(self, jar_id: str) -> None:
        """Delete an uploaded jar."""
        self._call("DELETE", f"/jars/{jar_id}")

    def ask_to_cancel(self, job_id: str) -> None:
        """Cancel a job, without waiting for its end."""
        self._call("PATCH", f"/jobs/{job_id}?mode=cancel")

    def cancel(self, job_id: str, deadline_s: float = 60.0) -> None:
        """Cancel a job and wait until it has ended; one that has ended meanwhile is left so."""
        try:
            self.ask_to_cancel(job_id)
        except UnavailableError:
            if self.job(job_id)["state"] not in ENDED:
                raise
        self.wait(job_id, ENDED, deadline_s)

    def savepoint(self, job_id: str, *, stop: bool, deadline_s: float = 120.0) -> str:
        """Take a savepoint and return its path; a job that Flink is just starting again gets its time.

        Args:
            job_id: the job.
            stop: end the job with it (stop-with-savepoint, without drain); what waits for a checkpoint is
                then in the savepoint.
            deadline_s: how long to wait for it, seconds.

        Raises:
            JobFailedError: if Flink cannot take it.
            UnavailableError: if it takes longer than the deadline.
        """
        end_s = time.monotonic() + deadline_s
        patient_until_s = min(end_s, time.monotonic() + _RESTART_S_MAX)
        while True:
            operation = self._savepoint(job_id, stop=stop, end_s=end_s)
            if "location" in operation:
                return str(operation["location"])
            trace = str(operation["failure-cause"].get("stack-trace"))
            if not any(text in trace for text in _PASSING) or time.monotonic() > patient_until_s:
                raise JobFailedError(f"savepoint of job {job_id}: {cause_of(trace)}")
            # Flink may not know yet that its tasks are gone.
            time.sleep(_RESTART_POLL_S)
            self.wait_for_tasks(job_id, max(0.0, patient_until_s - time.monotonic()))

    def _savepoint(self, job_id: str, *, stop: bool, end_s: float) -> dict[str, Any]:
        """Ask for a savepoint once, and return what became of it."""
        path = f"/jobs/{job_id}/{'stop' if stop else 'savepoints'}"
        trigger = self._call("POST", path, json={"drain": False} if stop else {"cancel-job": False})
        while True:
            answer = self._call("GET", f"/jobs/{job_id}/savepoints/{trigger['request-id']}")
            operation: dict[str, Any] = answer.get("operation") or {}
            if operation.keys() & {"location", "failure-cause"}:
                return operation
            if time.monotonic() > end_s:
                raise UnavailableError(f"savepoint of job {job_id}: none in time")
            time.sleep(_POLL_INTERVAL_S)

    def dispose(self, savepoint: str, deadline_s: float = 60.0) -> None:
        """Delete a savepoint.

        Raises:
            JobFailedError: if Flink cannot.
            UnavailableError: if it takes longer than the deadline.
        """
        body = {"savepoint-path": savepoint}
        trigger = self._call("POST", "/savepoint-disposal", json=body)["request-id"]
        end_s = time.monotonic() + deadline_s
        while True:
            answer = self._call("GET", f"/savepoint-disposal/{trigger}")
            if (answer.get("status") or {}).get("id") == "COMPLETED":
                failure = (answer.get("operation") or {}).get("failure-cause")
                if failure:
                    raise JobFailedError(
                        f"savepoint {savepoint} is not disposed of: {str(failure.get('stack-trace'))[:2000]}"
                    )
                return
            if time.monotonic() > end_s:
                raise UnavailableError(f"savepoint {savepoint}: not disposed of after {deadline_s:.0f} s")
            time.sleep(_POLL_INTERVAL_S)

    def wait(self, job_id: str, states: frozenset[str], deadline_s: float) -> str:
        """Wait until a job is in one of some states, and return it.

        Raises:
            JobFailedError: if it ends in another state.
            UnavailableError: if it takes longer than the deadline.
        """
        end_s = time.monotonic() + deadline_s
        while True:
            state = str(self.job(job_id)["state"])
            if state in states:
                return state
            if state in ENDED:
                raise JobFailedError(f"job {job_id} ended as {state}: {cause_of(self.root_cause(job_id))}")
            if time.monotonic() > end_s:
                raise UnavailableError(
                    f"job {job_id} is {state} after {deadline_s:.0f} s, "
                    f"expected {' or '.join(sorted(states))}: look at {self.url}/#/job/{job_id}/exceptions"
                )
            time.sleep(_POLL_INTERVAL_S)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **arguments)
        body: dict[str, Any] = answer.json() if answer.content else {}
        return body

    def _answer(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.url + path, timeout=_TIMEOUT_S, **arguments)
        except requests.RequestException as error:
            raise NoAnswerError(
                f"Flink at {self.url} does not answer ({type(error).__name__}): "
                "check the address, or start the local stack with 'tillstream up'"
            ) from error
        if not answer.ok:
            raise UnavailableError(f"Flink at {self.url} refused {method} {path}: {_reason(answer)}")
        return answer


def _reason(answer: requests.Response) -> str:
    try:
        errors = answer.json().get("errors", [])
    except ValueError:
        return answer.text[:2000]
    # Flink gives the whole stack; the first line says what it was about, the last cause what happened.
    lines = [line.strip() for error in errors for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by: ")]
    return " ".join(lines[:1] + causes[-1:])[:2000]
