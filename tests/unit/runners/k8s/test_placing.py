"""Every file that a config names comes to its pods, or is left out by name."""

from __future__ import annotations

import base64
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.unit.runners.k8s.rendering import config_of, kind, launch_of, pod, rendered
from tillstream.configs import ClientConfig
from tillstream.configs.base import absolute
from tillstream.pipelines.errors import UserError
from tillstream.runners.k8s import placing
from tillstream.runners.k8s.placing import place

PLACED = placing._PUBLIC | placing._PRIVATE | placing._SCHEMAS
# With what brings them there instead.
LEFT_OUT = {
    "FilesSink.path": "a claim is mounted there",
    "Transforms.path": "the template carries the modules",
    "Capture.role_password_file": "the capture is no part of the job",
}


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for each in typing.get_args(annotation):
        yield from _parts(each)


def _paths(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[tuple[str, str]]:
    """Yield model and name of each field that is a path, from a model on."""
    if model in seen:
        return
    seen.add(model)
    for name, info in model.model_fields.items():
        parts = [*_parts(info.annotation), *info.metadata]
        if any(getattr(part, "func", None) is absolute for part in parts):
            yield model.__name__, info.alias or name
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _paths(part, seen)


def test_every_path_of_a_config_is_thought_of() -> None:
    """A new field with a path has a place in a pod, or a reason for none; a reason for no field is none."""
    found = set(_paths(ClientConfig, set()))
    assert {f"{model}.{name}" for model, name in found if name not in PLACED} == set(LEFT_OUT)
    assert {name for _, name in found if name in PLACED} == PLACED


def _avro(folder: Path, **events: str) -> ClientConfig:
    config = config_of("acme")
    update = {"format": "avro", **{name: str(folder / path) for name, path in events.items()}}
    source = config.source.model_copy(update={"events": config.source.events.model_copy(update=update)})
    return config.model_copy(update={"source": source})


@pytest.mark.parametrize("pattern", ["{entity}.avsc", "{entity}/value.avsc"])
def test_each_entitys_schema_travels_with_the_job(pattern: str, tmp_path: Path) -> None:
    """What the codec puts together out of the launch's path is a file of the pod, with the schema in it."""
    config = _avro(tmp_path, avro_schema_file=pattern, avro_key_schema_file="key.avsc")
    (tmp_path / "key.avsc").write_text("key", encoding="utf-8")
    for entity in config.entities:
        path = tmp_path / pattern.replace("{entity}", entity)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"schema of {entity}", encoding="utf-8")
    manifests = rendered(launch_of(config, tmp_path))
    overrides = launch_of(config, tmp_path).parameters().overrides
    (held,) = kind(manifests, "ConfigMap").values()
    mounts = pod(manifests, "taskManager")["containers"][0]["volumeMounts"]
    keys = {each["mountPath"]: each["subPath"] for each in mounts if "subPath" in each}
    for entity in config.entities:
        for field, content in (("avro_schema_file", f"schema of {entity}"), ("avro_key_schema_file", "key")):
            path = overrides[f"/source/events/{field}"].replace("{entity}", entity)
            assert base64.b64decode(held["binaryData"][keys[path]]).decode() == content
    before = place(config).overrides
    (tmp_path / "key.avsc").write_text("another key", encoding="utf-8")
    changed = {name for name, value in place(config).overrides.items() if value != before[name]}
    assert changed == {"/source/events/avro_key_schema_file"}


def test_a_schema_that_is_not_there_is_told_before_the_launch(tmp_path: Path) -> None:
    """Where it is, instead of a job that starts again and again."""
    with pytest.raises(UserError, match=r"source\.events\.avro_schema_file: cannot read .*No such file"):
        place(_avro(tmp_path, avro_schema_file="{entity}.avsc"))


def test_a_certificate_with_its_key_is_a_secret(tmp_path: Path) -> None:
    """Everybody who may look at ConfigMaps would have the key."""
    both = tmp_path / "client.pem"
    both.write_text("-----BEGIN PRIVATE KEY-----\n", encoding="utf-8")
    config = config_of("acme")
    kafka = config.source.kafka
    assert kafka is not None
    source = config.source.model_copy(update={"kafka": kafka.model_copy(update={"ssl_ca_file": str(both)})})
    found = place(config.model_copy(update={"source": source}))
    assert not found.files
    assert found.secrets["client_pem"] == str(both)
    assert found.overrides["/source/kafka/ssl_ca_file"] == "/run/tillstream/secrets/acme/client_pem"
