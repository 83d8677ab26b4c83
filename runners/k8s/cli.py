"""Offer Kubernetes as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tillstream.runners.jobs.many import (
    AT_ONCE,
    AsJson,
    AtOnce,
    Clients,
    Done,
    Everyone,
    Folder,
    Group,
    Labels,
    carry_out,
    gather,
    report,
    table,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.job import Say
    from tillstream.runners.jobs.selection import Chosen
    from tillstream.runners.k8s.commands import Wanted
    from tillstream.runners.k8s.deploying import JobState

__all__ = ["k8s"]

k8s = typer.Typer(no_args_is_help=True, help="Run clients' jobs on Kubernetes (docs/kubernetes.md).")

_Values = Annotated[
    list[Path] | None,
    typer.Option("--values", "-f", help="Values of the chart, YAML; a later file goes before."),
]
_Template = Annotated[
    Path | None, typer.Option(help="Jar of 'tillstream template build'. Default: it is built now.")
]
_Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace. Default: tillstream-<client>.")
]
_Savepoint = Annotated[
    str | None, typer.Option(help="Savepoint to start from, in place of the newest checkpoint.")
]
_Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start from nothing, also where the client ran before.")
]
_Loss = Annotated[
    bool, typer.Option("--accept-loss", help="Also where the plan says that some state is forgotten.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Let the server check it all, and change nothing.")]
_Wait = Annotated[bool, typer.Option(help="Wait until the job is stable.")]
_Suspended = Annotated[bool, typer.Option("--suspended", help="Keep state and position, and do not run.")]
_Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: its current one.")]
_Timeout = Annotated[float, typer.Option(help="How long to wait, seconds.", min=1)]
_ERROR_SHOWN_MAX = 200


@k8s.command()
def render(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    values: _Values = None,
    template: _Template = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    suspended: _Suspended = False,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Let state go that no stage asks for; plan it first.")
    ] = False,
    generation: Annotated[
        int | None,
        typer.Option(help="Of the launch, milliseconds since 1970 UTC: equal ones give equal manifests."),
    ] = None,
    only_values: Annotated[
        bool, typer.Option("--only-values", help="Print what the chart is to be given, for Helm itself.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for a file <client>.yaml each.")
    ] = None,
    at_once: AtOnce = AT_ONCE,
) -> None:
    """Print the manifests of clients' jobs, for kubectl, Helm or a repository that a cluster follows."""
    from tillstream.runners.k8s import commands

    group = Group(clients, everyone, label, folder, at_once)
    wanted = _wanted(
        group,
        values,
        template=template,
        namespace=namespace,
        savepoint=savepoint,
        suspended=suspended,
        drops_state=accept_loss,
    )
    texts: dict[str, str] = {}

    def work(chosen: Chosen, say: Say) -> Done:
        text = commands.render(chosen, say, wanted, generation, only_values=only_values)
        if output is None:
            texts[chosen.client] = text
            return Done("rendered")
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{chosen.client}.yaml"
        path.write_text(text, encoding="utf-8")
        return Done("rendered", str(path))

    found = gather(group, work)
    if output is not None:
        report(found, as_json=False)
        return
    typer.echo("---\n".join(texts[client] for client, _ in found if client in texts), nl=False)
    for client, done in found:
        if not done.is_good:
            typer.echo(f"error: {client}: {done.detail}", err=True)
    if len(texts) < len(found):
        raise typer.Exit(1)


@k8s.command()
def plan(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    values: _Values = None,
    template: _Template = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    suspended: _Suspended = False,
    fresh: _Fresh = False,
    detail: Annotated[bool, typer.Option("--detail", help="Show differences that take nothing too.")] = False,
    context: _Context = None,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Tell what applying would do to clients' jobs, and change nothing.

    Compares the jar with the one that is live, by the rules of 'tillstream plan', looks into the newest
    checkpoint where it can be read from here, and with --values compares the FlinkDeployment too. Exit code
    0: no change; 10: it would change, with all state; 20: some state would be forgotten; 30: refused, with
    the way that there is; 2: bad input. Of several clients the greatest, or 1 if one cannot be planned.
    """
    from tillstream.runners.jobs.plan_cli import show_plans
    from tillstream.runners.k8s import commands
    from tillstream.runners.k8s.kubectl import Kubectl

    group = Group(clients, everyone, label, folder, at_once)
    kubectl = Kubectl(context)
    wanted = _wanted(
        group,
        values,
        template=template,
        namespace=namespace,
        savepoint=savepoint,
        suspended=suspended,
        fresh=fresh,
    )
    show_plans(
        group,
        lambda chosen, say: commands.plan(chosen, say, wanted, kubectl),
        detail=detail,
        as_json=as_json,
    )


@k8s.command()
def apply(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    values: _Values = None,
    template: _Template = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    suspended: _Suspended = False,
    fresh: _Fresh = False,
    accept_loss: _Loss = False,
    dry_run: _DryRun = False,
    wait: _Wait = True,
    timeout_s: _Timeout = 300.0,
    context: _Context = None,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Bring clients' jobs to a cluster, or to what their configs say now; what is so already stays as it is.

    Each is planned first. Exits with 1 if a plan is refused, or would forget state without --accept-loss, or
    if a job does not become stable.
    """
    from tillstream.runners.k8s import commands
    from tillstream.runners.k8s.kubectl import Kubectl

    group = Group(clients, everyone, label, folder, at_once)
    kubectl = Kubectl(context)
    wanted = _wanted(
        group,
        values,
        template=template,
        namespace=namespace,
        savepoint=savepoint,
        suspended=suspended,
        fresh=fresh,
    )
    how = commands.Apply(accept_loss, dry_run, wait, timeout_s)
    carry_out(group, lambda chosen, say: commands.apply(chosen, say, wanted, kubectl, how), as_json=as_json)


@k8s.command()
def rollback(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    to: Annotated[
        int | None, typer.Option(help="Generation of the launch to go back to. Default: the version before.")
    ] = None,
    values: _Values = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    accept_loss: _Loss = False,
    dry_run: _DryRun = False,
    wait: _Wait = True,
    timeout_s: _Timeout = 300.0,
    context: _Context = None,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Apply the version before again, with its own jar and config, from the newest checkpoint or a savepoint.

    It is planned first, as by apply. A job that was rolled back is left alone. Exits with 1 as apply does.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.k8s import commands
    from tillstream.runners.k8s.kubectl import Kubectl
    from tillstream.runners.k8s.rolling_back import rollback as back

    group = Group(clients, everyone, label, folder, at_once)
    if to is not None and len(group.chosen()) > 1:
        raise UserError("--to: found several clients, expected one")
    kubectl = Kubectl(context)
    wanted = _wanted(group, values, template=None, namespace=namespace, savepoint=savepoint, suspended=False)
    how = commands.Apply(accept_loss, dry_run, wait, timeout_s)
    carry_out(group, lambda chosen, say: back(chosen, say, wanted, kubectl, how, to=to), as_json=as_json)


@k8s.command()
def status(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Show how clients' jobs do, by the operator; by default all that the cluster has.

    Exits with 1 if one is not as it is wanted, or is not there.
    """
    import msgspec

    from tillstream.runners.k8s import commands
    from tillstream.runners.k8s.deploying import state_of
    from tillstream.runners.k8s.kubectl import Kubectl

    kubectl, faults = Kubectl(context), []
    if clients or everyone or label or folder:
        states: list[JobState] = []

        def work(chosen: Chosen, _: Say) -> Done:
            states.append(commands.status(chosen, kubectl, namespace))
            return Done("seen")

        found = gather(Group(clients, everyone, label, folder, at_once), work)
        faults = [(client, done.detail) for client, done in found if not done.is_good]
    else:
        states = [state_of(each) for each in kubectl.deployments(namespace)]
    states.sort(key=lambda state: (state.namespace, state.client))
    if as_json:
        jobs = [msgspec.to_builtins(state) | {"healthy": state.healthy} for state in states]
        jobs += [{"client": client, "error": fault, "healthy": False} for client, fault in faults]
        typer.echo(json.dumps({"jobs": jobs}))
    else:
        rows = [*map(_row, states), *((client, *["-"] * 5, fault) for client, fault in faults)]
        table(("CLIENT", "NAMESPACE", "LIFECYCLE", "JOB", "JOB ID", "GENERATION", "ERROR"), rows)
    if faults or not all(state.healthy for state in states):
        raise typer.Exit(1)


@k8s.command()
def savepoint(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    namespace: _Namespace = None,
    timeout_s: _Timeout = 300.0,
    context: _Context = None,
    at_once: AtOnce = AT_ONCE,
    as_json: AsJson = False,
) -> None:
    """Take savepoints of running jobs, as FlinkStateSnapshots, and print their paths.

    Exits with 1 if one cannot be taken.
    """
    from tillstream.runners.k8s import commands
    from tillstream.runners.k8s.kubectl import Kubectl

    kubectl = Kubectl(context)
    carry_out(
        Group(clients, everyone, label, folder, at_once),
        lambda chosen, say: commands.savepoint(chosen, say, kubectl, namespace, timeout_s),
        as_json=as_json,
    )


def _wanted(
    group: Group,
    values: list[Path] | None,
    *,
    template: Path | None,
    namespace: str | None,
    savepoint: str | None,
    suspended: bool,
    drops_state: bool = False,
    fresh: bool = False,
) -> Wanted:
    """Return what options ask for; raises UserError where what is one client's is for several."""
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.k8s.chart import read_values
    from tillstream.runners.k8s.commands import Wanted

    if (template is not None or savepoint is not None) and len(group.chosen()) > 1:
        raise UserError("--template, --savepoint: found several clients, expected one")
    if fresh and savepoint is not None:
        raise UserError("found --fresh beside --savepoint, expected one of them")
    return Wanted(read_values(values or []), template, namespace, savepoint, suspended, drops_state, fresh)


def _row(state: JobState) -> tuple[str, ...]:
    seen: tuple[Any, ...] = (state.lifecycle, state.job, state.job_id, state.generation)
    shown = (str(each or "-") for each in seen)
    return state.client, state.namespace, *shown, state.error[:_ERROR_SHOWN_MAX]
