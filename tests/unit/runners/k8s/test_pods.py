"""Pods may do little, and say how much they need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.runners.k8s.rendering import Manifests, config_of, kind, launch_of, pod, rendered

ROLES = ["jobManager", "taskManager"]


def _spec(manifests: Manifests) -> dict[str, Any]:
    (deployment,) = kind(manifests, "FlinkDeployment").values()
    found: dict[str, Any] = deployment["spec"]
    return found


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_fits_the_restricted_standard(role: str, manifests: Callable[[str], Manifests]) -> None:
    """Kubernetes' Pod Security Standards, restricted; and nothing of the image can be written."""
    found = pod(manifests("acme"), role)
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in found["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    writable = {each["name"]: each for each in found["volumes"] if "emptyDir" in each}
    assert {"tmp", "log"} == set(writable)
    assert all(each["emptyDir"]["sizeLimit"] for each in writable.values())


def test_what_runs_the_clients_code_may_only_look(manifests: Callable[[str], Manifests]) -> None:
    """Its account reads ConfigMaps, for high availability; the JobManager's writes them; neither more."""
    found = manifests("acme")
    rules = {name: role["rules"] for name, role in kind(found, "Role").items()}
    assert set(rules) == {"acme", "acme-worker"}
    for (rule,) in rules.values():
        assert (rule["apiGroups"], rule["resources"]) == ([""], ["configmaps"])
    assert rules["acme-worker"][0]["verbs"] == ["get", "list", "watch"]
    assert "*" not in rules["acme"][0]["verbs"]
    spec = _spec(found)
    assert spec["serviceAccount"] == "acme"
    assert spec["flinkConfiguration"]["kubernetes.taskmanager.service-account"] == "acme-worker"
    # Flink makes pods itself in native mode, for which its account would have to be allowed to.
    assert spec["mode"] == "standalone"
    accounts = kind(found, "ServiceAccount")
    assert {each["automountServiceAccountToken"] for each in accounts.values()} == {False}
    assert set(accounts) == set(rules)


def test_state_outlives_every_pod(manifests: Callable[[str], Manifests]) -> None:
    """High availability and checkpoints lie in the storage, each client's apart, and upgrades start there."""
    spec = _spec(manifests("acme"))
    settings = spec["flinkConfiguration"]
    assert settings["high-availability.type"] == "kubernetes"
    for name, folder in {
        "high-availability.storageDir": "ha",
        "state.checkpoints.dir": "checkpoints",
        "state.savepoints.dir": "savepoints",
    }.items():
        assert settings[name] == f"s3://state/flink/acme/{folder}"
    assert settings["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"
    assert (spec["job"]["upgradeMode"], spec["job"]["allowNonRestoredState"]) == ("last-state", False)


def test_what_would_break_exactly_once_is_off(manifests: Callable[[str], Manifests]) -> None:
    """A roll-back by the operator would start an older generation, its autoscaler another parallelism."""
    settings = _spec(manifests("acme"))["flinkConfiguration"]
    assert settings["kubernetes.operator.deployment.rollback.enabled"] == "false"
    assert settings["job.autoscaler.enabled"] == "false"


@pytest.mark.parametrize(("client", "python_mb"), [("acme", 2048), ("globex", 1024)])
def test_the_container_holds_java_and_python(
    client: str, python_mb: int, manifests: Callable[[str], Manifests]
) -> None:
    """A TaskManager's memory is its JVM's, plus its Python process's limit and what that is forked from."""
    spec = _spec(manifests(client))
    assert spec["taskManager"]["resource"]["memory"] == f"{1280 + 64 + 120 + python_mb}m"
    assert spec["flinkConfiguration"]["taskmanager.memory.task.off-heap.size"] == f"{120 + python_mb}m"


def test_the_container_holds_rocksdb_of_each_slot(tmp_path: Path) -> None:
    """Flink does not account for a size that is fixed for each slot; the backend is the config's alone."""
    config = config_of("acme")
    flink = config.flink.model_copy(update={"state_backend": "rocksdb", "rocksdb_memory_mb": 300})
    launch = launch_of(config.model_copy(update={"flink": flink}), tmp_path)
    spec = _spec(rendered(launch, taskManager={"slots": 3}))
    outside = 120 + 2048 + 3 * 300
    assert spec["taskManager"]["resource"]["memory"] == f"{1280 + 64 + outside}m"
    settings = spec["flinkConfiguration"]
    assert settings["taskmanager.memory.task.off-heap.size"] == f"{outside}m"
    assert not [name for name in settings if name.startswith("state.backend")]


def test_nothing_fills_the_log_folder(manifests: Callable[[str], Manifests]) -> None:
    """Log4j has one appender, the console; Flink's own file would outgrow the emptyDir and evict the pod."""
    text = _spec(manifests("acme"))["logConfiguration"]["log4j-console.properties"]
    settings = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    assert {value for name, value in settings.items() if name.startswith("rootLogger.appenderRef")} == {
        settings["appender.console.name"]
    }
    assert {name.split(".")[1] for name in settings if name.startswith("appender.")} == {"console"}
    assert settings["appender.console.type"] == "CONSOLE"


def test_a_clients_role_is_its_own(tmp_path: Path) -> None:
    """Of annotations by client each gets its own, so that no client's code has another one's role."""
    roles = {"annotations": {"acme": {"role": "a"}, "globex": {"role": "g"}}}
    for client in ("acme", "globex"):
        found = kind(rendered(launch_of(config_of(client), tmp_path), serviceAccount=roles), "ServiceAccount")
        assert {each["metadata"]["annotations"]["role"] for each in found.values()} == {client[0]}
    found = kind(rendered(launch_of(config_of("acme"), tmp_path)), "ServiceAccount")
    assert not any("annotations" in each["metadata"] for each in found.values())


@pytest.mark.parametrize("role", ROLES)
def test_a_claim_shows_a_client_its_own_folder(role: str, tmp_path: Path) -> None:
    """Only that is mounted, where its checkpoints lie; what others keep in the claim stays unseen."""
    storage = {"dir": "file:///flink-data/", "claim": "state"}
    found = rendered(launch_of(config_of("globex"), tmp_path), storage=storage)
    mounts = {each["name"]: each for each in pod(found, role)["containers"][0]["volumeMounts"]}
    assert mounts["storage"] == {"name": "storage", "mountPath": "/flink-data/globex", "subPath": "globex"}
    settings = _spec(found)["flinkConfiguration"]
    assert settings["state.checkpoints.dir"] == "file:///flink-data/globex/checkpoints"
    if role == "taskManager":
        assert mounts["sink-archive"]["subPath"] == "globex/archive"


def test_evictions_and_failures_take_few_at_once(manifests: Callable[[str], Manifests]) -> None:
    """One pod of a kind may be evicted at a time, and TaskManagers are spread over zones and nodes."""
    found = manifests("acme")
    budgets = kind(found, "PodDisruptionBudget")
    assert {each["spec"]["maxUnavailable"] for each in budgets.values()} == {1}
    selectors = [each["spec"]["selector"]["matchLabels"] for each in budgets.values()]
    assert [each["component"] for each in selectors] == ["jobmanager", "taskmanager"]
    spread = pod(found, "taskManager")["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert {each["labelSelector"]["matchLabels"]["component"] for each in spread} == {"taskmanager"}


@pytest.mark.parametrize("role", ROLES)
def test_the_job_is_a_file_of_the_pod(role: str, manifests: Callable[[str], Manifests]) -> None:
    """The jar is mounted out of an immutable ConfigMap, named by content, where jarURI says."""
    found = manifests("acme")
    (held,) = kind(found, "ConfigMap").values()
    assert held["immutable"] is True
    container, volumes = pod(found, role)["containers"][0], pod(found, role)["volumes"]
    (mount,) = [
        each for each in container["volumeMounts"] if each["name"] == "job" and each["subPath"] == "job.jar"
    ]
    assert _spec(found)["job"]["jarURI"] == f"local://{mount['mountPath']}"
    (volume,) = [each for each in volumes if each["name"] == "job"]
    assert volume["configMap"]["name"] == held["metadata"]["name"]
