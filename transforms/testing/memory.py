"""Empty what modules and classes remember, as a process that begins anew finds it.

What a DoFn keeps in a module's global, a class attribute, an argument's default or behind an lru_cache
outlives its instances, yet not its process. A crash, a restart and another instance are another process.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import random
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from typing_extensions import Self

from tillstream.transforms.testing.scopes import classes_of, functions_of, modules_of

__all__ = ["Memory"]

_NOTHING = object()
# Changed by what reads them, and copied whole.
_COUNTERS = (itertools.count, itertools.cycle, random.Random)
_FIXED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, property)


class Memory:
    """Be the memory of the processes that a transform runs in, one at a time.

    Containers keep their identity, and their contents are put back; other names are bound again. Not seen are
    objects of other packages, what lies in a closure's cells, and other modules than those of the transform's
    own package that it uses.

    Args:
        classes: the transforms.
    """

    def __init__(self, classes: Iterable[type[Any]]) -> None:
        classes = list(classes)
        modules = modules_of(classes)
        owners = classes_of(classes, modules)
        functions = list(functions_of(owners, modules))
        names = {module.__name__ for module in modules}
        self._scopes = [
            _Scope(vars(module), vars(module).__setitem__, vars(module).pop) for module in modules
        ]
        self._scopes += [_scope_of(owner) for owner in owners]
        self._scopes += [_Scope(vars(each), vars(each).__setitem__, vars(each).pop) for each in functions]
        self._contents: dict[int, _Contents] = {}
        for value in self._values(functions):
            if id(value) not in self._contents and _is_changed(value, names):
                self._contents[id(value)] = _Contents(value)
        self._caches = [
            value
            for scope in self._scopes
            for value in scope.values()
            if isinstance(value, functools._lru_cache_wrapper)  # noqa: SLF001  (its type has no other name)
            and getattr(value.__wrapped__, "__module__", None) in names
        ]
        self._process = 0
        self._others: dict[int, list[Any]] = {}

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Put back what was there at first."""
        self.forget()

    def forget(self) -> None:
        """Go back to what each process has when it begins."""
        self._others = {}
        self._process = 0
        for scope in self._scopes:
            scope.forget()
        for contents in self._contents.values():
            contents.forget()
        self._clear_caches()

    def switch(self, process: int) -> None:
        """Let another process go on, with what it remembered last.

        Args:
            process: number of it; the first one is 0.
        """
        if process == self._process:
            return
        parts: list[_Scope | _Contents] = [*self._scopes, *self._contents.values()]
        self._others[self._process] = [each.take() for each in parts]
        for part, held in zip(parts, self._others.pop(process, [_NOTHING] * len(parts)), strict=True):
            if held is _NOTHING:
                part.forget()
            else:
                part.give(held)
        self._process = process
        self._clear_caches()

    def _values(self, functions: Iterable[types.FunctionType]) -> Iterator[Any]:
        for scope in self._scopes:
            yield from scope.values()
        for each in functions:
            yield from each.__defaults__ or ()
            yield from (each.__kwdefaults__ or {}).values()

    def _clear_caches(self) -> None:
        for cache in self._caches:
            cache.cache_clear()


class _Scope:
    """Hold which names are bound to what; new ones that data is bound to are not there in the beginning."""

    def __init__(
        self,
        names: Any,
        bind: Callable[[str, Any], Any],
        unbind: Callable[[str], Any],
    ) -> None:
        self._names = names
        self._bind = bind
        self._unbind = unbind
        self._first = self._data()
        self._counters = {
            name: found
            for name, value in self._first.items()
            if isinstance(value, _COUNTERS) and (found := _copied(value)) is not value
        }

    def values(self) -> list[Any]:
        """Return what names are bound to."""
        return [
            getattr(value, "__func__", value)
            for name, value in self._names.items()
            if not name.startswith("__")  # such as __builtins__, which is everybody's
        ]

    def forget(self) -> None:
        """Bind all names as in the beginning."""
        self.give({**self._first, **{name: _copied(value) for name, value in self._counters.items()}})

    def take(self) -> Any:
        """Return what names are bound to, to be given back."""
        return self._data()

    def give(self, held: Any) -> None:
        """Bind names as they were taken."""
        now = self._data()
        for name, value in held.items():
            if now.get(name, _NOTHING) is not value:
                self._bind(name, value)
        for name in now.keys() - held.keys():
            self._unbind(name)

    def _data(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in self._names.items()
            if not name.startswith("__") and not isinstance(value, _FIXED) and not hasattr(value, "__get__")
        }


def _scope_of(owner: type[Any]) -> _Scope:
    def bind(name: str, value: Any) -> None:
        setattr(owner, name, value)

    def unbind(name: str) -> None:
        delattr(owner, name)

    return _Scope(vars(owner), bind, unbind)


class _Contents:
    """Hold what lies in one container, or in the attributes of one object."""

    def __init__(self, value: Any) -> None:
        self._value = value if isinstance(value, dict | list | set | deque | bytearray) else vars(value)
        self._first = self.take()
        self._kept = _copied(self._first)

    def forget(self) -> None:
        """Put in what was there in the beginning."""
        # Mostly nothing changed, and to compare is far cheaper than to copy.
        with contextlib.suppress(Exception):
            if self.take() == self._kept:
                return
        self.give(_copied(self._kept))

    def take(self) -> Any:
        """Return what lies in it, to be given back."""
        # Plain types, because those of the author's may need more than their contents to be made.
        if isinstance(self._value, dict):
            return list(dict.items(self._value))
        if isinstance(self._value, set):
            return [*set.__iter__(self._value)]
        return list(self._value)

    def give(self, held: Any) -> None:
        """Put in what was taken."""
        self._value.clear()
        if isinstance(self._value, dict | set):
            self._value.update(held)
        else:
            self._value.extend(held)


def _is_changed(value: Any, names: set[str]) -> bool:
    """Tell whether a value's contents can change, and are the author's."""
    if isinstance(value, dict | list | set | deque | bytearray):
        return True
    return not isinstance(value, _FIXED) and type(value).__module__ in names and hasattr(value, "__dict__")


def _copied(value: Any) -> Any:
    """Return a deep copy, or as deep a one as there is: locks and connections stay the same ones."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        return copy.deepcopy(value)
    with contextlib.suppress(Exception):
        return copy.copy(value)
    return value
