"""Classes in the place of Beam's: what waits leaves in order, and savepoints of either are read by both."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tillstream.runners.local.service import package_folder
from tillstream.runners.local.toolchain import ensure_jars, ensure_java

_SOURCES = Path(__file__).with_name("java")
# By Beam 2.62's CoderTypeSerializer and UnversionedTypeSerializerSnapshot.
_RECORDED = Path(__file__).with_name("recorded") / "serializer-beam-2.62.bin"
_SEEDS, _CLAIMS = 1000, 8


@pytest.fixture
def compiler() -> list[str]:
    """Return the command of a Java compiler: the JDK's, else the one that the runner was built by."""
    javac = shutil.which("javac")
    if javac is not None:
        return [javac, "-nowarn", "-proc:none"]
    found = sorted(Path.home().glob(".m2/repository/org/eclipse/jdt/ecj/*/ecj-*.jar"))
    assert found, "found no Java compiler, expected a JDK, or Eclipse's in Maven's repository"
    return [str(ensure_java()), "-jar", str(found[-1]), "-17", "-nowarn", "-proc:none"]


def _play(compiler: list[str], model: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Compile a model beside the runner's classes, and run it."""
    jars = [*ensure_jars().flink_runner.glob("*.jar"), *(package_folder("pyflink") / "lib").glob("*.jar")]
    path = os.pathsep.join(map(str, jars))
    (source,) = _SOURCES.rglob(f"{model}.java")
    subprocess.run([*compiler, "-d", str(folder), "-cp", path, str(source)], check=True, timeout=300)
    package = ".".join(source.parent.relative_to(_SOURCES).parts)
    command = [str(ensure_java()), "-Xmx256m", "-cp", f"{folder}{os.pathsep}{path}"]
    command += [f"{package}.{model}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_each_keys_elements_leave_in_order(compiler: list[str], tmp_path: Path) -> None:
    """A thousand stories of a stage with stable input: no gap, nothing too early, nothing lost."""
    done = _play(compiler, "BufferModel", tmp_path, str(_SEEDS))
    assert done.stdout.splitlines()[-1:] == [f"0 of {_SEEDS} wrong"], done.stdout[:2000] + done.stderr[-2000:]


def test_savepoints_of_beams_own_serializers_are_read(compiler: list[str], tmp_path: Path) -> None:
    """What ours writes has the same form, once for each serializer, and names no option of the job."""
    done = _play(compiler, "SerializerModel", tmp_path, str(_RECORDED))
    lines = done.stdout.splitlines()
    assert len(lines) == _CLAIMS, done.stdout + done.stderr[-2000:]
    assert [line for line in lines if not line.startswith("yes: ")] == []
