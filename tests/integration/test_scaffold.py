"""A new transform's package is typed, as its own settings of mypy ask for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.transforms.scaffold.names import parse_name
from tillstream.transforms.scaffold.scaffold import new_transform

# Reads all of tillstream's types anew, which takes too long for the unit tests.
pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


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
