"""Tell what applying a launch would do to the job that a cluster runs, by the rules of `tillstream plan`.

The jar that is live lies in its ConfigMap, and says what it is made of; stages and the ids of their state
come out of both jars, as there is no session cluster to ask (`stage_ids`).
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.flink.checkpoints import newest_below, read_checkpoint
from tillstream.runners.flink.metadata import Metadata
from tillstream.runners.flink.stage_ids import stages_in
from tillstream.runners.flink.template import read_launched, read_manifest
from tillstream.runners.jobs.compat import judge
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.plan import noted
from tillstream.runners.jobs.planned import Change, Plan
from tillstream.runners.k8s.deploying import is_deployed, job_of, state_of
from tillstream.runners.k8s.differing import deployment_changes
from tillstream.runners.k8s.kubectl import Kubectl
from tillstream.runners.k8s.launching import ClusterLaunch

__all__ = ["plan_of", "where_of"]

# Flink keeps a few checkpoints and deletes the others.
_READS_MAX = 5
_UNSEEN = (
    "nothing tells what the job that is live keeps in its state, as neither its jar nor its checkpoint can "
    "be read ({}); the way is to put the ConfigMap back, or --savepoint PATH of one that can be read here"
)
_DELETED = (
    "its FlinkDeployment was deleted, and nothing tells where it was: name its state by --savepoint PATH, or "
    "start from nothing with --fresh"
)
_PAUSED = (
    "stages go whose state would have to be dropped, and Flink drops none when it goes on from where a "
    "paused job stands; the way is to apply what is live without --suspended first, or --savepoint PATH"
)
_BY_SAVEPOINT = "the operator would go on from a savepoint that it takes, as only so state can be dropped"


@dataclass(frozen=True)
class _Live:
    """Hold what there is of a client's job.

    Attributes:
        info: what it says of itself.
        stages: its stages' names, by the ids of their state.
        fault: why neither is known.
    """

    info: JobInfo | None = None
    stages: dict[str, str] = field(default_factory=dict)
    fault: str = ""


def where_of(kubectl: Kubectl, namespace: str) -> str:
    """Return what entries of a history have as the place of a job; see `Entry.where`."""
    return f"kubernetes:{kubectl.context()}/{namespace}"


def plan_of(
    launch: ClusterLaunch,
    live: dict[str, Any] | None,
    kubectl: Kubectl,
    history: History,
    wanted: dict[str, Any] | None = None,
    *,
    fresh: bool = False,
) -> Plan:
    """Return what would happen if a launch were applied; nothing is changed.

    Args:
        launch: as it is wanted.
        live: the FlinkDeployment, None where there is none.
        kubectl: of its cluster.
        history: the client's: of what was deleted from the cluster it knows what it was.
        wanted: the FlinkDeployment that would be applied; None to compare jobs alone.
        fresh: somebody has said that a client that was deleted starts from nothing.

    Raises:
        UserError: if kubectl may not read what is live.
        UnavailableError: if the API server does not answer.
    """
    if live is None and launch.savepoint is None:
        if not fresh and noted(history, where_of(kubectl, launch.namespace)) is not None:
            return Plan(launch.config.client, "refused", (_DELETED,))
        return Plan(launch.config.client, "new")
    manifest, stages = read_manifest(launch.template), stages_in(launch.template)
    parameters = launch.parameters()
    beside = [*_from_savepoint(launch, live), *_around(live, wanted)]
    if live is not None and is_deployed(launch, live):
        # Nothing but the deployment can differ, so no state has to be looked into.
        before, checkpoint, notes = _Live(JobInfo(manifest, parameters), stages), None, None
    else:
        before = _gone(kubectl, history, launch) if live is None else _live(live, kubectl)
        checkpoint, notes = _checkpoint(launch, live)
        if live is not None and before.info is None and checkpoint is None:
            reason = _UNSEEN.format("; ".join((before.fault, *notes)))
            return Plan(launch.config.client, "refused", (reason,))
    plan = judge(
        manifest,
        stages,
        before.info,
        checkpoint,
        old_stages=before.stages,
        config=manifest.model().at_launch(parameters).plain(),
        job_id=_running(launch, live),
        beside=beside,
    )
    said = plan.notes if notes is not None else ()
    said = (*said, *filter(None, (before.fault,)), *(notes or ()), *_of_cluster(live, wanted))
    job_id = (state_of(live).job_id or None) if live is not None and plan.job_id else None
    plan = replace(plan, notes=said, job_id=job_id, checkpoint=plan.checkpoint or launch.savepoint)
    return _dropping(_restarting(plan, launch, live), launch, live)


def _live(live: dict[str, Any], kubectl: Kubectl) -> _Live:
    """Read the jar that is live."""
    metadata = live["metadata"]
    name = f"{metadata['name']}-job-{job_of(live)}"
    held = kubectl.find("configmap", name, metadata["namespace"])
    content = ((held or {}).get("binaryData") or {}).get("job.jar")
    if content is None:
        return _Live(fault=f"configmap {name}: found none with the jar that is live")
    try:
        with tempfile.TemporaryDirectory() as folder:
            jar = Path(folder, "job.jar")
            jar.write_bytes(base64.b64decode(content))
            return _Live(read_launched(jar), stages_in(jar))
    except ValueError as error:
        return _Live(fault=f"configmap {name}: {error}")


def _gone(kubectl: Kubectl, history: History, launch: ClusterLaunch) -> _Live:
    """Return what the history says of the job that a FlinkDeployment ran which was deleted."""
    return _Live(noted(history, where_of(kubectl, launch.namespace)))


def _checkpoint(
    launch: ClusterLaunch, live: dict[str, Any] | None
) -> tuple[Metadata | None, tuple[str, ...]]:
    """Read what the job would go on from; why not, where that cannot be."""
    try:
        if launch.savepoint is not None or live is None:
            return read_checkpoint(launch.savepoint or ""), ()
        return _newest(live), ()
    except TillstreamError as error:
        return None, (f"the checkpoint was not read: {error}",)


def _newest(live: dict[str, Any]) -> Metadata:
    """Read the newest checkpoint; the one that was the newest may be gone before it is read."""
    folder, job_id = _configuration(live).get("state.checkpoints.dir"), state_of(live).job_id
    if not folder or not job_id:
        raise UserError("found no job that has run, expected its id in the FlinkDeployment's status")
    fault = UserError(f"{folder}/{job_id}: found no checkpoint, expected one")
    for _ in range(_READS_MAX):
        path = newest_below(f"{folder}/{job_id}")
        if path is None:
            break
        try:
            return read_checkpoint(path)
        except UserError as error:
            fault = error
    raise fault


def _configuration(live: dict[str, Any]) -> Mapping[str, Any]:
    return live["spec"].get("flinkConfiguration") or {}


def _from_savepoint(launch: ClusterLaunch, live: dict[str, Any] | None) -> list[Change]:
    if launch.savepoint is None:
        return []
    before = None if live is None else live["spec"]["job"].get("initialSavepointPath")
    note = "what has come since is read again"
    return [Change("deployment", "/job/initialSavepointPath", before, launch.savepoint, "restore", note)]


def _around(live: dict[str, Any] | None, wanted: dict[str, Any] | None) -> list[Change]:
    return [] if live is None or wanted is None else [*deployment_changes(live, wanted)]


def _of_cluster(live: dict[str, Any] | None, wanted: dict[str, Any] | None) -> list[str]:
    found = []
    if live is not None and wanted is None:
        found.append("image, resources and Flink's configuration were not compared: name them by --values")
    if live is not None and not (state := state_of(live)).healthy:
        found.append(
            f"what was applied last is not as it is wanted: {state.lifecycle or 'not seen yet'}, "
            f"job {state.job or 'none'}{state.error and f', {state.error[:200]}'}"
        )
    return found


def _running(launch: ClusterLaunch, live: dict[str, Any] | None) -> str | None:
    """Return what names the job that a launch takes the place of; None where it has to be started."""
    if live is None or (state_of(live).suspended and not launch.suspended):
        return None
    return state_of(live).job_id or str(live["metadata"]["name"])


def _restarting(plan: Plan, launch: ClusterLaunch, live: dict[str, Any] | None) -> Plan:
    """Tell that another jar restarts the job, also where what differs in it would matter to no job."""
    if plan.verdict != "no_change" or live is None or is_deployed(launch, live):
        return plan
    was, now = job_of(live).partition("-")[0], launch.digest()
    note = "any change of the config or of its build restarts the job here"
    jar = Change("deployment", "/job/jar", was or None, now, "restart", note)
    return replace(plan, verdict="restart", reasons=("of /job/jar",), changes=(*plan.changes, jar))


def _dropping(plan: Plan, launch: ClusterLaunch, live: dict[str, Any] | None) -> Plan:
    """Tell how state is dropped: not going on by high availability (Flink 1.19, `CheckpointCoordinator`)."""
    if not plan.drops_state or launch.savepoint is not None or live is None or plan.verdict == "refused":
        return plan
    if state_of(live).suspended:
        return replace(plan, verdict="refused", reasons=(*plan.reasons, _PAUSED))
    return replace(plan, notes=(*plan.notes, _BY_SAVEPOINT))
