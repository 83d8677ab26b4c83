"""Know every transform by name and version.

A registry is a dict that refuses duplicates, checks names, and lists the known names when one is unknown.
Versions follow PEP 440's release form, three numbers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import TypeVar

import apache_beam as beam

from tillstream.pipelines.errors import TransformError

__all__ = ["Registry"]

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*@\d+\.\d+\.\d+")

_DoFnType = TypeVar("_DoFnType", bound="type[beam.DoFn]")


class Registry:
    """Map `client.transform@1.2.3` to the DoFn class that it names."""

    def __init__(self) -> None:
        self._known: dict[str, type[beam.DoFn]] = {}

    def register(self, name: str) -> Callable[[_DoFnType], _DoFnType]:
        """Return a decorator that registers a DoFn under a name and version.

        Raises:
            TransformError: if the name is not of the form `client.transform@1.2.3`, or is taken.
        """
        if not _NAME.fullmatch(name):
            raise TransformError(f"transform {name!r}: expected client.transform@1.2.3 in lower case")
        if name in self._known:
            raise TransformError(f"transform {name!r} is registered already: raise its version")

        def add(dofn: _DoFnType) -> _DoFnType:
            self._known[name] = dofn
            return dofn

        return add

    def get(self, name: str) -> type[beam.DoFn]:
        """Return the DoFn class of a name.

        Raises:
            TransformError: if there is none; near matches are named, else all known ones.
        """
        try:
            return self._known[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._known) or self.names()
            known = ", ".join(near) or "none"
            raise TransformError(f"transform {name!r} is unknown; expected one of: {known}") from None

    def names(self) -> list[str]:
        """Return all known names in order."""
        return sorted(self._known)
