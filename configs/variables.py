"""Know the variables of a config, `${NAME}`, so that a built job can leave them open until its launch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from tillstream.configs.base import references
from tillstream.configs.document import Document
from tillstream.configs.models import ClientConfig
from tillstream.configs.open_places import is_open, pointer_of
from tillstream.configs.schema import is_secret
from tillstream.pipelines.errors import UserError

__all__ = [
    "Variable",
    "at_build",
    "at_launch",
    "check_given",
    "check_open",
    "missing",
    "variables_of",
]

_FILE = "file:"
_Path = tuple[str | int, ...]


class Variable(msgspec.Struct, frozen=True, omit_defaults=True):
    """Describe one variable of a config.

    Attributes:
        places: JSON pointers of the values that it is part of.
        default: what the config says for where it is not set; None where it says nothing.
        value: that was built in, because it was given by hand or shaped the job; None where a launch has to
            find one, unless there is a default.
        is_open: whether a launch may set it; others shaped what was built.
        is_secret: whether it is the name of a secret, which is looked up only where the job runs.
    """

    places: tuple[str, ...] = ()
    default: str | None = None
    value: str | None = None
    is_open: bool = True
    is_secret: bool = False


def variables_of(
    text: str, config: ClientConfig, given: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, Variable]:
    """Return the variables of a config by name, for its build.

    Args:
        text: of the config.
        config: what it was loaded into.
        given: values that were given by hand.
        environment: the builder's; what only it says stays open, unless it shapes the job.
    """
    document = Document(text, _Anything())
    written = {**document.written(), **dict(_defaults(config, document.data, ()))}
    found: dict[str, Variable] = {}
    for path, value in sorted(written.items(), key=lambda item: pointer_of(item[0])):
        secret = is_secret(path, document.data) and not value.startswith(_FILE)
        for name, default in references(value):
            known = found.get(name, Variable())
            found[name] = Variable(
                (*known.places, pointer_of(path)),
                known.default if default is None else default,
                None,
                known.is_open and (secret or is_open(path)),
                known.is_secret or secret,
            )
    return {
        name: msgspec.structs.replace(each, value=_built_in(name, each, given, environment))
        for name, each in sorted(found.items())
    }


def _built_in(
    name: str, variable: Variable, given: Mapping[str, str], environment: Mapping[str, str]
) -> str | None:
    if variable.is_open or variable.is_secret:
        return given.get(name)
    return given.get(name) or environment.get(name) or variable.default


class _Anything(Mapping[str, str]):
    """Have an answer to everything, for a document whose own values are looked at."""

    def __getitem__(self, name: str) -> str:
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _defaults(model: BaseModel, data: Any, path: _Path) -> Iterator[tuple[_Path, str]]:
    """Yield what the models' own defaults refer to, where the config says nothing."""
    for name, field in type(model).model_fields.items():
        alias, value = field.alias or name, getattr(model, name)
        given = data.get(alias) if isinstance(data, Mapping) else None
        if isinstance(value, BaseModel):
            yield from _defaults(value, given, (*path, alias))
        elif given is None and isinstance(field.default, str) and "${" in field.default:
            yield (*path, alias), field.default


def check_given(given: Mapping[str, str], variables: Mapping[str, Variable], where: str) -> None:
    """See that values are given for variables that there are, and not for secrets.

    Args:
        given: by name.
        variables: of the config.
        where: which config it is.

    Raises:
        UserError: if one is unknown, or names a secret.
    """
    for name in given:
        variable = variables.get(name)
        if variable is None:
            known = ", ".join(each for each, known in variables.items() if not known.is_secret)
            raise UserError(
                f"--set {name}: found no such variable in {where}, expected one of: {known or 'none'}"
            )
        if variable.is_secret:
            raise UserError(
                f"--set {name}: found a value (not shown) for a secret, which {where} refers to at "
                f"{', '.join(variable.places)}, expected none: it is looked up where the job runs, in the "
                "TaskManager's environment or its folder of secrets"
            )


def check_open(given: Mapping[str, str], variables: Mapping[str, Variable]) -> None:
    """See that a launch is given no other value for what shaped the job.

    Args:
        given: by name; `check_given` knows them.
        variables: of the template.

    Raises:
        UserError: if it is.
    """
    for name, value in given.items():
        variable = variables[name]
        if not variable.is_open and value != variable.value:
            raise UserError(
                f"--set {name}: found {value!r}, expected {variable.value!r}, as the template was built: it "
                f"shaped the job, at {', '.join(variable.places)}; build another template"
            )


def at_build(
    variables: Mapping[str, Variable], given: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return what variables are in a build: as given, else by default, else as the environment has them.

    So the same build has the same bytes on each machine; only for what shapes the job the environment goes
    before the default.
    """
    fixed = {name: each.value for name, each in variables.items() if each.value is not None}
    bare = [
        name
        for name, each in variables.items()
        if each.is_open and not each.is_secret and each.default is None
    ]
    return {**_told(bare, environment), **fixed, **given}


def at_launch(
    variables: Mapping[str, Variable], given: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return what variables are in a launch: as given, else the environment's, else as they were built in."""
    built = {name: each.value for name, each in variables.items() if each.value is not None}
    free = [name for name, each in variables.items() if each.is_open and not each.is_secret]
    return {**built, **_told(free, environment), **given}


def _told(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name in names if (value := environment.get(name))}


def missing(variables: Mapping[str, Variable], environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that have no value, and should have one."""
    return [
        name
        for name, each in variables.items()
        if not each.is_secret and each.default is None and not environment.get(name)
    ]
