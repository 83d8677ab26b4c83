"""A cluster of a bare Flink, without the runner's jars, runs a fat template."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import Jars

from .conftest import change

CONFIG = """
client: bare
source: {{files: {{paths: [changes.jsonl]}}}}
entities:
  sales: {{topic: t.public.sales, key: [id], contract: {{id: int64, amount: "decimal(12,2)"}}, sinks: [out]}}
sinks: {{out: {{type: files, path: out}}}}
flink: {{rest_url: "{url}"}}
"""


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStack]:
    """Return a cluster whose class path has nothing but what apache-flink-libraries brings."""
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(tmp_path / "history"))
    (tmp_path / "nothing").mkdir()
    stack = LocalStack.open(tmp_path / "stack")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Jars, "flink_runner", property(lambda _: tmp_path / "nothing"))
            stack.up(["jobmanager", "taskmanager"], ports=unusual_ports())
        yield stack
    finally:
        stack.down(wipe=True)


@pytest.mark.timeout(600)
def test_a_bare_cluster_runs_a_fat_template(bare: LocalStack, tmp_path: Path) -> None:
    """The thin one is refused with what to do; the fat one brings all that is missing, but Python."""
    project = tmp_path / "project"
    project.mkdir()
    lines = [change(key, f"{key}.00", key) for key in range(100)]
    (project / "changes.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (project / "bare.yaml").write_text(CONFIG.format(url=bare.addresses.flink))
    for name, options in (("thin", []), ("fat", ["--fat"])):
        command = ["template", "build", str(project / "bare.yaml"), "-o", str(tmp_path / name), *options]
        assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    launch = ["--relative-to", str(project), "--fresh", "--timeout", "300"]
    found = CliRunner().invoke(app, ["template", "launch", str(tmp_path / "thin"), *launch])
    assert isinstance(found.exception, UserError)
    assert "found none of Beam's runner on its class path" in str(found.exception)
    found = CliRunner().invoke(
        app, ["template", "launch", str(tmp_path / "fat"), *launch], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output
    rest = FlinkRest(bare.addresses.flink)
    (job,) = [job["jid"] for job in rest.jobs() if job["state"] != "FAILED"]
    rest.wait(job, frozenset({"FINISHED"}), 300)
    rows = [
        json.loads(line)
        for path in (project / "out").glob("sales/*")
        for line in path.read_bytes().splitlines()
    ]
    assert {row["id"] for row in rows} == set(range(100))
