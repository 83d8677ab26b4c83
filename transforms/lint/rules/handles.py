"""TS002: clients, locks and files are opened in setup."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import attribute, dofns, hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Function, Source, body_of, bound_names, own_nodes
from tillstream.transforms.lint.values import handle

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    classes = dofns(source)
    for each in classes:
        for name, value in each.attributes.items():
            kind = handle(source, value)
            if kind is not None:
                yield value, f"found {kind} in the class attribute {name!r}"
        if "__init__" in each.methods:
            yield from _made_in_init(source, each.methods["__init__"])
    for running in hot(source):
        yield from _of_module(source, running.function)
    names = {each.node.name for each in classes}
    nodes = {each.node for each in classes}
    for function in ast.walk(source.tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            held = dict(_held(source, function))
            yield from _closures(source, function, held, nodes)
            yield from _given(source, function, held, names)


def _made_in_init(source: Source, init: ast.FunctionDef) -> Iterator[Found]:
    held = dict(_held(source, init))
    for node in body_of(init):
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        names = [name for target in targets if (name := attribute(target)) is not None]
        if value is None or not names:
            continue
        kind = handle(source, value) or (held.get(value.id) if isinstance(value, ast.Name) else None)
        if kind is not None:
            yield value, f"found {kind} made in __init__ for self.{names[0]}"


def _of_module(source: Source, function: Function) -> Iterator[Found]:
    for node in body_of(function):
        value = source.of_module(node)
        kind = None if value is None else handle(source, value)
        if value is not None and kind is not None:
            # There and not at each use: one line to mend, or to excuse.
            yield value, f"found {kind} of the module, in {ast.unparse(node)!r}, used for each element"


def _held(source: Source, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    """Yield the names that a function binds to a handle, with the handle's kind."""
    for node in own_nodes(function):
        pairs: list[tuple[ast.expr | None, ast.expr]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.With):
            pairs = [(item.optional_vars, item.context_expr) for item in node.items]
        for target, value in pairs:
            kind = handle(source, value)
            if kind is not None and isinstance(target, ast.Name):
                yield target.id, kind


def _closures(
    source: Source,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    held: dict[str, str],
    classes: set[ast.ClassDef],
) -> Iterator[Found]:
    for node in body_of(function):
        inner: ast.AST | None = node if isinstance(node, ast.ClassDef) and node in classes else None
        if (source.called(node) or "").startswith("apache_beam.") and isinstance(node, ast.Call):
            inner = next((each for each in node.args[:1] if isinstance(each, ast.Lambda)), None)
        for used in ast.walk(inner) if inner is not None else ():
            if isinstance(used, ast.Name) and used.id in held and not _is_rebound(source, used, function):
                yield used, f"found {held[used.id]} of the function around it in {used.id!r}"


def _is_rebound(source: Source, used: ast.Name, function: ast.AST) -> bool:
    """Tell whether a function between a name and the one that holds the handle binds the name anew."""
    for around in source.around(used):
        if around is function:
            break
        if not isinstance(around, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if used.id in bound_names(around):
            return True
    return False


def _given(
    source: Source,
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    held: dict[str, str],
    classes: set[str],
) -> Iterator[Found]:
    for node in body_of(function):
        if not isinstance(node, ast.Call) or source.name(node.func) not in classes:
            continue
        for argument in [*node.args, *(each.value for each in node.keywords)]:
            kind = handle(source, argument)
            if kind is None and isinstance(argument, ast.Name):
                kind = held.get(argument.id)
            if kind is not None:
                yield argument, f"found {kind} given to the DoFn {ast.unparse(node.func)}"


RULE = Rule(
    code="TS002",
    about="a client, socket, lock or open file that a DoFn takes along",
    why="a DoFn is made where the job is planned and sent to its workers, and this belongs to one process",
    instead="open it in setup() and close it in teardown()",
    check=_check,
)
