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
        given = _given(node)
        name = None if given is None else _applied(source, given)
        if given is not None and name is not None and (name.startswith("apache_beam.") or name in own):
            yield given, f"found {ast.unparse(given)[:60]!r} applied without a label"


def _given(node: ast.AST) -> ast.expr | None:
    """Return what `|` applies, or `.apply(transform, input, label)` where it is given no label."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return node.right
    if not isinstance(node, ast.Call) or getattr(node.func, "attr", None) != "apply":
        return None
    transform, _, label, *_ = *node.args, None, None, None
    return None if label is not None or any(each.arg == "label" for each in node.keywords) else transform


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
