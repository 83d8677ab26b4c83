"""What waits for its checkpoint leaves in order, whatever is aborted, restarted or rescaled."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tillstream.runners.local.service import package_folder
from tillstream.runners.local.toolchain import ensure_jars, ensure_java

_SOURCES = Path(__file__).with_name("java")
_PACKAGE = "org.apache.beam.runners.flink.translation.wrappers.streaming.stableinput"
_SEEDS = 1000


@pytest.fixture
def compiler() -> list[str]:
    """Return the command of a Java compiler: the JDK's, else the one that the runner was built by."""
    javac = shutil.which("javac")
    if javac is not None:
        return [javac, "-nowarn", "-proc:none"]
    found = sorted(Path.home().glob(".m2/repository/org/eclipse/jdt/ecj/*/ecj-*.jar"))
    assert found, "found no Java compiler, expected a JDK, or Eclipse's in Maven's repository"
    return [str(ensure_java()), "-jar", str(found[-1]), "-17", "-nowarn", "-proc:none"]


def test_each_keys_elements_leave_in_order(compiler: list[str], tmp_path: Path) -> None:
    """A thousand stories of a stage with stable input: no gap, nothing too early, nothing lost."""
    jars = [*ensure_jars().flink_runner.glob("*.jar"), *(package_folder("pyflink") / "lib").glob("*.jar")]
    path = os.pathsep.join(map(str, jars))
    (source,) = _SOURCES.rglob("BufferModel.java")
    subprocess.run([*compiler, "-d", str(tmp_path), "-cp", path, str(source)], check=True, timeout=300)
    command = [str(ensure_java()), "-Xmx256m", "-cp", f"{tmp_path}{os.pathsep}{path}"]
    command += [f"{_PACKAGE}.BufferModel", str(_SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines()[-1:] == [f"0 of {_SEEDS} wrong"], done.stdout[:2000] + done.stderr[-2000:]
