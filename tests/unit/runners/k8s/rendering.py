"""Render the shipped clients, and find things in what comes out."""

from __future__ import annotations

import functools
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tillstream.configs import ClientConfig
from tillstream.configs.cli import check
from tillstream.runners.clients import config_path
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
from tillstream.runners.jobs.encodings import ENCODINGS
from tillstream.runners.jobs.manifest import Manifest
from tillstream.runners.k8s import chart
from tillstream.runners.k8s.launching import ClusterLaunch
from tillstream.runners.k8s.names import namespace_of, resource_of
from tillstream.transforms.lint.uids import Uids

GENERATION = 1_700_000_000_000
IN_CLUSTER = {
    "TILLSTREAM_KAFKA": "bootstrap.kafka.svc:9092",
    "TILLSTREAM_WAREHOUSE_HOST": "db.sales.svc.cluster.local",
    "TILLSTREAM_WAREHOUSE_PORT": "5432",
    "TILLSTREAM_SECRETS_DIR": "/run/secrets",
    # No stack of this machine tells its addresses.
    "TILLSTREAM_DIR": "/nowhere",
}
CLUSTER: dict[str, Any] = {
    "image": "registry.example/tillstream@sha256:" + 64 * "a",
    "storage": {"dir": "s3://state/flink"},
    "network": {"apiServer": {"cidrs": ["10.96.0.1/32"]}},
    "claims": {"archive": "globex-archive"},
}
Manifests = list[dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """Be a step that keeps state.

    Attributes:
        label: of it.
        taken: name of its input.
        states: that it keeps.
    """

    label: str
    taken: str
    states: tuple[str, ...]


# Of a client with one entity and one sink, as in tests/unit/runners/flink/recorded/checkpoint.zip.
READ = Step("ReadChanges/ParDo(ReadChanges)", "5Ticks.None", ("offset",))
TRANSFORM = Step(
    "TransformChanges/ParDo(TransformChanges)",
    "30ReadChanges/ParDo(ReadChanges).None",
    ("client_head", "client_log", "held_head", "held_log", "shard_head", "shard_log"),
)
AGGREGATE = Step(
    "Aggregate/ParDo(AggregateChanges)",
    "40TransformChanges/ParDo(TransformChanges).aggregate",
    ("aggregate_head", "aggregate_log"),
)
WRITE = Step("WriteSinks", "40TransformChanges/ParDo(TransformChanges).None", ("keyed",))


@functools.cache
def config_of(client: str, **environment: str) -> ClientConfig:
    """Return a shipped config as a cluster wants it, completed and checked as commands have it."""
    with mock.patch.dict(os.environ, {**IN_CLUSTER, **environment}):
        return check(config_path(client))


def template_of(config: ClientConfig, path: Path, *steps: Step) -> Path:
    """Write a template with one environment, and with steps that keep state, by default without any."""
    states = {each.label: each.states for each in steps}
    keys = {name: tuple(entity.key) for name, entity in config.entities.items()}
    sizes = {"shards": config.flink.shards, "max_parallelism": config.flink.max_parallelism}
    manifest = Manifest(config.plain(), Uids(config.client, states, {}, keys, sizes), {}, dict(ENCODINGS), {})
    transforms = {
        each.label: {
            "uniqueName": each.label,
            "spec": {"urn": "beam:transform:pardo:v1"},
            "inputs": {"None": each.taken},
            "environmentId": "e",
        }
        for each in steps
    }
    components = {
        "environments": {"e": {"urn": "beam:env:process:v1", "payload": ""}},
        "transforms": transforms,
        "pcollections": {each.taken: {"uniqueName": each.taken} for each in steps},
    }
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, manifest.encode())
        out.writestr(PIPELINE_ENTRY, json.dumps({"components": components}))
    return path


def launch_of(config: ClientConfig, folder: Path, *steps: Step) -> ClusterLaunch:
    """Return a launch of a config that was built as it is."""
    template = template_of(config, folder / f"{config.client}.jar", *steps)
    return ClusterLaunch(config, template, GENERATION, namespace_of(config.client))


def rendered(launch: ClusterLaunch, **values: Any) -> Manifests:
    """Return the manifests of a launch on the tests' cluster."""
    name = resource_of(launch.config.client)
    given = chart.merged(chart.merged(CLUSTER, values), launch.values())
    return chart.render(given, name=name, namespace=launch.namespace)


def kind(manifests: Manifests, wanted: str) -> dict[str, dict[str, Any]]:
    """Return the manifests of a kind by name."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == wanted}


def pod(manifests: Manifests, role: str) -> dict[str, Any]:
    """Return the pod's spec of jobManager or taskManager."""
    (deployment,) = kind(manifests, "FlinkDeployment").values()
    found: dict[str, Any] = deployment["spec"][role]["podTemplate"]["spec"]
    return found
