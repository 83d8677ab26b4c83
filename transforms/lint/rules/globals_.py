"""TS008: nothing global is changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of, bound_names
from tillstream.transforms.lint.values import MUTATORS, is_container

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    shared = {name for name, value in source.assigned.items() if is_container(source, value)}
    for each in hot(source):
        declared = {
            name for node in body_of(each.function) if isinstance(node, ast.Global) for name in node.names
        }
        local = bound_names(each.function)
        for node in body_of(each.function):
            if isinstance(node, ast.Name) and node.id in declared and not isinstance(node.ctx, ast.Load):
                yield node, f"found the global {node.id!r} changed"
            name = _changed(node)
            if name in shared and name not in local:
                yield node, f"found the global {name!r} changed"


def _changed(node: ast.AST) -> str | None:
    held: ast.expr | None = None
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
        held = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        held = node.func.value
    if isinstance(held, ast.Subscript):
        held = held.value
    return held.id if isinstance(held, ast.Name) else None


RULE = Rule(
    code="TS008",
    about="a global that is changed in what runs for each element",
    why="no checkpoint holds it, each worker has another one, and clients in one process would share it",
    instead="ask for KeyedState() in process",
    check=_check,
)
