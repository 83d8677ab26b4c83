"""Secrets come to pods by reference, and only to the pods that use them."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.runners.k8s.rendering import Manifests, config_of, kind, launch_of, pod, rendered
from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.manifest import read_agent
from tillstream.runners.k8s.placing import place

MOUNT = "/run/tillstream/secrets/acme"


def _inside(jar: bytes) -> str:
    """Return all that a jar says, with what is packed in it unpacked."""
    with zipfile.ZipFile(io.BytesIO(jar)) as opened:
        texts = [opened.read(name) for name in opened.namelist()]
        pipeline = json.loads(opened.read("BEAM-PIPELINE/job/pipeline.json"))
        options = json.loads(opened.read("BEAM-PIPELINE/job/pipeline-options.json"))
    environments = pipeline["components"]["environments"].values()
    texts += [base64.b64decode(each["payload"]) for each in environments]
    said = read_agent(options["beam:option:user_agent:v1"])
    return b"".join(texts).decode("latin-1") + repr(said)


def test_no_secret_is_in_what_is_rendered(tmp_path: Path) -> None:
    """Neither in a manifest nor in the jar that one carries, wherever the values lie while it is rendered."""
    secrets = {"warehouse_password": "correct-horse", "privacy_salt": "battery", "source_password": "staple"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(value, encoding="utf-8")
    manifests = rendered(launch_of(config_of("acme", TILLSTREAM_SECRETS_DIR=str(tmp_path)), tmp_path))
    (content,) = kind(manifests, "ConfigMap").values()
    text = yaml.safe_dump_all(manifests) + _inside(base64.b64decode(content["binaryData"]["job.jar"]))
    assert [name for name, value in secrets.items() if value in text] == []
    assert kind(manifests, "Secret") == {}


def test_what_runs_stages_has_the_clients_secret_as_a_folder(manifests: Callable[[str], Manifests]) -> None:
    """A whole folder follows the Secret as it changes; a file of it (subPath) would not."""
    worker = pod(manifests("acme"), "taskManager")
    (volume,) = [each for each in worker["volumes"] if "secret" in each]
    assert volume["secret"]["secretName"] == "acme-secrets"
    assert [each["key"] for each in volume["secret"]["items"]] == ["privacy_salt", "warehouse_password"]
    (mount,) = [each for each in worker["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert mount == {"name": "secrets", "mountPath": MOUNT, "readOnly": True}
    (folder,) = [each for each in worker["containers"][0]["env"] if each["name"] == "TILLSTREAM_SECRETS_DIR"]
    assert f"{folder['value']}/acme" == MOUNT


def test_the_jobmanager_has_no_secret(manifests: Callable[[str], Manifests]) -> None:
    """It runs no stage."""
    assert not [each for each in pod(manifests("acme"), "jobManager")["volumes"] if "secret" in each]


def test_the_launch_looks_where_the_secret_is_mounted(tmp_path: Path) -> None:
    """References by path become names in that folder; that of the capture, no part of the job, stays."""
    launch = launch_of(config_of("acme"), tmp_path)
    overrides = launch.parameters().overrides
    assert overrides["/sinks/warehouse/password"] == "${warehouse_password}"
    assert overrides["/privacy/salt"] == "${privacy_salt}"
    assert not [pointer for pointer in overrides if pointer.startswith("/capture")]
    built = read_manifest(launch.template).model()
    launched = built.at_launch(LaunchParameters(0, 1, overrides))
    assert repr(launched.privacy.salt) == "SecretRef('${privacy_salt}')"


def _config(**kafka: str) -> ClientConfig:
    protocol = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "u"}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k.k.svc:9092", **protocol, **kafka}},
            "entities": {
                "things": {"topic": "t", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["out"]}
            },
            "sinks": {
                "out": {
                    "type": "postgres",
                    "host": "db.s.svc",
                    "database": "d",
                    "user": "u",
                    "password": "file:/one/password",
                }
            },
        }
    )


def test_a_variable_is_a_key_of_that_name() -> None:
    """`${NAME}` is looked for in the folder too, so nothing changes but where it comes from."""
    found = place(_config(sasl_password="${KAFKA_PASSWORD}"))
    assert found.secrets == {"KAFKA_PASSWORD": "KAFKA_PASSWORD", "password": "/one/password"}
    assert found.overrides == {"/sinks/out/password": "${password}"}


def test_two_secrets_of_one_name_are_refused() -> None:
    """In a pod they would be one."""
    with pytest.raises(UserError, match="found /one/password beside /other/password"):
        place(_config(sasl_password="file:/other/password"))


def test_a_certificate_travels_with_the_job(tmp_path: Path) -> None:
    """It is no secret: its content lies beside the jar, under a name that changes with it."""
    ca = tmp_path / "ca.pem"
    ca.write_text("certificate", encoding="utf-8")
    config = _config(sasl_password="${P}", ssl_ca_file=str(ca))
    found = place(config)
    ((name, content),) = found.files.items()
    assert base64.b64decode(content) == b"certificate"
    assert found.overrides["/source/kafka/ssl_ca_file"] == f"/opt/tillstream/files/{name}"
    manifests = rendered(launch_of(config, tmp_path))
    (held,) = kind(manifests, "ConfigMap").values()
    assert held["binaryData"][name] == content
    mounts = pod(manifests, "taskManager")["containers"][0]["volumeMounts"]
    assert [each["subPath"] for each in mounts if each["mountPath"].endswith(name)] == [name]
    ca.write_text("another", encoding="utf-8")
    assert name not in place(config).files


def test_the_jar_carries_the_launch(tmp_path: Path) -> None:
    """What the harness is told is the launch, its generation and addresses in the cluster."""
    launch = launch_of(config_of("acme"), tmp_path)
    jar = base64.b64decode(launch.values()["job"]["jar"])
    with zipfile.ZipFile(io.BytesIO(jar)) as opened:
        pipeline = json.loads(opened.read("BEAM-PIPELINE/job/pipeline.json"))
    payload = base64.b64decode(pipeline["components"]["environments"]["e"]["payload"])
    assert launch.parameters().encode().encode() in payload
    assert b"http://acme-rest.tillstream-acme:8081" in payload
