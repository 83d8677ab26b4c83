"""Find the files that a person means: by path, by module, or by a client's config."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError
from tillstream.transforms.lint.rule import Finding
from tillstream.transforms.lint.rules import RULES
from tillstream.transforms.lint.source import read_source

__all__ = ["CONFIGS", "files_of", "lint"]

CONFIGS = (".yaml", ".yml")
_PASSED_OVER = frozenset({"build", "dist", "node_modules", "site-packages", "__pycache__"})


def lint(files: Iterable[Path]) -> list[Finding]:
    """Return what all rules find, in the order of the files and their lines.

    Raises:
        UserError: if a file cannot be read, or is not Python.
    """
    findings: list[Finding] = []
    for path in files:
        source = read_source(path)
        found = [finding for rule in RULES for finding in rule.findings(source)]
        findings += sorted(found, key=lambda each: (each.line, each.column, each.code))
    return findings


def files_of(targets: Iterable[str]) -> list[Path]:
    """Return the Python files that targets stand for, each once.

    Args:
        targets: files, folders, modules by their dotted names, and configs of clients, which stand for the
            files that define their transforms.

    Raises:
        UserError: if a target is none of these, or a config is wrong.
    """
    found: dict[Path, None] = {}
    for target in targets:
        path = Path(target)
        if path.suffix in CONFIGS:
            found |= dict.fromkeys(_of_config(path))
        elif path.is_dir():
            found |= dict.fromkeys(_of_folder(path))
        elif path.is_file():
            found[path] = None
        elif re.fullmatch(forms.MODULE, target) and not target.endswith(".py"):
            found |= dict.fromkeys(_of_module(target))
        else:
            raise UserError(
                f"found {target!r}, expected a Python file, a folder, a module or a config (.yaml)"
            )
    return list(found)


def _of_folder(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts[:-1]
        is_environment = any(
            (folder / Path(*parts[: place + 1]) / "pyvenv.cfg").exists() for place in range(len(parts))
        )
        if not is_environment and not any(part.startswith(".") or part in _PASSED_OVER for part in parts):
            yield path


def _of_module(name: str) -> Iterator[Path]:
    # As in `python -m`: a person's own package lies in the folder at hand.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UserError(f"found no module {name!r} written in Python, expected one that can be imported here")
    if spec.submodule_search_locations:
        yield from _of_folder(Path(spec.origin).parent)
    else:
        yield Path(spec.origin)


def _of_config(path: Path) -> Iterator[Path]:
    from tillstream.configs.cli import check

    config = check(path)
    wanted = [each.transform for each in config.entities.values() if each.transform is not None]
    from tillstream.transforms.flows import registry_of

    registry = registry_of(config)
    for name in wanted:
        yield Path(inspect.getfile(registry.get(name)))
