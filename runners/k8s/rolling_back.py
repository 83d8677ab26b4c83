"""Apply an earlier version of a client's job again: the very jar that the history has kept."""

from __future__ import annotations

from dataclasses import replace

from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.going_back import jar_of
from tillstream.runners.jobs.job import ClientJob, Say
from tillstream.runners.jobs.launches import Launched, goal_of, launches, standing
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.selection import Chosen
from tillstream.runners.k8s.commands import Apply, Wanted, bring
from tillstream.runners.k8s.deploying import state_of
from tillstream.runners.k8s.kubectl import Kubectl
from tillstream.runners.k8s.names import namespace_of, resource_of
from tillstream.runners.k8s.planning import where_of

__all__ = ["rollback"]


def rollback(
    chosen: Chosen, say: Say, wanted: Wanted, kubectl: Kubectl, how: Apply, *, to: int | None = None
) -> Done:
    """Apply the version before, with the config that it had; what was gone back to already is left alone.

    It goes on from the newest checkpoint, with what the newer version wrote, or from a savepoint that is
    named; by the plan of `bring`.

    Args:
        chosen: the client.
        say: takes a line for each step.
        wanted: values, namespace and savepoint.
        kubectl: of the cluster.
        how: it is applied.
        to: generation of the launch to go back to; by default the last other version that was applied.

    Raises:
        UserError: if there is no such launch, its template is gone, or another job is live.
        TillstreamError: as `bring` does.
    """
    job = ClientJob(chosen.load(), say)
    namespace = wanted.namespace or namespace_of(job.client)
    all_ = launches(job.history.entries(where_of(kubectl, namespace)))
    live = kubectl.deployment(resource_of(job.client), namespace)
    current = _current(job, all_, None if live is None else state_of(live).generation)
    facts = {"generation": current.generation, "namespace": namespace}
    if to == current.generation or (to is None and standing(all_, current)[0].entry.action == "rollback"):
        return Done("rolled back already", f"{current.line()}; --to goes further back", facts)
    goal = goal_of(all_, current.generation, to).launch
    template = jar_of(job, goal)
    say(f"rolling back to {goal.line()}")
    config = read_manifest(template).model().at_launch(goal.parameters(goal.generation))
    back = replace(wanted, template=template, namespace=namespace)
    done = bring(ClientJob(config, say, job.history), back, kubectl, how, "rollback")
    return replace(done, outcome="rolled back") if done.outcome == "applied" else done


def _current(job: ClientJob, all_: list[Launched], generation: int | None) -> Launched:
    found = next((each for each in reversed(all_) if each.generation == generation), None)
    if found is None:
        what = "FlinkDeployment" if generation is None else f"launch {generation}, which is live,"
        where = "on the cluster" if generation is None else f"in {job.history.path}"
        raise UserError(
            f"client {job.client}: found no {what} {where}, expected one to roll back: was it applied by "
            "another tool, or with another TILLSTREAM_HISTORY?"
        )
    return found
