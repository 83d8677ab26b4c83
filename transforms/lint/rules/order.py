"""TS005: what is made of an event does not depend on the order of a set, nor on hash() or id()."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import Hot, attribute, hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of
from tillstream.transforms.lint.values import is_set

__all__ = ["RULE"]

# These keep the order of what they are given, or take the first of it.
_ORDERED = frozenset(
    ["builtins.list", "builtins.tuple", "builtins.iter", "builtins.enumerate", "builtins.zip", "builtins.map"]
)
# A comprehension within these has no order any more.
_UNORDERED = frozenset(
    [
        "builtins.sorted",
        "builtins.sum",
        "builtins.min",
        "builtins.max",
        "builtins.any",
        "builtins.all",
        "builtins.len",
        "builtins.set",
        "builtins.frozenset",
        "collections.Counter",
        "math.fsum",
    ]
)


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        known = _known(source, each)
        for node in body_of(each.function):
            yield from _ordered(source, node, known, each)
            if isinstance(node, ast.Call):
                yield from _addresses(source, node)


def _addresses(source: Source, node: ast.Call) -> Iterator[Found]:
    name = source.name(node.func)
    if name == "builtins.id":
        yield node, "found id(), an address in this process"
    elif name == "builtins.hash" and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield node, "found hash(), which differs from process to process for text"


def _ordered(source: Source, node: ast.AST, known: dict[str, ast.expr], here: Hot) -> Iterator[Found]:
    for each in _kept(source, node):
        values = [each]
        held = attribute(each)
        if held is not None and here.owner is not None:
            values = here.owner.values(held)
        if values and all(is_set(source, value, known) for value in values):
            yield each, f"found the order of the set {ast.unparse(each)[:60]}"


def _kept(source: Source, node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node goes through in its own order."""
    if isinstance(node, ast.For):
        yield node.iter
    elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
        if source.called(source.parents.get(node, node)) not in _UNORDERED:
            for generator in node.generators:
                yield generator.iter
    elif isinstance(node, ast.YieldFrom | ast.Starred):
        if not isinstance(source.parents.get(node), ast.Set):
            yield node.value
    elif isinstance(node, ast.Call):
        is_join = isinstance(node.func, ast.Attribute) and node.func.attr == "join"
        is_within = source.called(source.parents.get(node, node)) in _UNORDERED
        if (source.name(node.func) in _ORDERED or is_join) and node.args and not is_within:
            yield node.args[-1]


def _known(source: Source, here: Hot) -> dict[str, ast.expr]:
    """Return what names are bound to, where that is one thing alone."""
    bound: dict[str, list[ast.expr]] = {}
    arguments = here.function.args
    for parameter in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        bound[parameter.arg] = []
    for node in body_of(here.function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    bound.setdefault(target.id, []).append(node.value)
    local = {name: values[0] for name, values in bound.items() if len(values) == 1}
    return {**{name: value for name, value in source.assigned.items() if name not in bound}, **local}


RULE = Rule(
    code="TS005",
    about="the order of a set, hash() or id() in what runs for each element",
    why="it is another one in each process, so a replay makes other rows of the same event",
    instead="go through sorted(...), and hash with hashlib or zlib.crc32",
    check=_check,
)
