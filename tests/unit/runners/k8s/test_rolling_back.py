"""An earlier version is applied again, once; a client that was deleted does not silently start anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tests.unit.runners.k8s.fake import Cluster
from tests.unit.runners.k8s.rendering import (
    AGGREGATE,
    GENERATION,
    READ,
    TRANSFORM,
    WRITE,
    Step,
    config_of,
    template_of,
)
from tillstream.cli import app
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.k8s.launching import ClusterLaunch

STEPS = (READ, TRANSFORM, WRITE)
NEWER = (*STEPS, AGGREGATE)
WHERE = "kubernetes:prod/tillstream-acme"


def applied(folder: Path, number: int, *steps: Step) -> ClusterLaunch:
    """Note that a version was applied, and return its launch."""
    config = config_of("acme")
    template = template_of(config, folder / f"{number}.jar", *steps)
    found = ClusterLaunch(config, template, GENERATION + number, "tillstream-acme")
    job = ClientJob(config)
    entry = job.history.append(job.entry("apply", template, found.parameters(), where=WHERE))
    job.note(entry, "done", job_id="ab")
    return found


def run(*arguments: str) -> Result:
    """Run a command of tillstream k8s."""
    return CliRunner().invoke(app, ["k8s", *arguments])


def told(values: str, *options: str) -> dict[str, Any]:
    """Return what rolling acme back says."""
    said = run("rollback", "acme", "-f", values, "--json", *options)
    assert said.exit_code == 0, said.output
    (found,) = json.loads(said.stdout)["clients"]
    return dict(found)


def last() -> Entry:
    """Return what the history says last."""
    return History("acme").entries(None)[-1]


def test_the_version_before_is_applied_again(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """With its own jar, as a launch of its own, from the newest checkpoint; it is planned, and noted."""
    applied(tmp_path, 1, *STEPS)
    older = last().template
    cluster.has(applied(tmp_path, 2, *NEWER))
    refused = run("rollback", "acme", "-f", values)
    assert refused.exit_code == 1
    assert "it would forget Aggregate/aggregate_head" in refused.stdout
    assert cluster.applied() == []
    found = told(values, "--accept-loss")
    assert (found["outcome"], found["plan"]["verdict"]) == ("rolled back", "restore_without")
    assert found["generation"] > GENERATION + 2
    assert (last().action, last().outcome, last().template, last().where) == (
        "rollback",
        "done",
        older,
        WHERE,
    )
    annotations = cluster.applied()[-1][-1]["metadata"]["annotations"]
    assert annotations["tillstream.dev/generation"] == str(found["generation"])


def test_a_roll_back_that_was_done_is_not_done_again(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Whoever asks again; a generation leads to another one all the same."""
    applied(tmp_path, 1, *STEPS)
    second = applied(tmp_path, 2, *NEWER)
    cluster.has(second)
    back = told(values, "--accept-loss")["generation"]
    template = History("acme").jar(last().template or "")
    cluster.has(ClusterLaunch(config_of("acme"), template, back, "tillstream-acme"))
    count = len(cluster.applied())
    for options in ((), ("--to", str(back))):
        assert told(values, *options)["outcome"] == "rolled back already"
    assert len(cluster.applied()) == count
    assert told(values, "--to", str(second.generation))["outcome"] == "rolled back"
    assert len(cluster.applied()) == count + 1


def test_what_others_have_applied_is_not_rolled_back(cluster: Cluster, tmp_path: Path, values: str) -> None:
    """Of that the history knows no version before."""
    applied(tmp_path, 1, *STEPS)
    config = config_of("acme")
    template = template_of(config, tmp_path / "new.jar", *NEWER)
    cluster.has(ClusterLaunch(config, template, GENERATION + 9, "tillstream-acme"))
    said = run("rollback", "acme", "-f", values)
    assert f"found no launch {GENERATION + 9}, which is live," in str(said.exception)
    cluster.answers(get=[""])
    assert "found no FlinkDeployment on the cluster" in str(run("rollback", "acme").exception)


def test_a_client_that_was_deleted_starts_from_nothing_only_where_that_is_said(
    cluster: Cluster, tmp_path: Path, values: str
) -> None:
    """Its state may still be there, and `start: latest` would skip all that has come since."""
    launch = applied(tmp_path, 1, *STEPS)
    cluster.answers(get=[""], apply=[""])
    template = ("--template", str(launch.template))
    said = run("plan", "acme", *template)
    assert said.exit_code == 30
    assert "was deleted" in said.stdout
    refused = run("apply", "acme", "-f", values, *template)
    assert (refused.exit_code, cluster.applied()) == (1, [])
    assert run("apply", "acme", "-f", values, *template, "--fresh", "--no-wait").exit_code == 0
    assert len(cluster.applied()) == 1
    both = run("apply", "acme", *template, "--fresh", "--savepoint", "s3://x")
    assert "--fresh beside --savepoint" in str(both.exception)
