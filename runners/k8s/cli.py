"""Offer Kubernetes as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tillstream.runners.k8s.deploying import JobState
    from tillstream.runners.k8s.launching import ClusterLaunch

__all__ = ["k8s"]

k8s = typer.Typer(no_args_is_help=True, help="Run clients' jobs on Kubernetes (docs/kubernetes.md).")

_Client = Annotated[str, typer.Argument(help="Client's name, or path of its config.")]
_Clients = Annotated[list[str], typer.Argument(help="Clients' names, or paths of their configs.")]
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
_Suspended = Annotated[bool, typer.Option("--suspended", help="Keep state and position, and do not run.")]
_Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig. Default: its current one.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_Timeout = Annotated[float, typer.Option(help="How long to wait, seconds.", min=1)]


@k8s.command()
def render(
    clients: _Clients,
    *,
    values: _Values = None,
    template: _Template = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    suspended: _Suspended = False,
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
) -> None:
    """Print the manifests of clients' jobs, for kubectl, Helm or a repository that a cluster follows."""
    import yaml

    given = _given(clients, template, values)
    for client in clients:
        with _launch(client, template, namespace, savepoint, suspended=suspended) as found:
            launch = found if generation is None else found.at(generation)
            documents = [_for_helm(launch)] if only_values else _manifests(launch, given)
        text = yaml.safe_dump_all(documents, sort_keys=False, width=2**20)
        if output is None:
            typer.echo(text, nl=False)
            continue
        output.mkdir(parents=True, exist_ok=True)
        path = output / f"{launch.config.client}.yaml"
        path.write_text(text, encoding="utf-8")
        _say(f"wrote {path}")


@k8s.command()
def apply(
    clients: _Clients,
    *,
    values: _Values = None,
    template: _Template = None,
    namespace: _Namespace = None,
    savepoint: _Savepoint = None,
    suspended: _Suspended = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Let the server check it all, and change nothing.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Wait until the job is stable.")] = True,
    timeout_s: _Timeout = 300.0,
    context: _Context = None,
) -> None:
    """Bring clients' jobs to a cluster, or to what their configs say now; what is so already stays as it is.

    Exits with 1 if a job does not become stable.
    """
    from tillstream.runners.k8s.deploying import deployed_launch, wait_for
    from tillstream.runners.k8s.kubectl import Kubectl
    from tillstream.runners.k8s.names import resource_of

    given, kubectl = _given(clients, template, values), Kubectl(context)
    for client in clients:
        with _launch(client, template, namespace, savepoint, suspended=suspended) as wanted:
            launch = deployed_launch(wanted, kubectl)
            lines = kubectl.apply(_manifests(launch, given), dry_run=dry_run)
        for line in lines:
            _say(line)
        name = resource_of(launch.config.client)
        if wait and not dry_run:
            for state in wait_for(kubectl, name, launch.namespace, timeout_s):
                _say(_line(state))
        done = "would be applied" if dry_run else "is applied"
        typer.echo(f"{launch.config.client}: generation {launch.generation} {done} in {launch.namespace}")


@k8s.command()
def status(*, namespace: _Namespace = None, as_json: _Json = False, context: _Context = None) -> None:
    """Show how the jobs on a cluster do, by the operator.

    Exits with 1 if one is not as it is wanted.
    """
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from tillstream.runners.k8s.deploying import state_of
    from tillstream.runners.k8s.kubectl import Kubectl

    states = sorted(
        (state_of(each) for each in Kubectl(context).deployments(namespace)),
        key=lambda state: (state.namespace, state.client),
    )
    if as_json:
        jobs = [msgspec.to_builtins(state) | {"healthy": state.healthy} for state in states]
        typer.echo(msgspec.json.encode({"jobs": jobs}).decode())
    else:
        table = Table(box=None)
        for title in ("client", "namespace", "lifecycle", "job", "job id", "generation", "error"):
            table.add_column(title)
        for state in states:
            table.add_row(
                state.client,
                state.namespace,
                state.lifecycle or "-",
                state.job or "-",
                state.job_id or "-",
                str(state.generation or "-"),
                state.error[:200],
            )
        Console(width=200, soft_wrap=True).print(table)
    if not all(state.healthy for state in states):
        raise typer.Exit(1)


@k8s.command()
def savepoint(
    client: _Client, *, namespace: _Namespace = None, timeout_s: _Timeout = 300.0, context: _Context = None
) -> None:
    """Take a savepoint of a running job, as a FlinkStateSnapshot, and print its path.

    Exits with 1 if it cannot be taken.
    """
    from tillstream.configs.cli import check
    from tillstream.runners.clients import config_path
    from tillstream.runners.k8s import deploying
    from tillstream.runners.k8s.kubectl import Kubectl
    from tillstream.runners.k8s.names import namespace_of, resource_of

    name = check(config_path(client)).client
    where = namespace or namespace_of(name)
    typer.echo(deploying.savepoint(Kubectl(context), resource_of(name), where, timeout_s, _say))


def _given(clients: list[str], template: Path | None, values: list[Path] | None) -> dict[str, Any]:
    """Return the values of a command's files; raises UserError where one template is for several clients."""
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.k8s.chart import read_values

    if len(clients) > 1 and template is not None:
        raise UserError("--template: found several clients, expected one")
    return read_values(values or [])


@contextmanager
def _launch(
    client: str, template: Path | None, namespace: str | None, savepoint: str | None, *, suspended: bool
) -> Iterator[ClusterLaunch]:
    from tillstream.configs.cli import check
    from tillstream.configs.launching import new_generation
    from tillstream.runners.clients import config_path
    from tillstream.runners.jobs.commands import built
    from tillstream.runners.jobs.job import ClientJob
    from tillstream.runners.k8s.launching import ClusterLaunch
    from tillstream.runners.k8s.names import namespace_of
    from tillstream.runners.k8s.reach import endpoints_of

    config = check(config_path(client))
    # Before seconds are spent on a build.
    endpoints_of(config)
    where = namespace or namespace_of(config.client)
    with tempfile.TemporaryDirectory() as folder:
        jar = template or built(ClientJob(config, _say), Path(folder, "template.jar"))
        yield ClusterLaunch(config, jar, new_generation(), where, savepoint, suspended)


def _for_helm(launch: ClusterLaunch) -> dict[str, Any]:
    # The Secret wants the namespace before Helm comes, and Helm takes over nothing that it has not made.
    return launch.values() | {"namespace": {"create": False}}


def _manifests(launch: ClusterLaunch, given: dict[str, Any]) -> list[dict[str, Any]]:
    from tillstream.runners.k8s import chart
    from tillstream.runners.k8s.names import resource_of
    from tillstream.runners.k8s.reach import endpoints_of, whole_namespaces

    # What the config says goes before: a values file must not name another client's Secret keys or hosts.
    values = chart.merged(given, launch.values())
    found = chart.render(values, name=resource_of(launch.config.client), namespace=launch.namespace)
    placed = (given.get("network") or {}).get("peers") or {}
    for line in whole_namespaces(endpoints_of(launch.config), placed):
        _say(f"warning: {line}")
    return found


def _line(state: JobState) -> str:
    return f"{state.namespace}/{state.client}: {state.lifecycle or 'not seen yet'}, job {state.job or 'none'}"


def _say(line: str) -> None:
    typer.echo(line, err=True)
