"""What applying would do is judged by what is live: its jar, its checkpoint and its FlinkDeployment."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.runners.k8s.fake import Cluster, deployment, live_of
from tests.unit.runners.k8s.rendering import (
    AGGREGATE,
    CLUSTER,
    GENERATION,
    READ,
    TRANSFORM,
    WRITE,
    Step,
    config_of,
    launch_of,
    rendered,
)
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.planned import Plan
from tillstream.runners.k8s.kubectl import Kubectl
from tillstream.runners.k8s.launching import ClusterLaunch
from tillstream.runners.k8s.planning import plan_of, where_of

RECORDED = Path(__file__).parents[1] / "flink" / "recorded" / "checkpoint.zip"
STEPS = (READ, TRANSFORM, WRITE)
MOVED = {"TILLSTREAM_WAREHOUSE_PORT": "6432"}


def launch(tmp_path: Path, name: str, *steps: Step, **environment: str) -> ClusterLaunch:
    """Return a launch of client acme, whose addresses may be others."""
    folder = tmp_path / name
    folder.mkdir()
    return launch_of(config_of("acme", **environment), folder, *steps)


def plan(
    cluster: Cluster, new: ClusterLaunch, live: ClusterLaunch, *, values: Any = None, **changes: Any
) -> Plan:
    """Return the plan of a launch where another one is live, on a cluster with these values."""
    cluster.has(live, **changes)
    history = History("acme")
    deployed = live_of(live, **changes)[0]
    wanted = None if values is None else rendered(new, **values)[-1]
    return plan_of(new, deployed, Kubectl("prod"), history, wanted)


@pytest.fixture
def checkpoints(tmp_path: Path) -> dict[str, Any]:
    """Return what puts a job's checkpoints into this machine's files, with a recorded one."""
    with zipfile.ZipFile(RECORDED) as recorded:
        recorded.extractall(tmp_path / "state" / "ab" / "chk-7")
    (tmp_path / "state" / "ab" / "chk-8").mkdir()
    return {"spec": {"flinkConfiguration": {"state.checkpoints.dir": (tmp_path / "state").as_uri()}}}


@pytest.mark.usefixtures("cluster")
def test_nothing_there_is_a_launch(tmp_path: Path) -> None:
    """Nobody applied it before: nothing is asked for."""
    found = plan_of(launch(tmp_path, "new"), None, Kubectl(), History("acme"))
    assert (found.verdict, found.exit_code) == ("new", 10)


def test_what_runs_already_changes_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Its state need not be looked into; also where it is paused and stays so."""
    new = launch(tmp_path, "new", *STEPS)
    found = plan(cluster, new.at(5), new, values={})
    assert (found.verdict, found.job_id, found.notes) == ("no_change", "ab", ())
    paused = replace(new, suspended=True)
    assert plan(cluster, paused.at(5), paused, values={}).verdict == "no_change"


def test_going_on_and_pausing_are_told(cluster: Cluster, tmp_path: Path) -> None:
    """A paused job is launched from its state; a running one keeps it."""
    new = launch(tmp_path, "new", *STEPS)
    found = plan(cluster, new, replace(new, suspended=True), values={})
    assert (found.verdict, found.job_id) == ("restore", None)
    found = plan(cluster, replace(new, suspended=True), new, values={})
    assert found.verdict == "restart"
    assert [each.line() for each in found.changes] == [
        "~ /job/state: running -> suspended   (state and position are kept)"
    ]


def test_the_live_jar_is_compared(cluster: Cluster, tmp_path: Path) -> None:
    """By its config as it was launched, and its stages; what could not be read is said plainly."""
    found = plan(cluster, launch(tmp_path, "new", *STEPS, **MOVED), launch(tmp_path, "old", *STEPS))
    assert found.verdict == "restart"
    assert [each.name for each in found.changes] == ["/sinks/warehouse/port"]
    assert any(note.startswith("the checkpoint was not read: s3://state/flink/acme") for note in found.notes)
    assert any("were not compared: name them by --values" in note for note in found.notes)


def test_a_stage_that_goes_is_a_loss(cluster: Cluster, tmp_path: Path) -> None:
    """What the jars declare tells, where no checkpoint does; Flink drops it from a savepoint alone."""
    old, new = launch(tmp_path, "old", *STEPS, AGGREGATE), launch(tmp_path, "new", *STEPS)
    found = plan(cluster, new, old)
    assert (found.verdict, found.drops_state) == ("restore_without", True)
    assert {each.state for each in found.lost} == {"aggregate_head", "aggregate_log"}
    assert "would go on from a savepoint" in found.notes[-1]
    paused = plan(cluster, new, replace(old, suspended=True))
    assert paused.verdict == "refused"
    assert "apply what is live without --suspended first" in paused.reasons[-1]


@pytest.mark.parametrize(
    ("steps", "verdict", "said"),
    [
        (STEPS, "restart", "/sinks/warehouse/port"),
        ((READ, TRANSFORM), "refused", "batches that no sink has taken yet"),
        (
            (READ, TRANSFORM, replace(WRITE, taken="14CollectBatches.None")),
            "refused",
            "would be looked for under another id",
        ),
    ],
)
def test_the_newest_checkpoint_is_looked_into(
    steps: tuple[Step, ...],
    verdict: str,
    said: str,
    *,
    cluster: Cluster,
    tmp_path: Path,
    checkpoints: dict[str, Any],
) -> None:
    """Where its files are here: what it holds must be found under the id that it has."""
    old, new = launch(tmp_path, "old", *STEPS), launch(tmp_path, "new", *steps, **MOVED)
    found = plan(cluster, new, old, **checkpoints)
    assert found.verdict == verdict
    assert said in "".join(found.reasons)
    assert found.checkpoint == f"{tmp_path}/state/ab/chk-7"
    assert not [note for note in found.notes if "was not read" in note]


@pytest.mark.usefixtures("checkpoints")
def test_a_savepoint_takes_the_place_of_the_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    """It is what is looked into; the same job from it is a launch of its own."""
    new = launch(tmp_path, "new", *STEPS)
    path = f"{tmp_path}/state/ab/chk-7"
    found = plan(cluster, replace(new, savepoint=path), new, values={})
    assert (found.verdict, found.checkpoint) == ("restore", path)
    assert found.changes[0].line().startswith(f"+ /job/initialSavepointPath: {path}")
    other = launch(tmp_path, "other", READ, TRANSFORM)
    assert plan(cluster, replace(other, savepoint=path), new).verdict == "refused"
    found = plan(cluster, replace(new, savepoint="file:/nowhere"), new)
    assert (found.verdict, found.checkpoint) == ("restore", "file:/nowhere")
    assert any("the checkpoint was not read: /nowhere" in note for note in found.notes)


def test_the_deployment_is_compared(cluster: Cluster, tmp_path: Path) -> None:
    """What restarts the job is told, what only the operator reads takes nothing; environments are secret."""
    new = launch(tmp_path, "new", *STEPS)
    image = CLUSTER["image"][:-1] + "b"
    values = {
        "image": image,
        "taskManager": {"env": [{"name": "TOKEN", "value": "much"}]},
        "flinkConfiguration": {
            "kubernetes.operator.job.upgrade.ignore-pending-savepoint": "true",
            "s3.secret-key": "much",
        },
    }
    found = plan(cluster, new, new, values=values)
    assert found.verdict == "restart"
    effects = {each.name: each.effect for each in found.changes}
    assert effects["/image"] == "restart"
    assert effects["/flinkConfiguration/kubernetes.operator.job.upgrade.ignore-pending-savepoint"] == "none"
    assert effects["/flinkConfiguration/s3.secret-key"] == "restart"
    assert "much" not in "\n".join(found.lines(detail=True))
    assert f"~ /image: {CLUSTER['image']} -> {image}" in "\n".join(found.lines())


def test_what_nothing_is_known_of_is_refused(
    cluster: Cluster, tmp_path: Path, checkpoints: dict[str, Any]
) -> None:
    """Neither jar nor checkpoint: nobody could tell what would be lost. The checkpoint alone is enough."""
    old, new = launch(tmp_path, "old", *STEPS), launch(tmp_path, "new", *STEPS, **MOVED)
    cluster.answers(get=[""])
    found = plan_of(new, live_of(old)[0], Kubectl(), History("acme"))
    assert found.verdict == "refused"
    assert "put the ConfigMap back, or --savepoint PATH" in found.reasons[0]
    assert "configmap acme-job-" in found.reasons[0]
    found = plan_of(new, live_of(old, **checkpoints)[0], Kubectl(), History("acme"))
    assert found.verdict == "restore"
    assert any("configmap acme-job-" in note for note in found.notes)
    spoiled = {"metadata": {"name": "x"}, "binaryData": {"job.jar": "bm8gamFy"}}
    cluster.answers(get=[spoiled])
    found = plan_of(new, live_of(old)[0], Kubectl(), History("acme"))
    assert "expected a jar that tillstream has launched" in found.reasons[0]


@pytest.mark.usefixtures("checkpoints")
def test_what_was_deleted_is_known_by_the_history(cluster: Cluster, tmp_path: Path) -> None:
    """A savepoint is left: it is compared with what was applied last at this place, and at no other."""
    cluster.answers(get=[""])
    kubectl, path = Kubectl(), f"{tmp_path}/state/ab/chk-7"
    old = launch(tmp_path, "old", *STEPS)
    new = replace(launch(tmp_path, "new", *STEPS, **MOVED), savepoint=path)
    job = ClientJob(old.config)
    entry = job.entry("apply", old.template, old.parameters(), where=where_of(kubectl, "tillstream-acme"))
    job.note(entry, "done", job_id="ab")
    found = plan_of(new, None, kubectl, job.history)
    assert (found.verdict, found.job_id) == ("restore", None)
    assert "/sinks/warehouse/port" in [each.name for each in found.changes]
    other = plan_of(replace(new, namespace="other"), None, kubectl, job.history)
    assert "/sinks/warehouse/port" not in [each.name for each in other.changes]


def test_another_jar_restarts_the_job(cluster: Cluster, tmp_path: Path) -> None:
    """Also where nothing that differs would matter to a job: it is a launch of its own here."""
    new = launch(tmp_path, "new", *STEPS)
    config = new.config.model_copy(update={"labels": {"tier": "silver"}})
    found = plan(cluster, launch_of(config, tmp_path, *STEPS), new, values={})
    assert (found.verdict, found.reasons) == ("restart", ("of /job/jar",))
    assert [each.effect for each in found.changes] == ["none", "restart"]


def test_a_job_that_is_not_well_is_told_of(cluster: Cluster, tmp_path: Path) -> None:
    """What was applied last may not be what made the checkpoint."""
    old, new = launch(tmp_path, "old", *STEPS), launch(tmp_path, "new", *STEPS, **MOVED)
    ill = msgspec.to_builtins(deployment("FAILED", "FAILED", status={"error": "no image"})["status"])
    found = plan(cluster, new, old, status=ill)
    assert "what was applied last is not as it is wanted: FAILED, job FAILED, no image" in found.notes
    assert old.generation == GENERATION
