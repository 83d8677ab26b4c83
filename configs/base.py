"""Define what all models of a client's config share: strictness, names, paths, interpolation."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, ValidationInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from tillstream.configs import forms

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AS_WRITTEN",
    "NO_TRUTH",
    "ClientName",
    "ConfigModel",
    "Interpolated",
    "Name",
    "Number",
    "RelativePath",
    "absolute",
    "at_home",
    "context_of",
    "interpolate",
    "references",
]

_REFERENCE = re.compile(r"\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")


class ConfigModel(BaseModel):
    """Be the base of every model: immutable, and refusing fields that it does not know."""

    # Inputs are kept out of pydantic's own messages, because one of them may be a secret.
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        populate_by_name=True,
        use_attribute_docstrings=False,
    )


def _refuse_truth(value: Any) -> Any:
    # To Python, and so to pydantic, true is the number 1.
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


class _Context(dict[str, Any]):
    """Hold what validation needs beside the data: the config file's folder and the environment."""

    @property
    def folder(self) -> Path:
        return Path(self.get("folder", "."))

    @property
    def environment(self) -> Mapping[str, str]:
        environment: Mapping[str, str] = self.get("environment", os.environ)
        return environment

    @property
    def is_as_written(self) -> bool:
        return bool(self.get("as_written"))


# A context in which paths stay as they are: of a template they start where it is launched.
AS_WRITTEN = {"as_written": True}


def context_of(info: ValidationInfo) -> _Context:
    """Return the validation's context; without one, paths are relative to the working folder."""
    return _Context(info.context or {})


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Replace each `${NAME}` and `${NAME:-default}` in a text; an empty variable counts as unset.

    Raises:
        PydanticCustomError: `unset_variable` without a default, `bad_reference` for other uses of `${`.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name is None:
            raise PydanticCustomError(
                "bad_reference", "found '${' without a name, expected ${NAME} or ${NAME:-default}"
            )
        found = environment.get(name) or default
        if found is None:
            raise PydanticCustomError(
                "unset_variable",
                "found ${{name}}, which is not set: set it, or write ${{name}:-default}",
                {"name": name},
            )
        return found

    return _REFERENCE.sub(value, text)


def references(text: str) -> list[tuple[str, str | None]]:
    """Return name and default of each `${NAME}` and `${NAME:-default}` in a text."""
    found = [match.groups() for match in _REFERENCE.finditer(text)]
    return [(name, default) for name, default in found if name is not None]


def _interpolate_field(text: str, info: ValidationInfo) -> str:
    return interpolate(text, context_of(info).environment)


def absolute(text: str, info: ValidationInfo) -> str:
    """Return a path that starts from the config file's folder as an absolute one.

    Raises:
        ValueError: if it starts from the home of an unknown user.
    """
    if context_of(info).is_as_written:
        return text
    return os.path.normpath(context_of(info).folder.absolute() / at_home(text))


def at_home(text: str) -> Path:
    """Return a path with a leading `~` replaced.

    Raises:
        ValueError: if it starts from the home of an unknown user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("expected a path; ~ here is the home of nobody known") from error


ClientName = Annotated[str, StringConstraints(pattern=forms.CLIENT)]
Name = Annotated[str, StringConstraints(pattern=forms.NAME)]
NO_TRUTH = BeforeValidator(_refuse_truth)
Number = Annotated[int, NO_TRUTH]
# For defaults that refer to the environment; what the file says is interpolated before validation.
Interpolated = Annotated[str, AfterValidator(_interpolate_field)]
# Relative to the config file's folder, made absolute when the config is loaded.
RelativePath = Annotated[str, StringConstraints(min_length=1), AfterValidator(absolute)]
