"""TS001: transforms are labelled."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    own = {
        node.name
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if (source.name(base) or "").startswith("apache_beam") and ast.unparse(base).endswith("PTransform")
    }
    for node in ast.walk(source.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            name = _applied(source, node.right)
            if name is not None and (name.startswith("apache_beam.") or name in own):
                yield node.right, f"found {ast.unparse(node.right)[:60]!r} applied without a label"


def _applied(source: Source, node: ast.expr) -> str | None:
    """Return what makes a transform, behind calls such as `.with_outputs()`."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if not isinstance(node.func.value, ast.Call):
            break
        node = node.func.value
    return source.called(node)


RULE = Rule(
    code="TS001",
    about="a transform without a label",
    why="its name then holds what it calls, of a lambda the line number, and savepoints find state by name",
    instead='write `"Label" >> transform`',
    check=_check,
)
