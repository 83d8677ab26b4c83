"""TS010: what ends a process is not swallowed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        for node in body_of(each.function):
            if isinstance(node, ast.ExceptHandler) and not _raises(node):
                kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
                if node.type is None:
                    yield node, "found a bare except"
                elif any(kind and source.name(kind) == "builtins.BaseException" for kind in kinds):
                    yield node, "found except BaseException"


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))


RULE = Rule(
    code="TS010",
    about="a bare except, or except BaseException, that raises nothing",
    why="it swallows the end of the process, a record's time-out and the error that its dead letter tells of",
    instead="name the exceptions you expect; others become dead letters with their traceback",
    check=_check,
)
