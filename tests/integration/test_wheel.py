"""What pip installs from the built wheel is whole, links and data files included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

PROGRAM = """
import pathlib, tillstream.cli, tillstream.configs, tillstream.runners.local.toolchain as toolchain
from tillstream.configs.loader import load
from tillstream.pipelines.template import build
home = pathlib.Path(tillstream.configs.__file__).parent
assert str(home).startswith({target!r}), home
print(load(home / "clients" / "acme.yaml", {{}}).client)
print((toolchain.JAVA_FOLDER / "mvnw").exists(), (toolchain.JAVA_FOLDER / "pom.xml").exists())
print((home.parent / "py.typed").exists())
"""


def test_the_wheel_is_whole(tmp_path: Path) -> None:
    """A wheel installed apart from the checkout imports, loads a shipped client and has the Java side."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("tillstream-*.whl")
    target = tmp_path / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(target=str(target))],
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin", "TILLSTREAM_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["acme", "True", "True", "True"]
