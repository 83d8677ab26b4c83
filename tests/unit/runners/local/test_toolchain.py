"""Java is found or asked for, and its libraries are fetched once, whole or not at all."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tillstream.pipelines.errors import MissingToolError, UnavailableError
from tillstream.runners.local import toolchain
from tillstream.runners.local.toolchain import JAVA_FOLDER, digest, ensure_jars, ensure_java

_MVNW_THAT_WORKS = """
for argument; do case "$argument" in -Djars=*) jars="${argument#-Djars=}";; esac; done
mkdir -p "$jars/broker" && echo run >> "$COUNT_FILE"
"""


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a stand-in for mvnw in a project of its own, with a cache of its own."""
    project = tmp_path / "java"
    project.mkdir()
    (project / "pom.xml").write_text("<project/>")
    monkeypatch.setattr(toolchain, "JAVA_FOLDER", project)
    monkeypatch.setattr(toolchain, "digest", lambda: "0123456789ab")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT_FILE", str(tmp_path / "count"))
    return project / "mvnw"


def test_missing_java_is_one_sentence_with_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java a person is told in one line what to type."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(toolchain, "_INSTALLERS", {"sh": "sudo get java"})
    with pytest.raises(MissingToolError) as caught:
        ensure_java()
    assert str(caught.value) == "found no Java, expected Java 17 or newer: install it with 'sudo get java'"


def test_missing_java_on_an_unknown_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no known installer is, the sentence says what to get."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(toolchain, "_INSTALLERS", {})
    with pytest.raises(MissingToolError, match="install a Java 17 runtime and put it on PATH"):
        ensure_java()


@pytest.mark.parametrize(
    ("said", "found"), [('openjdk version "11.0.2"', "11"), ('java version "1.8.0"', "1")]
)
def test_old_java_is_refused(said: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that is too old is named with its place."""
    _program(tmp_path / "bin" / "java", f"echo '{said}' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(
        MissingToolError, match=f"found Java {found} at {tmp_path}/bin/java, expected Java 17"
    ):
        ensure_java()


def test_java_home_goes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Java of JAVA_HOME is taken although another one is on PATH."""
    _program(tmp_path / "bin" / "java", "echo 'openjdk version \"21.0.1\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert ensure_java() == tmp_path / "bin" / "java"


def test_digest_changes_with_any_pom(tmp_path: Path) -> None:
    """A changed version in any pom makes another cache folder."""
    project = tmp_path / "java"
    shutil.copytree(JAVA_FOLDER, project)
    before = digest(project)
    assert before == digest(JAVA_FOLDER)
    pom = project / "debezium" / "pom.xml"
    pom.write_text(pom.read_text() + "\n")
    assert digest(project) != before


def test_libraries_are_fetched_once(maven: Path, tmp_path: Path) -> None:
    """The second time finds the folder and runs nothing."""
    _program(maven, _MVNW_THAT_WORKS)
    said: list[str] = []
    first = ensure_jars(said.append)
    second = ensure_jars(said.append)
    assert first == second
    assert first.broker.is_dir()
    assert (tmp_path / "count").read_text() == "run\n"
    assert said == ["Java libraries: fetching about 180 MB, once"]


def test_failed_fetch_leaves_nothing_and_shows_why(maven: Path, tmp_path: Path) -> None:
    """After a failure the end of Maven's output is shown, and the next call starts afresh."""
    _program(maven, "echo cannot resolve the host; exit 1")
    with pytest.raises(UnavailableError, match="cannot resolve the host"):
        ensure_jars()
    assert [path.name for path in (tmp_path / "cache" / "tillstream").iterdir()] == ["jars-0123456789ab.lock"]
    _program(maven, _MVNW_THAT_WORKS)
    assert ensure_jars().folder.is_dir()


def test_fetch_works_from_a_read_only_package(maven: Path) -> None:
    """Nothing is written beside the poms."""
    _program(maven, "touch written && " + _MVNW_THAT_WORKS.strip())
    ensure_jars()
    assert sorted(file.name for file in maven.parent.iterdir()) == ["mvnw", "pom.xml"]


def test_the_runner_is_compiled_for_the_flink_that_runs() -> None:
    """Maven cannot read setup.py, so the two say the same."""
    pom = (JAVA_FOLDER / "pom.xml").read_text(encoding="utf-8")
    version = re.search(r"<flink.version>(.+)</flink.version>", pom)
    assert version is not None
    setup = (Path(__file__).parents[4] / "setup.py").read_text(encoding="utf-8")
    assert f'"apache-flink-libraries=={version[1]}"' in setup
