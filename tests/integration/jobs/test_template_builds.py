"""A template is built whole, small, the same everywhere, and says what a launch may say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.runners.jobs.project import CONFIG, write_project
from tillstream.cli import app
from tillstream.configs.open_places import open_differences
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.template_facts import differing, facts_of
from tillstream.runners.jobs.templates import Given, config_of

THIN_BYTES_MAX = 1_000_000


def build(config: Path, jar: Path, *more: str) -> None:
    """Build in this process."""
    found = CliRunner().invoke(
        app, ["template", "build", str(config), "-o", str(jar), *more], catch_exceptions=False
    )
    assert found.exit_code == 0, found.output


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a template, built where the broker's address was known."""
    folder = tmp_path_factory.mktemp("template")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA", "ci:9092")
        build(write_project(folder / "project"), folder / "shop.jar")
    return folder / "shop.jar"


def test_the_same_input_gives_the_same_bytes(template: Path, tmp_path: Path) -> None:
    """In another process, order of hashes, home, zone, folder, and with files written at another time."""
    config = write_project(tmp_path / "elsewhere" / "deep")
    (tmp_path / "home").mkdir()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    environment = {
        **os.environ,
        "KAFKA": "ci:9092",
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(cache),
        "PYTHONHASHSEED": "4711",
        "TZ": "Pacific/Chatham",
        "KAFKA_USER": "only an environment's, where there is a default",
        "TILLSTREAM_FLINK": "http://only-here:1",
    }
    tool = Path(sys.executable).with_name("tillstream")
    subprocess.run(
        [tool, "template", "build", config.name, "-o", tmp_path / "shop.jar"],
        check=True,
        capture_output=True,
        cwd=config.parent,
        env=environment,
    )
    assert (tmp_path / "shop.jar").read_bytes() == template.read_bytes()


def test_a_thin_template_is_small(template: Path) -> None:
    """It holds nothing of the runner but the classes that must lie beside the pipeline."""
    assert template.stat().st_size < THIN_BYTES_MAX
    with zipfile.ZipFile(template) as jar:
        assert not any(name.endswith(".jar") for name in jar.namelist())
        assert not any(str(template.parent).encode() in jar.read(name) for name in jar.namelist())


def test_a_fat_template_has_the_runner_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As jars in the folder that Flink puts on the class path; else it is the thin one."""
    monkeypatch.setenv("KAFKA", "ci:9092")
    config = write_project(tmp_path / "project")
    build(config, tmp_path / "thin.jar")
    build(config, tmp_path / "fat.jar", "--fat")
    thin, fat = (facts_of(tmp_path / name) for name in ("thin.jar", "fat.jar"))
    assert differing(thin, fat) == [{"place": "/fat", "before": False, "now": True}]
    with zipfile.ZipFile(tmp_path / "fat.jar") as jar:
        inner = [name for name in jar.namelist() if name.startswith("lib/")]
        # Not packed twice.
        assert {jar.getinfo(name).compress_type for name in inner} == {zipfile.ZIP_STORED}
    assert any("beam-sdks-java-core" in name for name in inner)
    assert not any("flink-dist" in name for name in inner)


def facts(template: Path) -> dict[str, Any]:
    """Return what `template inspect --json` prints."""
    found = CliRunner().invoke(app, ["template", "inspect", str(template), "--json"])
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout))


def test_it_says_what_it_is_made_of(template: Path) -> None:
    """Uids, code, what a launch has to say, and what it cannot."""
    found = facts(template)
    assert found["client"] == "shop"
    assert found["code"]
    assert found["transforms"] == {"shop.big@1.0.0": found["code"]}
    assert "ReadChanges/ParDo(ReadChanges)" in found["uids"]["stages"]
    assert found["variables"]["KAFKA"] == {"places": ["/source/kafka/bootstrap_servers"]}
    assert found["variables"]["BIG_VERSION"]["is_open"] is False
    assert found["variables"]["KAFKA_PASSWORD"]["is_secret"] is True
    assert found["config"]["sinks"]["lake"]["path"] == "out"
    text = CliRunner().invoke(app, ["template", "inspect", str(template)]).stdout
    assert "variable    KAFKA: a launch must say (/source/kafka/bootstrap_servers)" in text
    assert "variable    BIG_VERSION: fixed at '1.0.0' (/entities/orders/transform)" in text


def test_a_launch_says_the_rest(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses, bounds, and where relative paths start; all as overrides of what was built."""
    monkeypatch.setenv("KAFKA_USER", "writer")
    config = config_of(template, Given({"KAFKA": "prod:9092"}, 3, tmp_path))
    assert (config.kafka.bootstrap_servers, config.kafka.sasl_username) == ("prod:9092", "writer")
    assert config.flink.parallelism == 3
    overrides = open_differences(read_manifest(template).config, config.plain())
    assert overrides["/sinks/lake/path"] == str(tmp_path / "out")
    assert overrides["/source/kafka/bootstrap_servers"] == "prod:9092"
    assert not any(place.startswith(("/entities", "/transforms")) for place in overrides)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(), r"found no value of KAFKA, expected one of each: --set KAFKA=\.\.\."),
        (Given({"KAFKA": "p:1", "KAFKA_PASSWORD": "hunter2"}), r"a value \(not shown\) for a secret"),
        (Given({"KAFKA": "p:1", "BIG_VERSION": "2.0.0"}), "found '2.0.0', expected '1.0.0'"),
        (Given({"KAFKA": "p:1", "KAFKAS": "p:1"}), "found no such variable"),
        (Given({"KAFKA": "no address"}), "shop.jar.*bootstrap_servers|bootstrap_servers: found"),
        (Given({"KAFKA": "p:1"}, 129), "--parallelism: found 129, expected 1 to 128"),
    ],
)
def test_what_a_launch_cannot_say_is_refused(
    template: Path, given: Given, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started."""
    monkeypatch.delenv("KAFKA", raising=False)
    with pytest.raises(UserError, match=message) as raised:
        config_of(template, given)
    assert "hunter2" not in str(raised.value)


def test_two_templates_are_compared(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1 tells that they differ; what a savepoint would lose is said."""
    assert CliRunner().invoke(app, ["template", "diff", str(template), str(template)]).exit_code == 0
    monkeypatch.setenv("KAFKA", "ci:9092")
    project = write_project(tmp_path / "project", config=CONFIG.replace("[order_id]", "[order_id, note]"))
    (project.parent / "transforms" / "shop_rules.py").write_text("NOTE = 'other'\n")
    build(project, tmp_path / "other.jar")
    shutil.rmtree(project.parent)
    found = CliRunner().invoke(
        app, ["template", "diff", str(template), str(tmp_path / "other.jar"), "--json"]
    )
    assert found.exit_code == 1
    answer = json.loads(found.stdout)
    assert {"/code", "/transforms/shop.big@1.0.0", "/uids/keys/orders"} <= {
        each["place"] for each in answer["differences"]
    }
    assert any("found key [order_id, note] of 'orders'" in each for each in answer["lost"])


def test_another_file_is_no_template(tmp_path: Path) -> None:
    """Nothing is left behind where a template cannot be built."""
    broken = write_project(tmp_path / "project", config=CONFIG.replace("key:", "keys:"))
    found = CliRunner().invoke(app, ["template", "build", str(broken), "-o", str(tmp_path / "x.jar")])
    assert isinstance(found.exception, UserError)
    assert not list(tmp_path.glob("x.jar*"))
