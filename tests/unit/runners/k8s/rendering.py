"""Render the shipped clients, and find things in what comes out."""

from __future__ import annotations

import functools
import json
import os
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

from tillstream.configs import ClientConfig
from tillstream.configs.cli import check
from tillstream.runners.clients import config_path
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
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


@functools.cache
def config_of(client: str, **environment: str) -> ClientConfig:
    """Return a shipped config as a cluster wants it, completed and checked as commands have it."""
    with mock.patch.dict(os.environ, {**IN_CLUSTER, **environment}):
        return check(config_path(client))


def template_of(config: ClientConfig, path: Path) -> Path:
    """Write a template with one environment and without stages."""
    manifest = Manifest(config.plain(), Uids(config.client, {}, {}, {}, {}), {}, {}, {})
    environments = {"e": {"urn": "beam:env:process:v1", "payload": ""}}
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, manifest.encode())
        out.writestr(PIPELINE_ENTRY, json.dumps({"components": {"environments": environments}}))
    return path


def launch_of(config: ClientConfig, folder: Path) -> ClusterLaunch:
    """Return a launch of a config that was built as it is."""
    template = template_of(config, folder / f"{config.client}.jar")
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
