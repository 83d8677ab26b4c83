"""TS006: nothing that can be changed is shared by all instances, or by all calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, dofns, own_attribute
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of
from tillstream.transforms.lint.values import MUTATORS, is_container

__all__ = ["RULE", "is_shared"]


def _check(source: Source) -> Iterator[Found]:
    for each in dofns(source):
        for method in each.methods.values():
            defaults = [*method.args.defaults, *(value for value in method.args.kw_defaults if value)]
            for value in defaults:
                if is_container(source, value):
                    yield value, f"found {ast.unparse(value)[:40]} as a default argument of {method.name}"
        for name, value in each.attributes.items():
            if is_shared(source, each, name):
                yield value, f"found {ast.unparse(value)[:40]} as the class attribute {name!r}"


def is_shared(source: Source, owner: DoFnClass, name: str) -> bool:
    """Tell whether the class has an attribute of this name that this rule finds."""
    value = owner.attributes.get(name)
    if value is None or not is_container(source, value):
        return False
    return _is_empty(value) or _is_changed(owner, name)


def _is_empty(value: ast.expr) -> bool:
    """Tell whether it holds nothing yet: a table of constants is no state."""
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).rsplit(".", 1)[-1]
        return name == "defaultdict" or not (value.args or value.keywords)
    return not (getattr(value, "elts", None) or getattr(value, "keys", None) or hasattr(value, "generators"))


def _is_changed(owner: DoFnClass, name: str) -> bool:
    for method in owner.methods.values():
        for node in body_of(method):
            is_set = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
            changes = isinstance(node, ast.Attribute) and node.attr in MUTATORS
            if (is_set or changes) and own_attribute(node.value, owner) == name:  # type: ignore[attr-defined]
                return True
    return False


RULE = Rule(
    code="TS006",
    about="a default argument or class attribute that is changed in place",
    why="all instances and calls of a process share it, no checkpoint holds it, and it grows without end",
    instead="ask for KeyedState() in process, or make it in start_bundle() if a bundle is all it is for",
    check=_check,
)
