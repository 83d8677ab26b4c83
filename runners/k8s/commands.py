"""Render, plan and apply the job of one client, and take its savepoints: what the commands do for each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import yaml

from tillstream.configs.launching import new_generation
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.jobs.causes import cause_of
from tillstream.runners.jobs.commands import built
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.job import ClientJob, Say
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.planned import Plan
from tillstream.runners.jobs.selection import Chosen
from tillstream.runners.k8s import chart, deploying
from tillstream.runners.k8s.deploying import JobState, deployed_launch, state_of, wait_for
from tillstream.runners.k8s.kubectl import Kubectl
from tillstream.runners.k8s.launching import ClusterLaunch
from tillstream.runners.k8s.names import namespace_of, resource_of
from tillstream.runners.k8s.planning import plan_of, where_of
from tillstream.runners.k8s.reach import endpoints_of, whole_namespaces

__all__ = ["Apply", "Wanted", "apply", "bring", "plan", "render", "savepoint", "status"]

_Manifests = list[dict[str, Any]]

_MISSING = "found no FlinkDeployment, expected one: 'tillstream k8s apply {}'"


@dataclass(frozen=True)
class Wanted:
    """Say what of a client is to be on a cluster.

    Attributes:
        values: of the chart, from files.
        template: jar to launch, in place of one that is built now.
        namespace: by default that of the client.
        savepoint: path of the savepoint to start from.
        suspended: keep state and position, and do not run.
        drops_state: let go state that no stage asks for.
        fresh: start from nothing, also where the client ran before and was deleted.
    """

    values: dict[str, Any] = field(default_factory=dict)
    template: Path | None = None
    namespace: str | None = None
    savepoint: str | None = None
    suspended: bool = False
    drops_state: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Apply:
    """Say how it is applied.

    Attributes:
        accepts_loss: also where the plan leaves some state behind.
        dry_run: let the server check it, and change nothing.
        waits: until the job is stable.
        timeout_s: how long at most, seconds.
    """

    accepts_loss: bool = False
    dry_run: bool = False
    waits: bool = True
    timeout_s: float = 300.0


def render(
    chosen: Chosen, say: Say, wanted: Wanted, generation: int | None = None, *, only_values: bool = False
) -> str:
    """Return the manifests of a client's job as YAML.

    Args:
        chosen: the client.
        say: takes a line for each step.
        wanted: what.
        generation: of the launch; by default one of its own.
        only_values: what the chart is to be given, in their place.

    Raises:
        UserError: as `ClusterLaunch.values` and `chart.render`.
    """
    with _launch(ClientJob(chosen.check(), say), wanted) as found:
        launch = found if generation is None else found.at(generation)
        documents = [_for_helm(launch)] if only_values else _manifests(launch, wanted.values, say)
    return yaml.safe_dump_all(documents, sort_keys=False, width=2**20)


def plan(chosen: Chosen, say: Say, wanted: Wanted, kubectl: Kubectl) -> Plan:
    """Return what applying would do to a client's job; raises as `plan_of` and `render`."""
    job = ClientJob(chosen.check(), say)
    with _launch(job, wanted) as found:
        live = kubectl.deployment(resource_of(job.client), found.namespace)
        launch = deployed_launch(found, live)
        manifests = _manifests(launch, wanted.values, say) if wanted.values and live is not None else None
        wanted_manifest = None if manifests is None else manifests[-1]
        return plan_of(launch, live, kubectl, job.history, wanted_manifest, fresh=wanted.fresh)


def apply(chosen: Chosen, say: Say, wanted: Wanted, kubectl: Kubectl, how: Apply) -> Done:
    """Bring a client's job to a cluster as its config is now; raises as `bring`."""
    return bring(ClientJob(chosen.check(), say), wanted, kubectl, how)


def bring(job: ClientJob, wanted: Wanted, kubectl: Kubectl, how: Apply, action: str = "apply") -> Done:
    """Bring a client's job to a cluster, if its plan allows for that, and remember it.

    Args:
        job: the client's, with its config as it is wanted.
        wanted: what beside it.
        kubectl: of the cluster.
        how: it is applied.
        action: what this is in the history.

    Raises:
        UserError: if the server refuses it, or it cannot be rendered.
        UnavailableError: if the server does not answer, or the job is not stable in time.
        TillstreamError: if the operator gives it up.
    """
    say = job.say
    with job.exclusive(f"k8s {action}"), _launch(job, wanted) as found:
        live = kubectl.deployment(resource_of(job.client), found.namespace)
        launch = deployed_launch(found, live)
        manifests = _manifests(launch, wanted.values, say)
        planned = plan_of(launch, live, kubectl, job.history, manifests[-1], fresh=wanted.fresh)
        for line in planned.lines():
            say(line)
        facts = {
            "generation": launch.generation,
            "namespace": launch.namespace,
            "plan": planned.as_json(),
        }
        why_not = planned.why_not(accepts_loss=how.accepts_loss)
        if why_not is not None:
            return Done("refused", why_not, facts, is_good=False)
        if planned.drops_state:
            launch = replace(launch, drops_state=True)
            manifests = _rendered(launch, wanted.values)
        if how.dry_run:
            _applied(kubectl, manifests, say, dry_run=True)
            return Done("would be applied", _place(launch), facts)
        state = _brought(job, launch, manifests, planned=planned, kubectl=kubectl, how=how, action=action)
    outcome = "applied" if planned.changes or planned.verdict != "no_change" else "applied already"
    return Done(outcome, _place(launch), facts | {"job_id": (state and state.job_id) or None})


def _brought(
    job: ClientJob,
    launch: ClusterLaunch,
    manifests: _Manifests,
    *,
    planned: Plan,
    kubectl: Kubectl,
    how: Apply,
    action: str,
) -> JobState | None:
    """Apply manifests, wait, and note it where it changes the job; return how it does, if waited for."""
    entry = None
    if planned.verdict != "no_change":
        entry = job.history.append(
            job.entry(
                action,
                launch.template,
                launch.parameters(),
                savepoint=launch.savepoint,
                reason="; ".join(planned.reasons) or None,
                where=where_of(kubectl, launch.namespace),
            )
        )
    state = None
    try:
        _applied(kubectl, manifests, job.say, dry_run=False)
        if how.waits:
            for state in wait_for(kubectl, resource_of(job.client), launch.namespace, how.timeout_s):
                job.say(_line(state))
    except TillstreamError as error:
        if entry is not None:
            job.note(entry, "failed", job_id=(state and state.job_id) or None, reason=cause_of(str(error)))
        raise
    if entry is not None:
        job.note(entry, "done", job_id=(state and state.job_id) or planned.job_id)
    return state


def savepoint(chosen: Chosen, say: Say, kubectl: Kubectl, namespace: str | None, timeout_s: float) -> Done:
    """Take a savepoint of a client's job, and remember it.

    Raises:
        UserError: if the client has no FlinkDeployment.
        TillstreamError: as `deploying.savepoint`.
    """
    client = chosen.load().client
    name, where = resource_of(client), namespace or namespace_of(client)
    live = kubectl.deployment(name, where)
    if live is None:
        raise UserError(f"{where}/{name}: {_MISSING.format(client)}")
    state, history = state_of(live), History(client)
    entry = Entry(
        "savepoint",
        "done",
        job_id=state.job_id or None,
        generation=state.generation or None,
        where=where_of(kubectl, where),
    )
    try:
        taken = deploying.savepoint(kubectl, name, where, timeout_s, say)
    except TillstreamError as error:
        history.append(msgspec.structs.replace(entry, outcome="failed", reason=cause_of(str(error))))
        raise
    history.append(msgspec.structs.replace(entry, taken=taken))
    return Done("taken", taken, {"savepoint": taken, "namespace": where, "job_id": state.job_id or None})


def status(chosen: Chosen, kubectl: Kubectl, namespace: str | None) -> JobState:
    """Return how a client's job does; raises as `Kubectl.deployment`."""
    name, where = resource_of(chosen.client), namespace or namespace_of(chosen.client)
    live = kubectl.deployment(name, where)
    if live is not None:
        return state_of(live)
    missing = _MISSING.format(chosen.client)
    return JobState(
        name, where, "", "", "", 0, "", 0, seen=False, suspended=False, savepoint="", error=missing
    )


@contextmanager
def _launch(job: ClientJob, wanted: Wanted) -> Iterator[ClusterLaunch]:
    # Before seconds are spent on a build.
    endpoints_of(job.config)
    where = wanted.namespace or namespace_of(job.client)
    with tempfile.TemporaryDirectory() as folder:
        jar = wanted.template or built(job, Path(folder, "template.jar"))
        yield ClusterLaunch(
            job.config,
            jar,
            new_generation(),
            where,
            wanted.savepoint,
            wanted.suspended,
            wanted.drops_state,
        )


def _for_helm(launch: ClusterLaunch) -> dict[str, Any]:
    # The Secret wants the namespace before Helm comes, and Helm takes over nothing that it has not made.
    return launch.values() | {"namespace": {"create": False}}


def _manifests(launch: ClusterLaunch, given: dict[str, Any], say: Say) -> _Manifests:
    """Render a launch, its FlinkDeployment last, and warn of what its network would let it reach."""
    found = _rendered(launch, given)
    placed = (given.get("network") or {}).get("peers") or {}
    for line in whole_namespaces(endpoints_of(launch.config), placed):
        say(f"warning: {line}")
    return found


def _rendered(launch: ClusterLaunch, given: dict[str, Any]) -> _Manifests:
    """Return the manifests of a launch on a cluster with these values."""
    # What the config says goes before: a values file must not name another client's Secret keys or hosts.
    values = chart.merged(given, launch.values())
    return chart.render(values, name=resource_of(launch.config.client), namespace=launch.namespace)


def _applied(kubectl: Kubectl, manifests: _Manifests, say: Say, *, dry_run: bool) -> None:
    for line in kubectl.apply(manifests, dry_run=dry_run):
        say(line)


def _place(launch: ClusterLaunch) -> str:
    return f"generation {launch.generation} in {launch.namespace}"


def _line(state: JobState) -> str:
    return f"{state.namespace}/{state.client}: {state.lifecycle or 'not seen yet'}, job {state.job or 'none'}"
