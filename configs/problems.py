"""Say what is wrong with a config: where, what was found, what was expected."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Path", "Problem", "near", "shown"]

# Field names and list indexes from the top of the file to a value.
Path: TypeAlias = tuple[str | int, ...]

_SHOWN_CHARACTERS_MAX = 80
# Names of transforms hold an @ too, so a login is told by its colon or by the address's slashes.
_USER_INFO = re.compile(r"(?<=//)\S*@|\S*:\S*@")


@dataclass(frozen=True)
class Problem:
    """Hold one thing that is wrong.

    Attributes:
        path: of the value; where the value is missing, of the place where it should be.
        text: what was found and what was expected.
        line: in the file, where it is not the line of the path's value.
    """

    path: Path
    text: str
    line: int | None = None

    @property
    def field(self) -> str:
        """Return the dotted field, without list indexes: the line and what was found tell which item."""
        return ".".join(str(item) for item in self.path if not isinstance(item, int))


def shown(text: str) -> str:
    """Return a value as it may be printed: quoted, cut, and without a login that stands in an address."""
    text = _USER_INFO.sub("***@", text)
    if len(text) > _SHOWN_CHARACTERS_MAX:
        text = text[:_SHOWN_CHARACTERS_MAX] + "…"
    return repr(text)


def near(found: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the nearest of the known names, or nothing where none is near."""
    matches = difflib.get_close_matches(found, list(known), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
