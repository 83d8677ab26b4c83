"""Waiting for what the operator does, its savepoints, and what kubectl says, against a stand-in for that."""

from __future__ import annotations

import json

import pytest

from tests.unit.runners.k8s.fake import Cluster, deployment
from tillstream.pipelines.errors import MissingToolError, TillstreamError, UnavailableError, UserError
from tillstream.runners.k8s import deploying
from tillstream.runners.k8s.kubectl import Kubectl


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
        (
            'E1122 03:50:11.123456 1 x.go:265] "Unhandled"\nThe connection to the server was refused',
            UnavailableError,
            "^kubectl get: The connection to the server was refused: check the context",
        ),
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
