"""A template becomes the jar of a launch by small changes of two of its entries."""

from __future__ import annotations

import base64
import json
import zipfile
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tillstream.configs.launching import LAUNCH_VARIABLE, LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.bounds import BOUNDS_VARIABLE, Bounds
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY, launchable, read_manifest
from tillstream.runners.jobs.manifest import Manifest, read_agent
from tillstream.transforms.lint.uids import Uids

CONFIG = {
    "client": "acme",
    "source": {"kafka": {"bootstrap_servers": "b:9092"}},
    "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
    "sinks": {"out": {"type": "files", "path": "/built"}},
}
MANIFEST = Manifest(CONFIG, Uids("acme", {}, {}, {}, {}), {}, {}, {})
PARAMETERS = LaunchParameters(1_700_000_000_000, 2, {"/sinks/out/path": "/launched" + 200 * "x"})


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Return a template with two environments."""
    path = tmp_path / "acme.jar"
    environments = {name: {"urn": "beam:env:process:v1", "payload": ""} for name in ("e", "e_reading")}
    with zipfile.ZipFile(path, "w") as out:
        out.writestr(MANIFEST_ENTRY, MANIFEST.encode())
        out.writestr(PIPELINE_ENTRY, json.dumps({"components": {"environments": environments}}))
    return path


def test_the_processes_learn_what_the_launch_fixes(template: Path, tmp_path: Path) -> None:
    """Each environment starts the harness with launch and bounds; the reading one is told apart."""
    launchable(template, tmp_path / "job.jar", PARAMETERS)
    with zipfile.ZipFile(tmp_path / "job.jar") as jar:
        environments = json.loads(jar.read(PIPELINE_ENTRY))["components"]["environments"]
    payloads = {
        name: beam_runner_api_pb2.ProcessPayload.FromString(base64.b64decode(each["payload"]))
        for name, each in environments.items()
    }
    assert {payload.command for payload in payloads.values()} == {"tillstream-harness"}
    for payload in payloads.values():
        assert LaunchParameters.decode(payload.env[LAUNCH_VARIABLE]) == PARAMETERS
        # What may be seen is that of the launch, not of the build.
        assert Bounds.decode(payload.env[BOUNDS_VARIABLE]).folders == ("/launched" + 200 * "x",)
    assert payloads["e_reading"].env["TILLSTREAM_STAGES"] == "reading"
    assert "TILLSTREAM_STAGES" not in payloads["e"].env


def test_the_job_says_what_it_is(template: Path, tmp_path: Path) -> None:
    """The options that Flink shows carry manifest and parameters; its name is the client's."""
    info = launchable(template, tmp_path / "job.jar", PARAMETERS)
    with zipfile.ZipFile(tmp_path / "job.jar") as jar:
        options = json.loads(jar.read("BEAM-PIPELINE/job/pipeline-options.json"))
    assert read_agent(options["beam:option:user_agent:v1"]) == info
    assert info.manifest == MANIFEST
    assert options["beam:option:job_name:v1"] == "acme"
    assert options["beam:option:checkpointing_interval:v1"] == "1000"


@pytest.mark.parametrize("content", [b"no jar", b""])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no template is told by its name."""
    path = tmp_path / "other.jar"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other.jar: found .* expected a jar of 'tillstream template build'"):
        read_manifest(path)
