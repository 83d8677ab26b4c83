"""Read one Python file, and tell what its names mean."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

from tillstream.pipelines.errors import UserError

__all__ = ["Function", "Source", "body_of", "bound_names", "own_nodes", "read_source"]

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BUILTINS = frozenset(dir(builtins))
_NOQA = re.compile(r"#\s*noqa(?::\s*(?P<codes>[A-Z]+[0-9]+(?:[,\s]+[A-Z]+[0-9]+)*))?", re.IGNORECASE)


def read_source(path: Path) -> Source:
    """Return a file's syntax.

    Raises:
        UserError: if it cannot be read or is not Python, with the place.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # as Python does: with a byte order mark or without
        return Source(path, text, ast.parse(text, str(path)))
    except SyntaxError as error:
        at = f"{path}:{error.lineno or 1}:{error.offset or 1}"
        raise UserError(f"{at}: found {error.msg}, expected Python") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: found {error}, expected a Python file in UTF-8") from error


class Source:
    """Hold one file's syntax tree with what its names stand for.

    Args:
        path: of the file.
        text: its content.
        tree: its syntax.
    """

    def __init__(self, path: Path, text: str, tree: ast.Module) -> None:
        self.path = path
        self.tree = tree
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.imports = dict(_imports(tree))
        self.functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
        self.assigned = dict(_assigned(tree.body))
        self._top = {*self.functions, *self.assigned, *self.imports}
        self._top |= {each.name for each in tree.body if isinstance(each, ast.ClassDef)}
        self._lines = text.splitlines()
        self._local: dict[ast.AST, set[str]] = {}

    def name(self, node: ast.AST) -> str | None:
        """Return what an expression names, dotted and from its origin; None where that cannot be told.

        `dt.now` is `datetime.datetime.now` after `from datetime import datetime as dt`, and `open` is
        `builtins.open` where the file has no `open` of its own.
        """
        if isinstance(node, ast.Attribute):
            base = self.name(node.value)
            return None if base is None else f"{base}.{node.attr}"
        if not isinstance(node, ast.Name) or self._is_local(node):
            return None
        if node.id in self.imports:
            return self.imports[node.id]
        return node.id if node.id in self._top or node.id not in _BUILTINS else f"builtins.{node.id}"

    def called(self, node: ast.AST) -> str | None:
        """Return what a call calls, as `name` does; None where the node is no call."""
        return self.name(node.func) if isinstance(node, ast.Call) else None

    def of_module(self, node: ast.AST) -> ast.expr | None:
        """Return what the module binds a name to that an expression is; None where it is no such name."""
        is_one = isinstance(node, ast.Name) and self.name(node) == node.id
        return self.assigned.get(node.id) if is_one else None  # type: ignore[attr-defined]

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a node lies in, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def is_excused(self, node: ast.AST, code: str) -> bool:
        """Tell whether a `noqa` on the first or last line of a node sets a rule aside for it."""
        first: int = getattr(node, "lineno", 1)
        last: int = getattr(node, "end_lineno", None) or first
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.For)):
            last = first
        for number in (first, last):
            found = _NOQA.search(self._lines[number - 1]) if number <= len(self._lines) else None
            if found and (found["codes"] is None or code in re.split(r"[,\s]+", found["codes"].upper())):
                return True
        return False

    def _is_local(self, node: ast.Name) -> bool:
        return any(
            isinstance(each, _FUNCTIONS) and node.id in self._names(each) for each in self.around(node)
        )

    def _names(self, function: Function) -> set[str]:
        if function not in self._local:
            imported = {name for name, _ in _imports(function)}
            self._local[function] = bound_names(function) - imported
        return self._local[function]


def body_of(function: Function) -> Iterator[ast.AST]:
    """Yield all nodes that run when a function is called, and not those of its defaults and decorators."""
    statements = [function.body] if isinstance(function, ast.Lambda) else function.body
    for statement in statements:
        yield from ast.walk(statement)


def own_nodes(function: Function) -> Iterator[ast.AST]:
    """Yield what `body_of` does, without what lies in functions and classes inside."""
    waiting: list[ast.AST] = [function.body] if isinstance(function, ast.Lambda) else list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def bound_names(function: Function) -> set[str]:
    """Return the names that a function binds: its parameters, and what it assigns."""
    arguments = function.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    names = {each.arg for each in every if each is not None}
    shared: set[str] = set()
    for node in body_of(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            shared |= set(node.names)
    return names - shared


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                yield (each.asname, each.name) if each.asname else (each.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            for each in node.names:
                yield each.asname or each.name, f"{node.module}.{each.name}"


def _assigned(statements: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in statements:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                assert isinstance(node, ast.Assign | ast.AnnAssign)
                assert node.value is not None
                yield target.id, node.value
