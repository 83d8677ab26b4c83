"""Files are found by path, module and config, and the command says what it found by its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tillstream import configs
from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.transforms.lint.targets import files_of

BAD = "import apache_beam as beam\nclass A(beam.DoFn):\n    def process(self, x):\n        print(x)\n"
CLIENTS = Path(configs.__file__).parent / "clients"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder at hand, with files to read and to pass over."""
    for name in ("a.py", "sub/b.py", ".hidden/c.py", "env/pyvenv.cfg", "env/lib/d.py", "build/e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_folders_are_searched(folder: Path) -> None:
    """Hidden folders, environments and what was built are passed over; each file comes once."""
    found = [str(path.relative_to(folder)) for path in files_of([str(folder), str(folder / "a.py")])]
    assert found == ["a.py", "sub/b.py"]


def test_modules_are_found_and_not_imported(folder: Path) -> None:
    """A module or package stands for its files, in the folder at hand too."""
    (folder / "lint_me.py").write_text("raise SystemExit", encoding="utf-8")
    (folder / "lint_us").mkdir()
    for name in ("__init__.py", "one.py"):
        (folder / "lint_us" / name).write_text("raise SystemExit", encoding="utf-8")
    found = [path.name for path in files_of(["lint_me", "lint_us"])]
    assert found == ["lint_me.py", "__init__.py", "one.py"]


def test_a_config_stands_for_its_transforms() -> None:
    """What is read is the code that the config's entities name."""
    assert [path.name for path in files_of([str(CLIENTS / "globex.yaml")])] == ["globex.py"]


@pytest.mark.parametrize("target", ["nothing.py", "no/such", "no_such_module", "sys", "a b"])
def test_an_unknown_target_is_refused(folder: Path, target: str) -> None:
    """A target that is nothing is named."""
    del folder
    with pytest.raises(UserError, match="expected"):
        files_of([target])


def test_exit_codes_and_json(folder: Path) -> None:
    """0 is clean, 1 is found; JSON lists the same findings. Without a target the folder at hand is read."""
    assert CliRunner().invoke(app, ["lint"]).exit_code == 0
    (folder / "bad.py").write_text(BAD, encoding="utf-8")
    found = CliRunner().invoke(app, ["lint", "--json", "bad.py"])
    assert found.exit_code == 1
    (finding,) = json.loads(found.stdout)
    assert (finding["path"], finding["line"], finding["column"], finding["code"]) == ("bad.py", 4, 9, "TS011")
    assert CliRunner().invoke(app, ["lint"]).output.startswith("bad.py:4:9: TS011 found print(): ")


def test_what_is_not_python_is_refused(folder: Path) -> None:
    """A file that cannot be parsed is bad input, with its place."""
    (folder / "bad.py").write_text("def f(:\n", encoding="utf-8")
    found = CliRunner().invoke(app, ["lint", "bad.py"])
    assert isinstance(found.exception, UserError)
    assert str(found.exception).startswith("bad.py:1:7: found ")
