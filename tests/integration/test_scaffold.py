"""A new transform's package is typed, as its own settings of mypy ask for, and its tests pass, fast."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.transforms.scaffold.names import parse_name
from tillstream.transforms.scaffold.scaffold import new_transform

# New processes that import Beam or read all of tillstream's types take too long for the unit tests.
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
TESTS_S_MAX = 5.0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new client's package."""
    folder = tmp_path_factory.mktemp("scaffold") / "package"
    made = CliRunner().invoke(app, ["new", "transform", "initech/big_orders", "--in", str(folder)])
    assert made.exit_code == 0, made.output
    assert made.output.startswith("initech.big_orders@1.0.0\n")
    return folder


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_its_types_are_right(tmp_path: Path) -> None:
    """Mypy, strict, finds nothing in the code and tests of a new transform."""
    new_transform(parse_name("initech/big_orders"), tmp_path / "new", "1.0.0")
    # tillstream's own types are checked by `make lint`; where it is a wheel mypy passes over them by itself.
    command = ["mypy", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent", "."]
    found = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path / "new",
        env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "Success: no issues found in 3 source files" in found.stdout


def test_its_tests_pass_in_seconds(package: Path) -> None:
    """The new package's own tests pass, within five seconds in all, Beam's import included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = run_pytest(package)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "5 passed" in found.stdout
    # The processor's time: a person's machine does not run other tests beside these.
    assert (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime) < TESTS_S_MAX


def test_a_second_one_joins_the_package(package: Path) -> None:
    """It gets files and an entry point of its own; with what it prints the config runs both."""
    found = CliRunner().invoke(app, ["new", "transform", "initech/small_orders", "--in", str(package)])
    assert found.exit_code == 0, found.output
    assert f"changed  {package / 'pyproject.toml'}" in found.output
    text = (package / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("big_orders", "small_orders"):
        assert f'initech_{name} = "initech_transforms.{name}"\n' in text
    config = package / "initech.yaml"
    shown = found.output.split(f"add to {config}:\n\n")[1].split("\n\ntest it")[0]
    assert "\n    from: big_orders\n" in shown  # which reads the topic already
    entry, entity = shown.split("modules:\n")[1].split("\n\nentities:\n")
    text = config.read_text(encoding="utf-8")
    text = text.replace("modules:\n", f"modules:\n{entry}\n")
    config.write_text(text.replace("entities:\n", f"entities:\n{entity}\n"), encoding="utf-8")
    assert CliRunner().invoke(app, ["validate", str(config)]).exit_code == 0
    done = run_pytest(package, "tests/test_small_orders.py")
    assert done.returncode == 0, done.stdout + done.stderr
