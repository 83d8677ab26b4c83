"""Find the modules, classes and functions that a transform is made of."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["classes_of", "functions_of", "is_own", "modules_of"]

_FOREIGN = ("apache_beam", "builtins", "pydantic", "tillstream")
_OWN = "tillstream.transforms.clients"


def is_own(module: str) -> bool:
    """Tell whether a module is a transform's author's."""
    return module.split(".", 1)[0] not in _FOREIGN or module.startswith(_OWN)


def modules_of(classes: Iterable[type[Any]]) -> list[types.ModuleType]:
    """Return the modules that the classes are made of, and those of the same package that these use."""
    names = [owner.__module__ for cls in classes for owner in cls.__mro__ if is_own(owner.__module__)]
    found: dict[str, types.ModuleType] = {}
    while names:
        name = names.pop()
        module = sys.modules.get(name)
        if module is None or name in found:
            continue
        found[name] = module
        package = name.split(".", 1)[0]
        used = [
            value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            for value in vars(module).values()
            if callable(value) or isinstance(value, types.ModuleType)
        ]
        names += [
            each
            for each in used
            if isinstance(each, str) and is_own(each) and each.split(".", 1)[0] == package
        ]
    return list(found.values())


def classes_of(classes: Iterable[type[Any]], modules: Iterable[types.ModuleType]) -> list[type[Any]]:
    """Return the author's classes: those given, what they derive from, and those that the modules define."""
    names = {module.__name__ for module in modules}
    todo = [owner for cls in classes for owner in cls.__mro__ if is_own(owner.__module__)]
    todo += [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    found: dict[int, type[Any]] = {}
    while todo:
        cls = todo.pop(0)
        if id(cls) not in found and cls.__module__ in names:
            found[id(cls)] = cls
            todo += [value for value in vars(cls).values() if isinstance(value, type)]
    return list(found.values())


def functions_of(
    classes: Iterable[type[Any]], modules: Iterable[types.ModuleType]
) -> Iterator[types.FunctionType]:
    """Yield the functions that the modules and the classes define, also those inside of decorators."""
    modules = list(modules)
    scopes = {id(vars(module)) for module in modules}
    todo = [value for module in modules for value in vars(module).values()]
    todo += [value for cls in classes for value in vars(cls).values()]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            todo += [each for each in map(_content, value.__closure__ or ()) if callable(each)]
            if id(value.__globals__) in scopes:
                yield value
        if not isinstance(value, type | types.ModuleType):
            todo += [
                found
                for name in ("__func__", "__wrapped__", "fget")
                if isinstance(found := _attribute(value, name), types.FunctionType)
                or (name == "__func__" and found is not None)
            ]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is bound yet
        return None


def _attribute(value: Any, name: str) -> Any:
    # Objects that answer to any name, such as mocks, are none of these.
    if not isinstance(value, types.FunctionType | staticmethod | classmethod | property) and not hasattr(
        type(value), "cache_clear"
    ):
        return None
    return getattr(value, name, None)
