"""Carry a client's own transforms in its template, so that a TaskManager needs none of its files.

The modules that a config lists, what they import from beside them, and the files of their packages, travel as
an artifact of the job's environment (beam_runner_api.proto, ArtifactInformation, EmbeddedFilePayload). Flink
hands it to each process that runs the stages; that unpacks it for itself.
"""

from __future__ import annotations

import ast
import hashlib
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tillstream.pipelines.errors import UserError
from tillstream.runners.carried import opened

__all__ = ["BYTES_MAX", "code_digest", "pack", "packages_in"]

# It is a part of each stage's description, which Flink sends around, and of a message of at most 4 MiB.
BYTES_MAX = 1_000_000
# The oldest time that a zip entry can bear: the bytes must not depend on the clock.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PASSED_OVER = frozenset({"__pycache__"})


def pack(modules: Iterable[str], folder: Path) -> bytes:
    """Return a zip of modules as they lie in a folder; empty where none of them lies there.

    Equal files give equal bytes.

    Args:
        modules: their dotted names; those that lie elsewhere are passed over.
        folder: in which they are looked for.

    Raises:
        UserError: if they weigh too much.
    """
    files = {path.relative_to(folder).as_posix(): path for path in _files(modules, folder)}
    if not files:
        return b""
    with tempfile.TemporaryFile() as content:
        with zipfile.ZipFile(content, "w") as out:
            for name, path in sorted(files.items()):
                out.writestr(zipfile.ZipInfo(name, _EPOCH), path.read_bytes(), zipfile.ZIP_DEFLATED)
        content.seek(0)
        packed: bytes = content.read()
    if len(packed) > BYTES_MAX:
        heavy = max(files.values(), key=lambda path: path.stat().st_size)
        raise UserError(
            f"transforms.path {folder}: found {len(packed) // 1000} KB of code and data, packed, the most "
            f"in {heavy}, expected at most {BYTES_MAX // 1000} KB: install what is large where the job runs, "
            "as a package that announces its transforms (docs/templates.md)"
        )
    return packed


def code_digest(content: bytes) -> str:
    """Return twelve hexadecimal digits of what is carried; empty for nothing.

    Args:
        content: as `pack` returns it. Other compressors give the same digits.
    """
    if not content:
        return ""
    found = hashlib.sha256()
    with opened(content) as packed:
        for name in packed.namelist():
            found.update(f"{name}\0{hashlib.sha256(packed.read(name)).hexdigest()}\n".encode())
    return found.hexdigest()[:12]


def packages_in(content: bytes) -> frozenset[str]:
    """Return the names of the packages and single modules that are carried, as `pack` returns them."""
    if not content:
        return frozenset()
    with opened(content) as packed:
        return frozenset(name.partition("/")[0].removesuffix(".py") for name in packed.namelist())


def _files(modules: Iterable[str], folder: Path) -> Iterator[Path]:
    todo, known = sorted({name.partition(".")[0] for name in modules}), set()
    while todo:
        package = todo.pop()
        if package in known:
            continue
        known.add(package)
        for path in _files_of(package, folder):
            yield path
            if path.suffix == ".py":
                todo += _imports(path)


def _files_of(package: str, folder: Path) -> list[Path]:
    module, nested = folder / f"{package}.py", folder / package
    if nested.is_dir():
        # With what lies beside its code: queries, tables, models.
        return [
            path for path in sorted(nested.rglob("*")) if path.is_file() and not _is_passed_over(path, folder)
        ]
    return [module] if module.is_file() else []


def _is_passed_over(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") or part in _PASSED_OVER for part in path.relative_to(folder).parts)


def _imports(path: Path) -> list[str]:
    """Return the packages that a module names in its imports, wherever in it they are."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return []  # whoever imports it is told
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            found.add(node.module.partition(".")[0])
    return sorted(found)
