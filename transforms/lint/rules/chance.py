"""TS004: what is made of an event does not depend on chance."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, attribute, hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Source, body_of

__all__ = ["RULE"]

_EXACT = frozenset({"uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "ulid.new"})
_MODULES = ("random.", "secrets.", "numpy.random.")
_GENERATORS = frozenset({"random.Random", "random.SystemRandom", "numpy.random.default_rng"})
# With a seed out of the event these are no chance; compare_digest is none at all.
_SEEDED = frozenset({"random.Random", "numpy.random.default_rng"})
_HARMLESS = frozenset({"secrets.compare_digest"})


def _check(source: Source) -> Iterator[Found]:
    for each in hot(source):
        for node in body_of(each.function):
            if not isinstance(node, ast.Call):
                continue
            name = source.name(node.func)
            if name is not None and _is_chance(name, node):
                yield node, f"found chance, {name}()"
            elif name is None and each.owner is not None and _is_of_generator(source, node, each.owner):
                yield node, f"found chance, {ast.unparse(node.func)}()"


def _is_chance(name: str, call: ast.Call) -> bool:
    if name in _HARMLESS or (name in _SEEDED and (call.args or call.keywords)):
        return False
    return name in _EXACT or name.startswith(_MODULES)


def _is_of_generator(source: Source, call: ast.Call, owner: DoFnClass) -> bool:
    held = attribute(call.func.value) if isinstance(call.func, ast.Attribute) else None
    return held is not None and any(source.called(value) in _GENERATORS for value in owner.values(held))


RULE = Rule(
    code="TS004",
    about="random numbers, random ids or secrets in what runs for each element",
    why="a replay after a failure makes other rows of the same event, and the first ones stay beside them",
    instead="derive it from the event: uuid.uuid5(), hashlib, or random.Random(seed out of the event's key)",
    check=_check,
)
