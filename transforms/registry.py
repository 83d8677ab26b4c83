"""Know every transform by name and version.

A registry is a dict that refuses duplicates and lists the known names when one is unknown. Transforms are
found in modules that are named: those that come with tillstream, those that installed packages announce under
the entry point group `tillstream.transforms`, and those that a client's config lists. Nothing is scanned, and
importing a module registers nothing by itself.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.api import TransformInfo, info_of

__all__ = ["ENTRY_POINTS", "Registry", "find_transforms"]

ENTRY_POINTS = "tillstream.transforms"
_BUNDLED = (
    "tillstream.transforms.clients.acme",
    "tillstream.transforms.clients.acme_figures",
    "tillstream.transforms.clients.acme_stock",
    "tillstream.transforms.clients.globex",
)


class Registry:
    """Map `client.transform@1.2.3` to the class that it names: a DoFn or an Aggregate."""

    def __init__(self) -> None:
        self._known: dict[str, type[Any]] = {}
        self._broken: dict[str, str] = {}

    def add(self, cls: type[Any]) -> None:
        """Add a class that is marked as a transform.

        Raises:
            TransformError: if it is not marked, or another class has its name and version.
        """
        info = info_of(cls)
        if info is None:
            raise TransformError(f"{cls.__qualname__} is no transform: mark it with @transform(name)")
        known = self._known.get(info.name)
        if known is not None and known is not cls:
            raise TransformError(
                f"transform {info.name!r} is {_place(known)} and {_place(cls)}: raise the version of one"
            )
        self._known[info.name] = cls

    def collect(self, module: ModuleType) -> None:
        """Add the transforms that a module defines; those that it imports belong to others.

        Raises:
            TransformError: as `add` does.
        """
        for value in list(vars(module).values()):
            defined_here = isinstance(value, type) and value.__module__ == module.__name__
            if defined_here and info_of(value) is not None:
                self.add(value)

    def note_broken(self, module: str, error: TransformError) -> None:
        """Remember a module that cannot be imported, for whoever asks for a transform that is not there."""
        self._broken[module] = str(error)

    @property
    def broken(self) -> list[str]:
        """Return what importing raised, of each module that is no use."""
        return list(self._broken.values())

    def get(self, name: str) -> type[Any]:
        """Return the class of a name.

        Raises:
            TransformError: if there is none; near matches are named, else all known ones.
        """
        try:
            return self._known[name]
        except KeyError:
            # Without versions, which are long beside a name and may be left out.
            heads = {each.split("@")[0] for each in self._known}
            close = difflib.get_close_matches(name.split("@", maxsplit=1)[0], heads)
            near = [each for each in self.names() if each.split("@")[0] in close] or self.names()
            known = ", ".join(near) or "none"
            told = [f"transform {name!r} is unknown; expected one of: {known}", *self.broken]
            raise TransformError("; ".join(told)) from None

    def info(self, name: str) -> TransformInfo:
        """Return what a transform says of itself; raises as `get` does."""
        info = info_of(self.get(name))
        assert info is not None  # add() took nothing else
        return info

    def names(self) -> list[str]:
        """Return all known names in order, the versions of one transform by number."""
        return sorted(self._known, key=lambda name: (name.split("@")[0], self.info(name).version))


def find_transforms(modules: Iterable[str] = (), path: str | None = None) -> Registry:
    """Return a registry of all transforms that can be found.

    Args:
        modules: names of modules beside those that come with tillstream and those of installed packages.
        path: a folder in which modules are looked for first, or None.

    Raises:
        TransformError: if one of these modules cannot be imported, or two classes have one name and version.
            A package's module that cannot be imported is another client's affair until somebody asks for what
            may lie in it.
    """
    wanted = list(modules)
    if path is not None:
        _look_first_in(path, wanted)
    registry = Registry()
    for name in dict.fromkeys([*_BUNDLED, *wanted]):
        registry.collect(_imported(name))
    for name in dict.fromkeys(each.module for each in entry_points(group=ENTRY_POINTS)):
        try:
            registry.collect(_imported(name))
        except TransformError as error:
            registry.note_broken(name, error)
    return registry


def _look_first_in(path: str, modules: Iterable[str]) -> None:
    """Put a folder before all others; forget modules of these names that another client's folder gave."""
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)
    importlib.invalidate_caches()
    folder = Path(path).resolve()
    for package in {name.partition(".")[0] for name in modules}:
        known = sys.modules.get(package)
        file = getattr(known, "__file__", None)
        if file is None or folder in Path(file).resolve().parents:
            continue
        if (folder / package).is_dir() or (folder / f"{package}.py").is_file():
            for name in [each for each in sys.modules if each.partition(".")[0] == package]:
                del sys.modules[name]


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise TransformError(
            f"transforms of module {name!r}: importing it raised {type(error).__name__}: {error}; "
            "expected a module that can be imported wherever the pipeline runs"
        ) from error


def _place(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
