"""Change what a transform must not depend on: the clock, the order of sets, the salt of hashes.

Between two runs the clock goes on by a year, sets are walked the other way round, and `hash` gives other
numbers. That is done to the names that the transform's own modules use or import within functions, while runs
last, and to nobody else's. Not changed are clocks that other packages read, or that stand in an argument's
default, and sets that other code makes (`dict.keys() & other`), that lie inside of a module's other values,
or that a lambda writes as {a, b}.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import inspect
import textwrap
import types
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from typing_extensions import Self

from tillstream.transforms.testing.clocks import Clock
from tillstream.transforms.testing.scopes import classes_of, functions_of, modules_of

__all__ = ["World"]

_SHIFT_S = 366 * 86_400 + 3_661
_SALT = 0x9E3779B9
_MAKES_SETS = frozenset(("BUILD_SET", "SET_ADD", "SET_UPDATE"))
_SET = "__tillstream_set__"


class World:
    """Be what transforms see of the world beside their events; `other` is set between two runs.

    Args:
        classes: the transforms.

    Attributes:
        other: whether the clock, sets and hashes are the other ones.
    """

    def __init__(self, classes: Iterable[type[Any]]) -> None:
        self.other = False
        classes = list(classes)
        self._set, self._frozenset = _shuffled(self, set), _shuffled(self, frozenset)
        self._clock = Clock(lambda: _SHIFT_S if self.other else 0)
        modules = modules_of(classes)
        owners = classes_of(classes, modules)
        functions = list(functions_of(owners, modules))
        self._globals = [
            replaced for module in modules for replaced in self._replaced(vars(module), functions)
        ]
        self._importing = {module.__name__ for module in modules}
        self._codes: list[tuple[types.FunctionType, types.CodeType, types.CodeType]] = [
            (function, function.__code__, code)
            for function in functions
            if (code := _without_set_displays(function)) is not None
        ]
        self._attributes = [
            (owner, name, value, self._wrapped(value))
            for owner in owners
            for name, value in vars(owner).items()
            if type(value) in (set, frozenset)
        ]

    def __enter__(self) -> Self:
        """Put the replacements in place."""
        self._undo: list[tuple[dict[str, Any], str, Any]] = []
        for scope, name, value in self._globals:
            self._undo.append((scope, name, scope.get(name, self)))
            scope[name] = value
        for owner, name, _, wrapped in self._attributes:
            setattr(owner, name, wrapped)
        self._undo.append((vars(builtins), "__import__", builtins.__import__))
        builtins.__import__ = self._imported(builtins.__import__)
        for function, _, changed in self._codes:
            function.__globals__[_SET] = self._set
            function.__code__ = changed
        return self

    def __exit__(self, *raised: object) -> None:
        """Put back what was there."""
        for function, original, _ in self._codes:
            function.__code__ = original
            function.__globals__.pop(_SET, None)
        for owner, name, own, _ in self._attributes:
            setattr(owner, name, own)
        for scope, name, known in reversed(self._undo):
            if known is self:
                del scope[name]
            else:
                scope[name] = known

    def _imported(self, real: Any) -> Any:
        """Return an import statement that gives the author's modules the stand-ins of clocks."""

        def load(name: str, scope: Any = None, *more: Any, **options: Any) -> Any:
            found = real(name, scope, *more, **options)
            if scope is None or scope.get("__name__") not in self._importing:
                return found
            return self._clock.replacement(found) or found

        return load

    def _wrapped(self, value: Any) -> Any:
        return (self._set if type(value) is set else self._frozenset)(value)

    def _replaced(
        self, scope: dict[str, Any], functions: Iterable[types.FunctionType]
    ) -> Iterator[tuple[dict[str, Any], str, Any]]:
        for name, value in list(scope.items()):
            if name.startswith("__"):
                continue
            if type(value) in (set, frozenset):
                yield scope, name, self._wrapped(value)
            else:
                replacement = self._clock.replacement(value)
                if replacement is not None:
                    yield scope, name, replacement
        used = _names_used(each.__code__ for each in functions if each.__globals__ is scope)
        for name, value in (("set", self._set), ("frozenset", self._frozenset), ("hash", self._hash)):
            if name in used and name not in scope:
                yield scope, name, value

    def _hash(self, value: Any) -> int:
        return hash(value) ^ _SALT if self.other else hash(value)


def _shuffled(world: World, base: type[Any]) -> type[Any]:
    """Return a set whose order is one of two, and rests on what it holds alone."""

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, base)

    def ordered(self: Any) -> list[Any]:
        found = sorted(base.__iter__(self), key=lambda each: (crc32(repr(each).encode()), repr(each)))
        return found[::-1] if world.other else found

    def iterate(self: Any) -> Iterator[Any]:
        return iter(ordered(self))

    def pop(self: Any) -> Any:
        if not self:
            raise KeyError("pop from an empty set")
        found = ordered(self)[0]
        self.remove(found)
        return found

    def combined(name: str) -> Any:
        def combine(self: Any, *others: Any) -> Any:
            made = getattr(base, name)(self, *others)
            return made if made is NotImplemented else cls(made)

        return combine

    names = ("__and__", "__or__", "__sub__", "__xor__", "__rand__", "__ror__", "__rsub__", "__rxor__")
    methods = ("copy", "difference", "intersection", "symmetric_difference", "union")
    body: dict[str, Any] = {name: combined(name) for name in (*names, *methods)}
    body["__iter__"] = iterate
    if base is set:
        body["pop"] = pop
    cls = Meta(base.__name__, (base,), body)
    return cls


def _names_used(codes: Iterable[types.CodeType]) -> set[str]:
    return {name for code in codes for each in _nested(code) for name in each.co_names}


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    """Yield code, and that of the functions and comprehensions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _nested(each)


def _makes_sets(code: types.CodeType) -> bool:
    # Of {"a", "b"} that is only walked, Python makes a constant.
    return any(
        isinstance(constant, frozenset) for each in _nested(code) for constant in each.co_consts
    ) or any(
        instruction.opname in _MAKES_SETS
        for each in _nested(code)
        for instruction in dis.get_instructions(each)
    )


class _Displays(ast.NodeTransformer):
    """Have sets that are written as {a, b} or {x for x in y} made by the stand-in."""

    def visit_Set(self, node: ast.Set) -> ast.AST:
        return self._call(node)

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._call(node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        # What is only asked whether it holds something has no order.
        for place, (operator, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            if isinstance(operator, ast.In | ast.NotIn) and isinstance(right, ast.Set):
                self.generic_visit(right)
            else:
                node.comparators[place] = self.visit(right)
        node.left = self.visit(node.left)
        return node

    def _call(self, node: ast.expr) -> ast.AST:
        self.generic_visit(node)
        called = ast.Call(ast.Name(_SET, ast.Load()), [node], [])
        return ast.copy_location(called, node)


def _without_set_displays(function: types.FunctionType) -> types.CodeType | None:
    """Return a function's code with its sets made by the stand-in; None where it makes none that is known."""
    code = function.__code__
    if not _makes_sets(code):
        return None
    with contextlib.suppress(OSError, TypeError, SyntaxError):
        # Of the code, because of a function that wraps another inspect finds the other's.
        lines, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(lines)))
        made = tree.body[0]
        if isinstance(made, ast.FunctionDef):
            made.decorator_list = []
            whole = ast.fix_missing_locations(_within(_Displays().visit(tree), code, function.__qualname__))
            # Tracebacks then show the author's lines.
            compiled = compile(ast.increment_lineno(whole, first - 1), code.co_filename, "exec")
            return _code_named(compiled, code)
    return None


def _within(tree: ast.Module, code: types.CodeType, qualname: str) -> ast.Module:
    """Return the function within what gives it the free names, and the class, that it had."""
    owner = qualname.split(".")[-2:-1]
    body: list[ast.stmt] = tree.body
    if owner and owner[0].isidentifier():
        body = _scope(f"class {owner[0]}: pass", body)
    free = [name for name in code.co_freevars if name != "__class__"]
    if not free:
        return ast.Module(body, [])
    return ast.Module(_scope(f"def factory({', '.join(free)}): pass", body), [])


def _scope(header: str, body: list[ast.stmt]) -> list[ast.stmt]:
    (scope,) = ast.parse(header).body
    assert isinstance(scope, ast.FunctionDef | ast.ClassDef)
    scope.body = body
    return [scope]


def _code_named(code: types.CodeType, like: types.CodeType) -> types.CodeType | None:
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            if each.co_name == like.co_name and each.co_freevars == like.co_freevars:
                return each
            found = _code_named(each, like)
            if found is not None:
                return found
    return None
