"""The house style holds: habit 14 of the project's contribution guide, checked by an ordinary test."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
MEDIAN_LINES_MAX = 200
PRODUCT = ("configs", "io", "k8s", "pipelines", "runners", "tillstream", "transforms")


def _python_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]


FILES = _python_files()
PRODUCT_FILES = [path for path in FILES if path.relative_to(ROOT).parts[0] in PRODUCT]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_files_are_short() -> None:
    """No file is longer than 400 lines, and half of the product's are under 200."""
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {str(path): length for path, length in lengths.items() if length > FILE_LINES_MAX}
    product = sorted(lengths[path] for path in PRODUCT_FILES)
    assert product[len(product) // 2] <= MEDIAN_LINES_MAX


def test_functions_are_short() -> None:
    """No function is longer than 70 lines."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in FILES
        for node in _functions(path)
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


def test_tests_do_not_sleep() -> None:
    """Tests wait on a condition with a deadline."""
    call = re.compile(r"\btime\.sleep\(|from time import .*\bsleep\b")
    sleeping = [
        str(path.relative_to(ROOT))
        for path in FILES
        if path.relative_to(ROOT).parts[0] == "tests" and call.search(path.read_text(encoding="utf-8"))
    ]
    assert not sleeping


def test_ignores_name_their_rule() -> None:
    """A `type: ignore` or `noqa` says which rule it sets aside."""
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[)|noqa(?!:))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in FILES
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if bare.search(line)
    ]
    assert not found


@pytest.mark.parametrize("path", PRODUCT_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_exports_are_explicit_sorted_and_there(path: Path) -> None:
    """Every module that defines something names its public part in a sorted `__all__`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign) for node in tree.body)
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "tillstream" else ("tillstream", *parts)).removesuffix(".__init__")
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert not defines, f"{name} has no __all__"
        return
    assert sorted(exported) == sorted(set(exported))
    assert [each for each in exported if not hasattr(module, each)] == []
    # Constants first, then classes, then functions, as ruff sorts them.
    assert [each for each in exported if each.startswith("_") and each != "__version__"] == []


def test_every_package_folder_is_linked() -> None:
    """A package folder at the top level can be imported below tillstream."""
    links = {path.name for path in (ROOT / "tillstream").iterdir() if path.is_symlink()}
    assert links == {name for name in PRODUCT if name != "tillstream"}
