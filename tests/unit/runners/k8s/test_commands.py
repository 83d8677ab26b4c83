"""The commands for Kubernetes plan before they apply, do it for groups, and write down what they did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.unit.runners.k8s.fake import Cluster, deployment, live_of
from tests.unit.runners.k8s.rendering import (
    AGGREGATE,
    GENERATION,
    READ,
    TRANSFORM,
    WRITE,
    Step,
    config_of,
    launch_of,
    template_of,
)
from tillstream.cli import app
from tillstream.runners.clients import config_path
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.k8s import commands

STEPS = (READ, TRANSFORM, WRITE)
WHERE = "kubernetes:prod/tillstream-acme"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build templates without Beam."""
    monkeypatch.setattr(commands, "built", lambda job, path: template_of(job.config, path, *STEPS))


def run(*arguments: str) -> Result:
    """Run a command of tillstream k8s."""
    return CliRunner().invoke(app, ["k8s", *arguments])


def entries(client: str = "acme") -> list[Entry]:
    """Return all that the history says of a client."""
    return History(client).entries(None)


def given(tmp_path: Path, *steps: Step) -> tuple[str, ...]:
    """Return the options for a template with these steps."""
    return "--template", str(template_of(config_of("acme"), tmp_path / "new.jar", *steps))


def test_what_runs_already_is_left_alone(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """It is found by its digest, and keeps its generation; what else the chart has is applied, not noted."""
    cluster.has(launch_of(config_of("acme"), tmp_path, *STEPS))
    said = run("apply", "acme", "-f", values, *given(tmp_path, *STEPS))
    assert said.exit_code == 0, said.output
    assert said.stdout == f"acme: applied already, generation {GENERATION} in tillstream-acme\n"
    assert "acme: no change" in said.stderr
    (arguments,) = [asked for asked, _ in cluster.asked() if "apply" in asked]
    assert {"--server-side", "--validate=strict", "--field-manager=tillstream"} <= set(arguments)
    (manifests,) = cluster.applied()
    assert (manifests[0]["kind"], manifests[-1]["kind"]) == ("Namespace", "FlinkDeployment")
    assert manifests[-1]["metadata"]["annotations"]["tillstream.dev/generation"] == str(GENERATION)
    assert entries() == []


def test_a_first_launch_is_applied_and_noted(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Before and after: by whom, which template, and where; its template is kept."""
    cluster.answers({"get": ["", deployment()]}, apply=[""])
    said = run("apply", "acme", "-f", values, *given(tmp_path, *STEPS), "--json")
    assert said.exit_code == 0, said.output
    (told,) = json.loads(said.stdout)["clients"]
    assert (told["outcome"], told["plan"]["verdict"], told["job_id"]) == ("applied", "new", "ab")
    begun, done = entries()
    assert (begun.action, begun.outcome, done.outcome) == ("apply", "started", "done")
    assert (done.where, done.job_id, done.generation) == (WHERE, "ab", told["generation"])
    assert done.template is not None
    assert History("acme").jar(done.template).is_file()
    shown = CliRunner().invoke(app, ["history", "acme"]).stdout
    assert WHERE in shown
    assert "apply" in shown


def test_what_the_plan_refuses_is_not_applied(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Nothing is touched or noted; also a dry run says so. The reason has the way."""
    cluster.has(launch_of(config_of("acme"), tmp_path, *STEPS))
    for option in ("--accept-loss", "--dry-run"):
        said = run("apply", "acme", "-f", values, *given(tmp_path, READ, TRANSFORM), option)
        assert said.exit_code == 1
        assert said.stdout.startswith("acme: refused, stage WriteSinks: the checkpoint holds batches")
        assert "acme: refused" in said.stderr
    assert (cluster.applied(), entries()) == ([], [])


def test_state_is_let_go_only_where_that_is_accepted(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Flink is then allowed to, and goes on from a savepoint, from which alone it drops state."""
    cluster.has(launch_of(config_of("acme"), tmp_path, *STEPS, AGGREGATE))
    arguments = ("apply", "acme", "-f", values, *given(tmp_path, *STEPS), "--no-wait")
    said = run(*arguments)
    assert said.exit_code == 1
    assert "it would forget Aggregate/aggregate_head" in said.stdout
    assert cluster.applied() == []
    assert run(*arguments, "--accept-loss").exit_code == 0
    (manifests,) = cluster.applied()
    job = manifests[-1]["spec"]["job"]
    assert (job["upgradeMode"], job["allowNonRestoredState"]) == ("savepoint", True)
    assert "state would be forgotten in Aggregate" in (entries()[-1].reason or "")


def test_what_was_let_go_once_changes_nothing_later(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """The same again is the same; a launch without loss goes on from high availability, and allows none."""
    dropped = replace(launch_of(config_of("acme"), tmp_path, *STEPS), drops_state=True)
    cluster.has(dropped)
    assert run("apply", "acme", "-f", values, *given(tmp_path, *STEPS)).exit_code == 0
    assert cluster.applied()[-1][-1]["spec"]["job"]["allowNonRestoredState"] is True
    cluster.answers(
        {"get flinkdeployment": [live_of(dropped)[0]], "get configmap": [live_of(dropped)[1]]}, apply=[""]
    )
    said = run("apply", "acme", "-f", values, *given(tmp_path, *STEPS, AGGREGATE))
    assert said.exit_code == 0, said.output
    job = cluster.applied()[-1][-1]["spec"]["job"]
    assert (job["upgradeMode"], job["allowNonRestoredState"]) == ("last-state", False)


def test_a_dry_run_plans_too(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """The server checks it, and nothing is noted."""
    cluster.has(launch_of(config_of("acme"), tmp_path, *STEPS))
    said = run("apply", "acme", "-f", values, *given(tmp_path, *STEPS, AGGREGATE), "--dry-run")
    assert said.exit_code == 0, said.output
    assert said.stdout.startswith("acme: would be applied, generation ")
    assert "acme: restart with all state" in said.stderr
    assert "--dry-run=server" in cluster.asked()[-1][0]
    assert entries() == []


def test_what_does_not_become_stable_is_noted(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """In the operator's words."""
    failed = deployment("FAILED", "FAILED", status={"error": "no image"})
    cluster.answers({"get": ["", failed]}, apply=[""])
    said = run("apply", "acme", "-f", values, *given(tmp_path, *STEPS))
    assert said.exit_code == 1
    assert [each.outcome for each in entries()] == ["started", "failed"]
    assert "gave it up: no image" in (entries()[-1].reason or "")


@pytest.mark.usefixtures("built")
def test_one_that_is_refused_stops_no_other(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Of a group each is told of."""
    old = tmp_path / "old"
    old.mkdir()
    gone = launch_of(config_of("acme"), old, *STEPS, replace(WRITE, label="Release", taken="x"))
    cluster.has(gone, launch_of(config_of("globex"), old, *STEPS))
    folder = str(config_path("acme").parent)
    said = run("apply", "--all", "--folder", folder, "-f", values, "--json")
    assert said.exit_code == 1
    told = {each["client"]: each["outcome"] for each in json.loads(said.stdout)["clients"]}
    assert told == {"acme": "refused", "globex": "applied already"}
    assert "globex: no change" in said.stderr
    planned = run("plan", "acme", "globex", "-f", values)
    assert planned.exit_code == 30
    assert "acme: refused" in planned.stdout
    assert "globex: no change" in planned.stdout
    assert run("plan", "globex", "-f", values).exit_code == 0
    assert json.loads(run("plan", "acme", "--json").stdout)["verdict"] == "refused"


@pytest.mark.usefixtures("cluster")
def test_what_is_one_clients_is_for_no_group(tmp_path: Path) -> None:
    """A template, or a savepoint."""
    for option in (given(tmp_path), ("--savepoint", "s3://x")):
        said = run("apply", "acme", "globex", *option)
        assert "found several clients, expected one" in str(said.exception)


@pytest.mark.usefixtures("cluster", "built")
def test_clients_are_rendered_in_one_stream(values: str) -> None:
    """As kubectl reads it, in the order that was asked for; or a file each. One's error stops no other."""
    said = run("render", "globex", "acme", "-f", values, "--generation", "5")
    assert said.exit_code == 0, said.output
    found = list(yaml.safe_load_all(said.stdout))
    names = [each["metadata"]["name"] for each in found if each["kind"] == "FlinkDeployment"]
    assert names == ["globex", "acme"]
    job = run("render", "acme", "-f", values, "--accept-loss").stdout
    assert "allowNonRestoredState: true" in job
    folder = Path(values).parent / "out"
    said = run("render", "globex", "acme", "-f", values, "-o", str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["acme.yaml", "globex.yaml"]
    bad = Path(values).parent / "bad.yaml"
    bad.write_text("client: bad\n", encoding="utf-8")
    said = run("render", str(bad), "acme", "-f", values)
    assert said.exit_code == 1
    assert [each["kind"] for each in yaml.safe_load_all(said.stdout)][-1] == "FlinkDeployment"
    assert "error: bad: " in said.stderr


def test_savepoints_are_noted(cluster: Cluster) -> None:
    """Their paths are told, and written down with where they were taken; so is one that fails."""
    made = {"metadata": {"name": "acme-x1"}}
    done = {"status": {"state": "COMPLETED", "path": "s3://state/savepoint-1"}}
    live: dict[str, Any] = {"get flinkdeployment acme": [deployment()], "get flinkdeployment": [""]}
    cluster.answers(live, create=[made], get=[done])
    said = run("savepoint", "acme")
    assert said.stdout == "acme: taken, s3://state/savepoint-1\n"
    said = run("savepoint", "acme", "globex", "--json")
    assert said.exit_code == 1
    taken, missing = json.loads(said.stdout)["clients"]
    assert taken["savepoint"] == "s3://state/savepoint-1"
    assert "globex: found no FlinkDeployment" in missing["detail"]
    failed = {"status": {"state": "FAILED", "error": "no job"}}
    cluster.answers(live, create=[made], get=[failed])
    assert run("savepoint", "acme").exit_code == 1
    *_, good, bad = entries()
    assert (good.action, good.outcome, good.taken) == ("savepoint", "done", "s3://state/savepoint-1")
    assert (good.where, good.job_id, good.generation) == (WHERE, "ab", GENERATION)
    assert (bad.outcome, bad.taken) == ("failed", None)
    assert "no job" in (bad.reason or "")


def test_status_tells_who_is_ill(cluster: Cluster) -> None:
    """A line for each job and exit code 1 if one is not as it is wanted; JSON has it all.

    What Helm has brought is found too: it puts its own name into managed-by.
    """
    ill = deployment("FAILED", "FAILED", metadata={"name": "globex"})
    cluster.answers(get=[{"items": [ill, deployment()]}])
    said = run("status")
    assert said.exit_code == 1
    head, *rows = said.stdout.splitlines()
    assert head.split() == ["CLIENT", "NAMESPACE", "LIFECYCLE", "JOB", "JOB", "ID", "GENERATION", "ERROR"]
    assert [row.split()[:4] for row in rows] == [
        ["acme", "apps", "STABLE", "RUNNING"],
        ["globex", "apps", "FAILED", "FAILED"],
    ]
    assert "app.kubernetes.io/name=tillstream" in cluster.asked()[0][0]
    shown = json.loads(run("status", "--json").stdout)
    assert [(job["client"], job["healthy"]) for job in shown["jobs"]] == [("acme", True), ("globex", False)]
    cluster.answers(get=[{"items": [deployment()]}])
    assert run("status").exit_code == 0


def test_status_of_those_who_are_named(cluster: Cluster) -> None:
    """Who is not there is ill, and what to do is told."""
    cluster.answers({"get flinkdeployment acme": [deployment()], "get flinkdeployment": [""]})
    assert run("status", "acme").exit_code == 0
    assert cluster.asked()[-1][0][:5] == ["get", "flinkdeployment", "acme", "-n", "tillstream-acme"]
    said = run("status", "acme", "globex")
    assert said.exit_code == 1
    assert "found no FlinkDeployment, expected one: 'tillstream k8s apply globex'" in said.stdout


@pytest.mark.usefixtures("cluster")
def test_what_runs_on_kubernetes_is_no_launch_of_the_cluster_here(tmp_path: Path) -> None:
    """Neither its jar nor its savepoint is gone on from; the audit log has all of it, in one chain."""
    launch = launch_of(config_of("acme"), tmp_path)
    job = ClientJob(launch.config)
    job.history.append(Entry("launch", "done", job_id="j", generation=5, template="t"))
    begun = job.entry("apply", launch.template, launch.parameters(), where=WHERE)
    job.note(begun, "done", job_id="ab")
    job.history.append(Entry("savepoint", "done", taken="s3://x", where=WHERE))
    assert [each.action for each in job.history.entries()] == ["launch"]
    assert [each.action for each in job.history.entries(WHERE)] == ["apply", "savepoint"]
    assert len(entries()) == 3
