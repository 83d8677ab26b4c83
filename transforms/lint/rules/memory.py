"""TS007: an instance remembers nothing from element to element."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, attribute, hot, own_attribute
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.rules.defaults import is_shared
from tillstream.transforms.lint.source import Source, body_of
from tillstream.transforms.lint.values import MUTATORS, is_container

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        if each.owner is None:
            continue
        for node in body_of(each.function):
            for name in _changed(source, node, each.owner):
                if not is_shared(source, each.owner, name) and not _is_of_bundle(each.owner, name):
                    yield node, f"found self.{name} changed in {_name(each.function)}"


def _name(function: ast.AST) -> str:
    return str(getattr(function, "name", "a lambda"))


def _changed(source: Source, node: ast.AST, owner: DoFnClass) -> Iterator[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        for each in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            name = own_attribute(each.value if isinstance(each, ast.Subscript) else each, owner)
            if name is not None and not _is_lazy(source, node, owner, name):
                yield name
    if source.called(node) in ("builtins.setattr", "builtins.delattr") and isinstance(node, ast.Call):
        name = _named(node, owner)
        if name is not None and not _is_lazy(source, node, owner, name):
            yield name
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        held = node.func.value
        name = own_attribute(held.value if isinstance(held, ast.Subscript) else held, owner)
        # Beam's distributions have an `update` too: only what is surely a container counts.
        if name is not None and any(is_container(source, value) for value in owner.values(name)):
            yield name


def _named(call: ast.Call, owner: DoFnClass) -> str | None:
    """Return the attribute that setattr(self, ...) sets, as code where it is no constant."""
    on, name, *_ = *call.args, None, None
    if on is None or name is None or own_attribute(ast.Attribute(on, "x"), owner) is None:
        return None
    return str(name.value) if isinstance(name, ast.Constant) else f"{{{ast.unparse(name)}}}"


def _is_lazy(source: Source, node: ast.AST, owner: DoFnClass, name: str) -> bool:
    """Tell whether it is set where it was found to be None or absent: made once, when first needed."""
    for around in source.around(node):
        if isinstance(around, ast.If):
            for test in ast.walk(around.test):
                is_none = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is)
                if is_none and own_attribute(test.left, owner) == name:  # type: ignore[attr-defined]
                    return True
                if isinstance(test, ast.Call) and source.name(test.func) == "builtins.hasattr":
                    return True
        if isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef):
            break
    return False


def _is_of_bundle(owner: DoFnClass, name: str) -> bool:
    starting = owner.methods.get("start_bundle")
    called = (
        {attribute(node.func) for node in body_of(starting) if isinstance(node, ast.Call)}
        if starting
        else set()
    )
    return any(method == "start_bundle" or method in called for method, _ in owner.bindings.get(name, ()))


RULE = Rule(
    code="TS007",
    about="a counter, cache or set on the instance that process changes",
    why="no checkpoint holds it: it is lost with the worker, and each worker has another one",
    instead="ask for KeyedState() in process, as in `def process(self, event, seen=KeyedState())`",
    check=_check,
)
