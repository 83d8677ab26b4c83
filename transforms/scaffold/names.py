"""Check the name that a new transform is to have, and derive the others from it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError

__all__ = ["Names", "next_version", "parse_name"]

_FIRST = "1.0.0"
# What the module and its tests import or define.
_TAKEN = frozenset(
    {
        "BaseModel",
        "ChangeEvent",
        "Decimal",
        "Field",
        "Input",
        "Iterator",
        "Mutation",
        "Output",
        "Path",
        "Table",
    }
)
# `from <client>_transforms.<name> import <Name>` fits into a line of 110.
_CLIENT_AND_NAMES_MAX = 85


@dataclass(frozen=True)
class Names:
    """Hold what one new transform is called, and what is called after it.

    Attributes:
        client: whose it is.
        name: its own, without client and version; also that of its module and entity.
    """

    client: str
    name: str

    @property
    def package(self) -> str:
        """Return the name of the client's package."""
        return f"{self.client}_transforms"

    @property
    def module(self) -> str:
        """Return the dotted name of the transform's module."""
        return f"{self.package}.{self.name}"

    @property
    def class_name(self) -> str:
        """Return the name of its class."""
        return "".join(part.capitalize() for part in self.name.split("_"))


def parse_name(text: str) -> Names:
    """Return the names of `client/transform`.

    Raises:
        UserError: for another form, or a word of Python's.
    """
    client, slash, name = text.partition("/")
    if not slash or "/" in name or not client or not name:
        raise UserError(f"found {text!r}, expected client/transform, such as acme/big_orders")
    for what, found, form in (("client", client, forms.CLIENT), ("transform", name, forms.NAME)):
        if not re.fullmatch(form, found):
            raise UserError(f"{what}: found {found!r}, expected {forms.WORDS[form]}")
    if keyword.iskeyword(name):
        raise UserError(f"transform: found {name!r}, expected a name that is no word of Python's own")
    names = Names(client, name)
    if keyword.iskeyword(names.class_name) or names.class_name in _TAKEN:
        raise UserError(
            f"transform: found {name!r}, expected a name whose class is not {names.class_name}, which the "
            "module has already"
        )
    if len(client) + 2 * len(name) > _CLIENT_AND_NAMES_MAX:
        most = (_CLIENT_AND_NAMES_MAX - len(client)) // 2
        raise UserError(
            f"transform: found a name of {len(name)} letters, expected at most {most} for {client!r}"
        )
    return names


def next_version(names: Names, known: Iterable[str]) -> str:
    """Return the version of a new transform: 1.0.0, or where that name is known, its next major one.

    Args:
        names: of the transform.
        known: names of all transforms that are found here, with their versions.
    """
    prefix = f"{names.client}.{names.name}@"
    majors = [int(each[len(prefix) :].split(".")[0]) for each in known if each.startswith(prefix)]
    return f"{max(majors) + 1}.0.0" if majors else _FIRST
