"""Find a file's DoFns, and what of its code runs for each element."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from tillstream.transforms.lint.source import Function, Source, body_of

__all__ = ["DoFnClass", "Hot", "attribute", "dofns", "hot", "is_attribute", "own_attribute"]

_BASES = ("DoFn", "RestrictionProvider", "CombineFn")
_LIFECYCLE = frozenset({"__init__", "setup", "start_bundle", "finish_bundle", "teardown"})
_APPLIED = frozenset({"Map", "FlatMap", "Filter", "MapTuple", "FlatMapTuple"})


@dataclass(frozen=True)
class DoFnClass:
    """Hold one DoFn, Aggregate or CombineFn.

    Attributes:
        node: the class.
        methods: by name.
        attributes: what the class's body assigns, by name.
        bindings: what its methods assign to `self`, by name of the attribute, with the method's name.
        is_process_only: elements come through `process` alone, as with a DoFn.
    """

    node: ast.ClassDef
    methods: dict[str, ast.FunctionDef]
    attributes: dict[str, ast.expr]
    bindings: dict[str, list[tuple[str, ast.expr]]] = field(default_factory=dict)
    is_process_only: bool = True

    def values(self, attribute: str) -> list[ast.expr]:
        """Return all that the class or its methods assign to an attribute."""
        found = [value for _, value in self.bindings.get(attribute, ())]
        return found + ([self.attributes[attribute]] if attribute in self.attributes else [])


@dataclass(frozen=True)
class Hot:
    """Hold a function that runs for each element.

    Attributes:
        function: a method, a function that one calls, or one that a Map or Filter applies.
        owner: the class whose method it is, or None.
    """

    function: Function
    owner: DoFnClass | None


@lru_cache(maxsize=1)  # all rules look at one file before the next one
def dofns(source: Source) -> list[DoFnClass]:
    """Return the DoFns, Aggregates and CombineFns that a file defines."""
    classes = [node for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    known = {node.name: node for node in classes}
    return [_described(node) for node in classes if _is_beam(source, node, known, set())]


@lru_cache(maxsize=1)
def hot(source: Source) -> list[Hot]:
    """Return all functions of a file that run for each element, each once."""
    found: dict[int, Hot] = {}
    waiting = [Hot(method, each) for each in dofns(source) for method in _entries(source, each)]
    waiting += [Hot(function, None) for function in _applied(source)]
    while waiting:
        here = waiting.pop()
        if id(here.function) not in found:
            found[id(here.function)] = here
            waiting += _callees(source, here)
    return list(found.values())


def attribute(node: ast.AST) -> str | None:
    """Return the name of an attribute of `self`; None for anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    return None


def own_attribute(node: ast.AST, owner: DoFnClass) -> str | None:
    """Return the name of an attribute of `self` or of its class, however that is named; None otherwise."""
    names = ("self", "cls", owner.node.name, "type(self)", "self.__class__")
    return node.attr if isinstance(node, ast.Attribute) and ast.unparse(node.value) in names else None


def is_attribute(node: ast.AST, name: str) -> bool:
    """Tell whether an expression is `self.<name>`."""
    return attribute(node) == name


def _is_beam(source: Source, node: ast.ClassDef, known: dict[str, ast.ClassDef], seen: set[str]) -> bool:
    seen.add(node.name)
    if _is_marked(source, node):
        return True
    for base in node.bases:
        name = source.name(base) or ""
        if name.startswith("apache_beam") and name.rsplit(".", 1)[-1] in _BASES:
            return True
        if name in known and name not in seen and _is_beam(source, known[name], known, seen):
            return True
    return False


def _is_marked(source: Source, node: ast.ClassDef) -> bool:
    names = [source.called(each) or "" for each in node.decorator_list]
    return any(name.startswith("tillstream.") and name.endswith(".transform") for name in names)


def _described(node: ast.ClassDef) -> DoFnClass:
    methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
    attributes: dict[str, ast.expr] = {}
    for each in node.body:
        if isinstance(each, ast.Assign):
            attributes |= {target.id: each.value for target in each.targets if isinstance(target, ast.Name)}
        elif isinstance(each, ast.AnnAssign) and each.value is not None and isinstance(each.target, ast.Name):
            attributes[each.target.id] = each.value
    found = DoFnClass(node, methods, attributes, is_process_only="process" in methods)
    for name, method in methods.items():
        for inner in body_of(method):
            targets = inner.targets if isinstance(inner, ast.Assign) else ()
            if isinstance(inner, ast.AnnAssign):
                targets = [inner.target]
            for target in targets:
                held = attribute(target)
                if held is not None:
                    assert isinstance(inner, ast.Assign | ast.AnnAssign)
                    if inner.value is not None:
                        found.bindings.setdefault(held, []).append((name, inner.value))
    return found


def _entries(source: Source, owner: DoFnClass) -> Iterator[ast.FunctionDef]:
    for name, method in owner.methods.items():
        is_timer = any((source.called(each) or "").endswith("on_timer") for each in method.decorator_list)
        if name == "process" or is_timer or not (owner.is_process_only or name in _LIFECYCLE):
            yield method


def _applied(source: Source) -> Iterator[Function]:
    for node in ast.walk(source.tree):
        name = source.called(node) or ""
        if not name.startswith("apache_beam.") or name.rsplit(".", 1)[-1] not in _APPLIED:
            continue
        assert isinstance(node, ast.Call)
        for argument in node.args[:1]:
            if isinstance(argument, ast.Lambda):
                yield argument
            elif isinstance(argument, ast.Name) and argument.id in source.functions:
                yield source.functions[argument.id]


def _callees(source: Source, here: Hot) -> Iterator[Hot]:
    for node in body_of(here.function):
        if not isinstance(node, ast.Call):
            continue
        method = attribute(node.func)
        if here.owner is not None and method in here.owner.methods and method not in _LIFECYCLE:
            assert method is not None
            yield Hot(here.owner.methods[method], here.owner)
        elif isinstance(node.func, ast.Name) and source.name(node.func) in source.functions:
            yield Hot(source.functions[node.func.id], None)
