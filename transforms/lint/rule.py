"""Say what a rule is, and what it finds."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tillstream.transforms.lint.source import Source

__all__ = ["Finding", "Found", "Rule"]

Found = tuple[ast.AST, str]


@dataclass(frozen=True)
class Finding:
    """Name one place that hurts.

    Attributes:
        path: of the file.
        line: from 1 on.
        column: from 1 on.
        code: of the rule.
        message: what was found, why it hurts, what to do.
    """

    path: Path
    line: int
    column: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.code} {self.message}"


@dataclass(frozen=True)
class Rule:
    """Look for one thing.

    Attributes:
        code: its number.
        about: what it looks for, for the list of rules.
        why: what that does in Beam.
        instead: what to do.
        check: yields places, and what was found there.
    """

    code: str
    about: str
    why: str
    instead: str
    check: Callable[[Source], Iterable[Found]]

    def findings(self, source: Source) -> list[Finding]:
        """Return what it finds in a file, but for what a `noqa` sets aside."""
        places = {}
        for node, what in self.check(source):
            if not source.is_excused(node, self.code):
                line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
                places[line, column] = f"{what}: {self.why}; {self.instead}"
        return [Finding(source.path, *place, self.code, text) for place, text in sorted(places.items())]
