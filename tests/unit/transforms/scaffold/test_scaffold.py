"""What `tillstream new transform` writes is right as it is: styled, valid, with a fixture that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream.cli import app
from tillstream.configs.loader import load
from tillstream.pipelines.errors import UserError
from tillstream.transforms.lint.targets import files_of, lint
from tillstream.transforms.scaffold.names import parse_name
from tillstream.transforms.scaffold.scaffold import new_transform


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new client's package."""
    folder = tmp_path_factory.mktemp("scaffold") / "package"
    made = CliRunner().invoke(app, ["new", "transform", "initech/big_orders", "--in", str(folder)])
    assert made.exit_code == 0, made.output
    assert made.output.startswith("initech.big_orders@1.0.0\n")
    return folder


def tool(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of this environment in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "name", ["acme/a", "acme/" + "a_long_name_that_is_just_short_enough_to", "a" * 31 + "/b"]
)
def test_its_style_is_right(tmp_path: Path, name: str) -> None:
    """What ruff finds by its defaults, and what our own linter does: nothing, and nothing is to format."""
    package = tmp_path / "package"
    for each in (name, f"{name.partition('/')[0]}/other"):
        new_transform(parse_name(each), package, "1.0.0")
    for command in (("ruff", "check", "--no-cache", "."), ("ruff", "format", "--check", "--no-cache", ".")):
        found = tool(package, *command)
        assert found.returncode == 0, found.stdout
    assert lint(files_of([str(package)])) == []


def test_its_config_is_valid(package: Path) -> None:
    """The config loads without any environment, and its transform is found beside it."""
    found = CliRunner().invoke(app, ["validate", str(package / "initech.yaml")])
    assert (found.exit_code, found.output) == (0, f"{package / 'initech.yaml'}: ok\n")
    assert load(package / "initech.yaml", {}).client == "initech"


def test_its_fixture_runs(package: Path) -> None:
    """`tillstream test` finds the fixture and its rows as the scaffold says they are."""
    found = CliRunner().invoke(app, ["test", str(package / "initech.yaml"), "--seeds", "5"])
    assert found.exit_code == 0, found.output
    assert "initech.big_orders@1.0.0  5       2     0             yes" in found.output


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Where one of its files is there, none is written, and all that are there are named."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_big_orders.py").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"found tests/test_big_orders\.py in .*expected none"):
        new_transform(parse_name("acme/big_orders"), tmp_path, "1.0.0")
    assert [path.name for path in tmp_path.rglob("*.*")] == ["test_big_orders.py"]
    assert (tmp_path / "tests" / "test_big_orders.py").read_text(encoding="utf-8") == "mine"


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """A pyproject.toml without the table of entry points is not guessed at: what to add is said."""
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    made = new_transform(parse_name("acme/big_orders"), tmp_path, "1.0.0")
    assert (tmp_path / "pyproject.toml").read_text(encoding="utf-8") == "[project]\nname = 'x'\n"
    assert made.left == {
        Path("pyproject.toml"): (
            '[project.entry-points."tillstream.transforms"]\nacme_big_orders = "acme_transforms.big_orders"\n'
        )
    }


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file in the folder's place is bad input, not a traceback."""
    (tmp_path / "there").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="expected a folder that can be written"):
        new_transform(parse_name("acme/big_orders"), tmp_path / "there", "1.0.0")
