"""Bring a client's job to a cluster, see how it does there, and keep its state in savepoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from tillstream.pipelines.errors import TillstreamError, UnavailableError
from tillstream.runners.k8s.kubectl import Kubectl
from tillstream.runners.k8s.launching import ClusterLaunch
from tillstream.runners.k8s.names import GENERATION, JOB

__all__ = [
    "JobState",
    "deployed_launch",
    "is_deployed",
    "job_of",
    "savepoint",
    "snapshot_of",
    "state_of",
    "wait_for",
]

_POLL_S = 2.0


class JobState(msgspec.Struct, frozen=True):
    """Hold how the job of one client does, by the operator (its reference, FlinkDeploymentStatus).

    Attributes:
        client: its name as a name of Kubernetes.
        namespace: of it.
        lifecycle: CREATED, DEPLOYED, STABLE, SUSPENDED, UPGRADING, FAILED, ...; empty before the operator
            has seen it.
        job: Flink's state of the job, such as RUNNING; empty where there is none.
        job_id: Flink's id of it.
        generation: of the launch, milliseconds since 1970 UTC.
        image: that it runs.
        parallelism: subtasks of each stage.
        seen: whether the operator has seen the newest spec.
        suspended: whether it is meant to stand still.
        savepoint: path of the one that it was last started from or upgraded by.
        error: what went wrong, in the operator's words.
    """

    client: str
    namespace: str
    lifecycle: str
    job: str
    job_id: str
    generation: int
    image: str
    parallelism: int
    seen: bool
    suspended: bool
    savepoint: str
    error: str

    @property
    def healthy(self) -> bool:
        """Tell whether it is as it is wanted."""
        if not self.seen or self.error:
            return False
        if self.suspended:
            return self.lifecycle == "SUSPENDED"
        return self.lifecycle == "STABLE" and self.job == "RUNNING"


def state_of(deployment: dict[str, Any]) -> JobState:
    """Return how a FlinkDeployment does."""
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    job = status.get("jobStatus") or {}
    return JobState(
        client=metadata["name"],
        namespace=metadata["namespace"],
        lifecycle=status.get("lifecycleState") or "",
        job=job.get("state") or "",
        job_id=job.get("jobId") or "",
        generation=int((metadata.get("annotations") or {}).get(GENERATION) or 0),
        image=spec.get("image") or "",
        parallelism=(spec.get("job") or {}).get("parallelism") or 0,
        seen=status.get("observedGeneration") == metadata.get("generation"),
        suspended=(spec.get("job") or {}).get("state") == "suspended",
        savepoint=job.get("upgradeSavepointPath") or "",
        error=status.get("error") or "",
    )


def deployed_launch(launch: ClusterLaunch, live: dict[str, Any] | None) -> ClusterLaunch:
    """Return a launch as it runs already, where nothing but its time differs; else itself.

    A launch from a savepoint is always one of its own.

    Args:
        launch: as it is wanted.
        live: the FlinkDeployment, None where there is none.
    """
    if live is None or not is_deployed(launch, live):
        return launch
    drops_state = bool(live["spec"]["job"].get("allowNonRestoredState"))
    return replace(launch.at(int(live["metadata"]["annotations"][GENERATION])), drops_state=drops_state)


def is_deployed(launch: ClusterLaunch, live: dict[str, Any]) -> bool:
    """Tell whether a FlinkDeployment runs what a launch would."""
    running, _, _ = job_of(live).partition("-")
    return launch.savepoint is None and running == launch.digest()


def job_of(live: dict[str, Any]) -> str:
    """Return the digest and generation by which a FlinkDeployment's job is named; empty for none of ours."""
    return str((live["metadata"].get("annotations") or {}).get(JOB) or "")


def wait_for(kubectl: Kubectl, name: str, namespace: str, deadline_s: float) -> Iterator[JobState]:
    """Yield how a job does, whenever that has changed, until it is as it is wanted.

    Raises:
        TillstreamError: if the operator gives it up.
        UnavailableError: if it takes longer than the deadline.
    """
    end_s, before = time.monotonic() + deadline_s, None
    while True:
        live = kubectl.deployment(name, namespace)
        state = None if live is None else state_of(live)
        if state is not None and state != before:
            yield state
        if state is not None and state.healthy:
            return
        if state is not None and state.seen and state.lifecycle == "FAILED":
            raise TillstreamError(f"{namespace}/{name}: the operator gave it up: {state.error or state.job}")
        if time.monotonic() > end_s:
            found = (
                "nothing" if state is None else f"{state.lifecycle or 'nothing'}, job {state.job or 'none'}"
            )
            raise UnavailableError(
                f"{namespace}/{name}: found {found} after {deadline_s:.0f} s, expected a stable job: look at "
                f"'kubectl -n {namespace} describe flinkdeployment {name}'"
            )
        before = state
        time.sleep(_POLL_S)


def snapshot_of(name: str, namespace: str) -> dict[str, Any]:
    """Return the manifest that asks for a savepoint of a job (the operator's documentation, "Snapshots").

    The savepoint outlives it: whoever deletes the snapshot may still need what it led to.
    """
    return {
        "apiVersion": "flink.apache.org/v1beta1",
        "kind": "FlinkStateSnapshot",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": namespace,
            "labels": {"tillstream.dev/client": name, "app.kubernetes.io/name": "tillstream"},
        },
        "spec": {
            "backoffLimit": 0,
            "jobReference": {"kind": "FlinkDeployment", "name": name},
            "savepoint": {"alreadyExists": False, "disposeOnDelete": False, "formatType": "CANONICAL"},
        },
    }


def savepoint(
    kubectl: Kubectl,
    name: str,
    namespace: str,
    deadline_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Take a savepoint of a running job and return its path.

    Raises:
        TillstreamError: if Flink or the operator cannot take it.
        UnavailableError: if it takes longer than the deadline.
    """
    made = kubectl.create(snapshot_of(name, namespace))["metadata"]["name"]
    say(f"{namespace}/{name}: asked for savepoint {made}")
    end_s = time.monotonic() + deadline_s
    while True:
        status = kubectl.get("flinkstatesnapshot", made, namespace).get("status") or {}
        state = status.get("state") or ""
        if state == "COMPLETED":
            return str(status["path"])
        if state in ("FAILED", "ABANDONED"):
            raise TillstreamError(
                f"{namespace}/{name}: savepoint {made} {state}: {status.get('error') or ''}"
            )
        if time.monotonic() > end_s:
            raise UnavailableError(f"{namespace}/{name}: savepoint {made} {state} after {deadline_s:.0f} s")
        time.sleep(_POLL_S)
