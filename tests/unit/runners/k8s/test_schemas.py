"""What is rendered is what the operator and Kubernetes know, field by field."""

from __future__ import annotations

import copy
import functools
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.runners.k8s.rendering import CLUSTER, Manifests, config_of, kind, launch_of, rendered
from tillstream.runners.k8s import chart
from tillstream.runners.k8s.deploying import snapshot_of

SCHEMAS = Path(__file__).with_name("schemas")
CLIENTS = ["acme", "globex"]


@functools.cache
def _read(name: str) -> Any:
    return json.loads(gzip.decompress((SCHEMAS / f"{name}.json.gz").read_bytes()))


def _strict(schema: Any) -> Any:
    """Return a structural schema in which unknown fields are errors, as to a strict API server."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


@functools.cache
def _custom(plural: str) -> Any:
    (version,) = _read(plural)["spec"]["versions"]
    schema = _strict(version["schema"]["openAPIV3Schema"])
    whole = {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {"type": "string"}}
    schema["properties"] |= whole | {"metadata": {"type": "object"}}
    return schema


def _native(kind: str) -> dict[str, Any]:
    known = _read("kubernetes")
    return {"$ref": f"#/definitions/{known['kinds'][kind]}", "definitions": known["definitions"]}


def problems(manifest: dict[str, Any]) -> list[str]:
    """Return what is wrong with a manifest."""
    plurals = {"FlinkDeployment": "flinkdeployments", "FlinkStateSnapshot": "flinkstatesnapshots"}
    plural = plurals.get(manifest["kind"])
    schema = _native(manifest["kind"]) if plural is None else _custom(plural)
    checks = [(schema, manifest)]
    if plural == "flinkdeployments":
        checks += [
            (_native("PodTemplateSpec"), manifest["spec"][role]["podTemplate"])
            for role in ("jobManager", "taskManager")
        ]
    return [
        f"{'/'.join(map(str, error.path))}: {error.message[:200]}"
        for schema, value in checks
        for error in jsonschema.Draft7Validator(schema).iter_errors(value)
    ]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_manifest_fits_its_schema(client: str, manifests: Callable[[str], Manifests]) -> None:
    """No field is unknown, none of the wrong type."""
    for each in manifests(client):
        assert problems(each) == [], each["kind"]


@pytest.mark.parametrize(
    "path",
    [
        ("spec", "job", "upgradeMod"),
        ("spec", "jobManager", "resource", "memori"),
        ("spec", "taskManager", "podTemplate", "spec", "automountServiceAccountTokn"),
        ("spec", "taskManager", "podTemplate", "spec", "securityContext", "runAsNonRot"),
    ],
)
def test_a_misspelt_field_is_found(path: tuple[str, ...], manifests: Callable[[str], Manifests]) -> None:
    """The check can fail, at any depth."""
    deployment = copy.deepcopy(kind(manifests("acme"), "FlinkDeployment")["acme"])
    inner = deployment
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = "x"
    assert any(path[-1] in each for each in problems(deployment))


def test_every_value_leads_to_what_fits(tmp_path: Path) -> None:
    """With all that can be asked for asked for, the schemas still hold."""
    pods = {
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    }
    where = {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [443]}
    values: dict[str, Any] = {
        "imagePullSecrets": [{"name": "pull"}],
        "labels": {"team": "data"},
        "storage": {"dir": "file:///flink-data", "claim": "state"},
        "jobManager": {**pods, "replicas": 2},
        "taskManager": {**pods, "slots": 2},
        "serviceAccount": {"annotations": {"globex": {"iam": "writer"}}},
        "secret": {"name": "globex"},
        "priorityClassName": "high",
        "network": {
            "apiServer": CLUSTER["network"]["apiServer"],
            "monitoring": {"namespace": "monitoring"},
            "peers": {"bootstrap.kafka.svc": where},
            "storage": [where],
        },
        "flinkConfiguration": {"state.checkpoints.num-retained": "5"},
    }
    launch = launch_of(config_of("globex"), tmp_path)
    found = rendered(launch, **values)
    assert [problem for each in found for problem in problems(each)] == []
    settings = kind(found, "FlinkDeployment")["globex"]["spec"]["flinkConfiguration"]
    assert settings["state.checkpoints.num-retained"] == "5"
    accounts = kind(found, "ServiceAccount").values()
    assert [each["metadata"]["annotations"] for each in accounts] == [{"iam": "writer"}] * 2
    assert settings["state.checkpoints.dir"] == "file:///flink-data/globex/checkpoints"


def test_the_pages_example_renders(tmp_path: Path) -> None:
    """cluster.yaml of docs/kubernetes.md gives the client its role, and Kafka's pods alone to reach."""
    page = (Path(__file__).parents[4] / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    values = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    found = chart.render(
        chart.merged(values, launch_of(config_of("acme"), tmp_path).values()), name="acme", namespace="apps"
    )
    assert [problem for each in found for problem in problems(each)] == []
    accounts = kind(found, "ServiceAccount").values()
    assert {each["metadata"]["annotations"]["eks.amazonaws.com/role-arn"][-5:] for each in accounts} == {
        "-acme"
    }
    (rule,) = kind(found, "NetworkPolicy")["acme-to-source-kafka"]["spec"]["egress"]
    assert [each["podSelector"]["matchLabels"] for each in rule["to"]] == [{"app": "kafka"}]


def test_a_savepoint_is_asked_for_by_a_snapshot_that_fits() -> None:
    """The operator's FlinkStateSnapshot names the deployment."""
    snapshot = snapshot_of("acme", "tillstream-acme")
    assert problems(snapshot) == []
    assert snapshot["spec"]["jobReference"] == {"kind": "FlinkDeployment", "name": "acme"}
    snapshot["spec"]["savepoint"]["formatTyp"] = "NATIVE"
    assert problems(snapshot)
