"""TS012: a bundle's start and end yield nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, dofns
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of

__all__ = ["RULE"]


def _check(source: Source) -> Iterator[Found]:
    for each in dofns(source):
        if _is_of_beam(source, each):
            continue
        for name in ("start_bundle", "finish_bundle"):
            method = each.methods.get(name)
            for node in body_of(method) if method is not None else ():
                if isinstance(node, ast.Yield | ast.YieldFrom):
                    yield node, f"found a yield in {name}"


def _is_of_beam(source: Source, owner: DoFnClass) -> bool:
    """Tell whether process takes Beam's own parameters, which is the slow path, where bundles may yield."""
    process = owner.methods.get("process")
    if process is None:
        return False
    defaults = [*process.args.defaults, *process.args.kw_defaults]
    names = [
        source.name(each.func if isinstance(each, ast.Call) else each) or "" for each in defaults if each
    ]
    return any(".DoFn." in name for name in names)


RULE = Rule(
    code="TS012",
    about="a yield in start_bundle or finish_bundle",
    why="what it yields belongs to no change, and bundles end where the runner likes",
    instead="yield in process; keep what must wait in KeyedState()",
    check=_check,
)
