"""TS006: nothing that can be changed is shared by all instances, or by all calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, attribute, dofns
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of
from tillstream.transforms.lint.values import MUTATORS, is_container

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    for each in dofns(source):
        for method in each.methods.values():
            defaults = [*method.args.defaults, *(value for value in method.args.kw_defaults if value)]
            for value in defaults:
                if is_container(source, value):
                    yield value, f"found {ast.unparse(value)[:40]} as a default argument of {method.name}"
        for name, value in each.attributes.items():
            if is_container(source, value) and (_is_empty(value) or _is_changed(each, name)):
                yield value, f"found {ast.unparse(value)[:40]} as the class attribute {name!r}"


def _is_empty(value: ast.expr) -> bool:
    """Tell whether it holds nothing yet: a table of constants is no state."""
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).rsplit(".", 1)[-1]
        return name == "defaultdict" or not (value.args or value.keywords)
    return not (getattr(value, "elts", None) or getattr(value, "keys", None) or hasattr(value, "generators"))


def _is_changed(owner: DoFnClass, name: str) -> bool:
    def is_it(node: ast.AST) -> bool:
        of_class = isinstance(node, ast.Attribute) and node.attr == name and isinstance(node.value, ast.Name)
        return attribute(node) == name or (of_class and node.value.id in ("cls", owner.node.name))  # type: ignore[attr-defined]

    for method in owner.methods.values():
        for node in body_of(method):
            if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and is_it(node.value):
                return True
            changes = isinstance(node, ast.Attribute) and node.attr in MUTATORS
            if changes and is_it(node.value):  # type: ignore[attr-defined]
                return True
    return False


RULE = Rule(
    code="TS006",
    about="a default argument or class attribute that is changed in place",
    why="all instances and calls of a process share it, no checkpoint holds it, and it grows without end",
    instead="ask for KeyedState() in process, or make it in start_bundle() if a bundle is all it is for",
    check=_check,
)
