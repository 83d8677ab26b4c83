"""Applying, waiting, status and savepoints, against a kubectl that answers what a test says."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.runners.k8s.rendering import CLUSTER, GENERATION, IN_CLUSTER, config_of, launch_of
from tillstream.cli import app
from tillstream.pipelines.errors import MissingToolError, TillstreamError, UnavailableError, UserError
from tillstream.runners.k8s import chart, deploying
from tillstream.runners.k8s.kubectl import Kubectl

# Notes what it is asked, and answers with the next of the answers to that verb; the last one stays.
_PROGRAM = """#!{python}
import json, sys
from pathlib import Path
here = Path(__file__).parent
arguments = [each for each in sys.argv[1:]]
if arguments[0] == "--context":
    arguments = arguments[2:]
with (here / "asked.jsonl").open("a") as log:
    log.write(json.dumps([sys.argv[1:], sys.stdin.read()]) + "\\n")
answers = json.loads((here / "answers.json").read_text())
mine = answers[arguments[0]]
answer = mine.pop(0) if len(mine) > 1 else mine[0]
(here / "answers.json").write_text(json.dumps(answers))
if isinstance(answer, dict) and "refused" in answer:
    sys.stderr.write(answer["refused"])
    sys.exit(1)
sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))
"""


class Cluster:
    """Be what kubectl talks to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(self, **verbs: Any) -> None:
        """Say what it answers, a list for each verb."""
        (self.folder / "answers.json").write_text(json.dumps(verbs), encoding="utf-8")

    def asked(self) -> list[tuple[list[str], str]]:
        """Return arguments and standard input of each call."""
        lines = (self.folder / "asked.jsonl").read_text(encoding="utf-8").splitlines()
        return [(each[0], each[1]) for each in map(json.loads, lines)]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a cluster that is the only kubectl, and is not waited for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(deploying, "_POLL_S", 0)
    return Cluster(folder)


def deployment(lifecycle: str = "STABLE", job: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    """Return a FlinkDeployment as the operator leaves it."""
    status = {
        "lifecycleState": lifecycle,
        "observedGeneration": 2,
        "jobStatus": {"state": job, "jobId": "ab"},
    }
    annotations = {"tillstream.dev/job": "d-18", "tillstream.dev/generation": str(GENERATION)}
    metadata = {"name": "acme", "namespace": "apps", "generation": 2, "annotations": annotations}
    found = {"metadata": metadata, "spec": {"image": "i", "job": {"parallelism": 2}}, "status": status}
    return chart.merged(found, changes)


def test_all_that_is_wanted_is_healthy() -> None:
    """Seen by the operator, stable, running, without an error; or suspended where that is wanted."""
    healthy = [
        deployment(),
        deployment("SUSPENDED", "FINISHED", spec={"job": {"state": "suspended"}}),
    ]
    ill = [
        deployment("DEPLOYED"),
        deployment(job="RESTARTING"),
        deployment(metadata={"generation": 3}),
        deployment(status={"error": "no image"}),
        deployment(spec={"job": {"state": "suspended"}}),
        deployment(status=None),
    ]
    assert [deploying.state_of(each).healthy for each in healthy] == [True, True]
    assert [deploying.state_of(each).healthy for each in ill] == [False] * len(ill)


def test_waiting_shows_each_change_and_ends_with_health(cluster: Cluster) -> None:
    """Nothing yet, then deployed, then stable: two changes."""
    cluster.answers(get=["", deployment("DEPLOYED"), deployment("DEPLOYED"), deployment()])
    states = list(deploying.wait_for(Kubectl(), "acme", "apps", 30))
    assert [state.lifecycle for state in states] == ["DEPLOYED", "STABLE"]


def test_what_the_operator_gives_up_is_an_error(cluster: Cluster) -> None:
    """In its words; and what takes too long is told with the command that shows why."""
    cluster.answers(get=[deployment("FAILED", status={"error": "image cannot be pulled"})])
    with pytest.raises(TillstreamError, match="gave it up: image cannot be pulled"):
        list(deploying.wait_for(Kubectl(), "acme", "apps", 30))
    cluster.answers(get=[deployment("UPGRADING")])
    with pytest.raises(UnavailableError, match="describe flinkdeployment acme"):
        list(deploying.wait_for(Kubectl(), "acme", "apps", 0))


@pytest.mark.parametrize(
    ("said", "error", "hint"),
    [
        ("The connection to the server was refused", UnavailableError, "check the context"),
        (
            'the server doesn\'t have a resource type "flinkdeployments"',
            UserError,
            "Flink Kubernetes Operator 1.15",
        ),
        ("forbidden: User cannot list", UserError, "forbidden"),
    ],
)
def test_what_kubectl_says_is_passed_on(
    said: str, error: type[TillstreamError], hint: str, cluster: Cluster
) -> None:
    """With what to do where that is known."""
    cluster.answers(get=[{"refused": said}])
    with pytest.raises(error, match=hint):
        Kubectl().deployments()


def test_without_kubectl_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match="found no kubectl"):
        Kubectl()


def test_a_savepoint_is_awaited(cluster: Cluster) -> None:
    """The snapshot's own name is asked for until it is done; one that fails is an error."""
    made = {"metadata": {"name": "acme-x1"}}
    done = {"status": {"state": "COMPLETED", "path": "s3://state/savepoint-1"}}
    cluster.answers(create=[made], get=[{}, {"status": {"state": "IN_PROGRESS"}}, done])
    assert deploying.savepoint(Kubectl("prod"), "acme", "apps", 30) == "s3://state/savepoint-1"
    created, *looked = cluster.asked()
    assert json.loads(created[1]) == deploying.snapshot_of("acme", "apps")
    assert created[0][:2] == ["--context", "prod"]
    assert {each[0][4] for each in looked} == {"acme-x1"}
    cluster.answers(create=[made], get=[{"status": {"state": "FAILED", "error": "no job"}}])
    with pytest.raises(TillstreamError, match="acme-x1 FAILED: no job"):
        deploying.savepoint(Kubectl(), "acme", "apps", 30)


def _apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Any:
    for name, value in IN_CLUSTER.items():
        monkeypatch.setenv(name, value)
    values = tmp_path / "values.yaml"
    values.write_text(chart.yaml.safe_dump(CLUSTER), encoding="utf-8")
    template = launch_of(config_of("acme"), tmp_path).template
    arguments = ["k8s", "apply", "acme", "--template", str(template), "-f", str(values), *options]
    return CliRunner().invoke(app, arguments)


def test_applying_what_runs_already_changes_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launch that runs is found by its digest, and its generation kept; another one gets its own."""
    launch = launch_of(config_of("acme"), tmp_path)
    running = deployment(metadata={"annotations": {"tillstream.dev/job": f"{launch.digest()}-18"}})
    cluster.answers(get=[running], apply=["flinkdeployment/acme serverside-applied\n"])
    answer = _apply(tmp_path, monkeypatch)
    assert answer.exit_code == 0, answer.output
    assert f"acme: generation {GENERATION} is applied in tillstream-acme" in answer.stdout
    (applied,) = [each for each in cluster.asked() if each[0][0] == "apply"]
    assert {"--server-side", "--validate=strict", "--field-manager=tillstream"} <= set(applied[0])
    kinds = [each["kind"] for each in chart.yaml.safe_load_all(applied[1])]
    assert (kinds[0], kinds[-1]) == ("Namespace", "FlinkDeployment")
    cluster.answers(get=[deployment()], apply=[""])
    assert f"generation {GENERATION} is" not in _apply(tmp_path, monkeypatch, "--dry-run").stdout
    assert "--dry-run=server" in cluster.asked()[-1][0]


def test_status_tells_who_is_ill(cluster: Cluster) -> None:
    """A line for each job and exit code 1 if one is not as it is wanted; JSON has it all.

    What Helm has brought is found too: it puts its own name into managed-by.
    """
    cluster.answers(
        get=[{"items": [deployment(), deployment("FAILED", "FAILED", metadata={"name": "globex"})]}]
    )
    answer = CliRunner().invoke(app, ["k8s", "status"])
    assert answer.exit_code == 1
    assert "globex" in answer.stdout
    assert "app.kubernetes.io/name=tillstream" in cluster.asked()[0][0]
    shown = json.loads(CliRunner().invoke(app, ["k8s", "status", "--json"]).stdout)
    assert [(job["client"], job["healthy"]) for job in shown["jobs"]] == [("acme", True), ("globex", False)]
    cluster.answers(get=[{"items": [deployment()]}])
    assert CliRunner().invoke(app, ["k8s", "status"]).exit_code == 0
