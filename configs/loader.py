"""Load a client's config from its YAML file, or say all that is wrong with it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tillstream.configs.contract import KINDS
from tillstream.configs.crosschecks import Known, check_transforms, cross_check
from tillstream.configs.document import Document
from tillstream.configs.forms import WORDS
from tillstream.configs.models import FLINK_DEFAULTS, ClientConfig
from tillstream.configs.problems import Problem, near
from tillstream.configs.schema import nodes_at
from tillstream.pipelines.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic_core import ErrorDetails

    from tillstream.configs import problems as paths

__all__ = ["default_environment", "load", "load_text", "read_text"]

_QUOTE = ": put it in quotes"
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "dict_type": "a mapping",
    "list_type": "a list",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} of them",
    "string_too_short": "at least {min_length} characters",
    "union_tag_invalid": "{expected_tags}",
    "timezone_aware": "a time with its zone, such as 2024-05-01T00:00:00Z",
}


def default_environment() -> Mapping[str, str]:
    """Return the process's environment over that of the local stack, where one was started.

    The stack's is read from `stack.json` in the folder TILLSTREAM_DIR, by default `.tillstream`.
    """
    state = Path(os.environ.get("TILLSTREAM_DIR") or ".tillstream", "stack.json")
    try:
        stack = json.loads(state.read_text(encoding="utf-8"))["environment"]
        return {**{str(name): str(value) for name, value in stack.items()}, **os.environ}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return os.environ  # no stack, or one that is just being written


def load(
    path: Path | str,
    environment: Mapping[str, str] | None = None,
    known_transforms: Callable[[list[str], str | None], Known] | None = None,
) -> ClientConfig:
    """Read, interpolate and check a client's config.

    Args:
        path: the YAML file; relative paths in it start from its folder.
        environment: what `${NAME}` refers to; by default `default_environment()`.
        known_transforms: returns what is known of transforms, given the config's modules and the folder that
            they lie in, and is called where an entity has a transform, because to know them takes seconds;
            by default any name will do.

    Raises:
        ConfigError: all that is wrong, one problem a line: `file:line: field: found X, expected Y`.
    """
    return load_text(read_text(path), path, environment, known_transforms)


def read_text(path: Path | str) -> str:
    """Return a config's text; raises ConfigError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: found {error.strerror}, expected a readable YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: found bytes that are not UTF-8, expected a YAML file") from error


def load_text(
    text: str,
    path: Path | str,
    environment: Mapping[str, str] | None = None,
    known_transforms: Callable[[list[str], str | None], Known] | None = None,
    *,
    as_written: bool = False,
) -> ClientConfig:
    """Interpolate and check the text of a client's config, as `load` does.

    Args:
        text: YAML.
        path: of the file that it comes from, or would.
        environment: as of `load`.
        known_transforms: as of `load`.
        as_written: leave relative paths as they are.

    Raises:
        ConfigError: as `load` does.
    """
    environment = default_environment() if environment is None else environment
    document = Document(text, environment)
    problems = list(document.problems)
    config = None
    if document.data is not None or not problems:
        context = {"folder": Path(path).parent, "environment": environment, "as_written": as_written}
        config, more = _validate(document, context)
        if known_transforms is not None:
            more += check_transforms(document.data, known_transforms)
        broken = {problem.path for problem in problems}
        problems += [problem for problem in more if problem.path not in broken]
    if config is None or problems:
        raise ConfigError(
            "\n".join(_line(path, document, problem) for problem in _in_order(document, problems))
        )
    return config


def _validate(document: Document, context: dict[str, Any]) -> tuple[ClientConfig | None, list[Problem]]:
    problems = list(cross_check(document.data, FLINK_DEFAULTS))
    try:
        return ClientConfig.model_validate(document.data, context=context), problems
    except ValidationError as error:
        details = [each for each in error.errors(include_url=False) if each["type"] != "cross_check"]
    alone = [_problem(document, each) for each in details]
    # Where a field is wrong by itself, what others ask of it is noise.
    wrong = {problem.path for problem in alone}
    return None, alone + [problem for problem in problems if problem.path not in wrong]


def _in_order(document: Document, problems: list[Problem]) -> list[Problem]:
    return sorted(
        dict.fromkeys(problems), key=lambda each: (each.line or document.line(each.path), each.field)
    )


def _line(path: Path | str, document: Document, problem: Problem) -> str:
    line = document.line(problem.path) if problem.line is None else problem.line
    field = f"{problem.field}: " if problem.field else ""
    return f"{path}:{line}: {field}{problem.text}"


def _problem(document: Document, error: ErrorDetails) -> Problem:
    kind, context = error["type"], error.get("ctx", {})
    path, is_key = _path(document, error["loc"])
    if kind == "extra_forbidden":
        known = _known_fields(path[:-1], document.data)
        return Problem(
            path, f"found an unknown field, expected one of {', '.join(known)}{near(str(path[-1]), known)}"
        )
    if kind == "missing":
        described = [node["description"] for node in _nodes(path, document.data) if "description" in node]
        about = f": {described[0]}" if described else ""
        return Problem(path, f"found nothing, expected a value{about}")
    if kind == "union_tag_not_found":
        return Problem((*path, "type"), "found nothing, expected 'postgres' or 'files'")
    if kind == "union_tag_invalid":
        path = (*path, "type")
    found = repr(str(path[-1])) if is_key else document.found(path)
    text = error["msg"].removeprefix("Value error, ")
    if kind not in _EXPECTED and text.startswith("found "):
        return Problem(path, text)
    expected = _expected(error, path, found)
    hint = "" if is_key else _near(path, document, context)
    return Problem(path, f"found {found}, expected {expected}{hint}")


def _expected(error: ErrorDetails, path: paths.Path, found: str) -> str:
    """Return in words what would have been right."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "model_type" and path[-2:-1] == ("contract",):
        return "a type, or a mapping of fields"
    if kind == "string_pattern_mismatch":
        return WORDS[context["pattern"]]
    if kind.startswith("datetime"):
        return _EXPECTED["timezone_aware"]
    if kind not in _EXPECTED:
        return error["msg"].removeprefix("Value error, ").removeprefix("expected ")
    quote = kind == "string_type" and found not in ("nothing", "a mapping", "a list")
    return _EXPECTED[kind].format(**context) + (_QUOTE if quote else "")


def _near(path: paths.Path, document: Document, context: Mapping[str, Any]) -> str:
    """Return the hint for a word that is nearly one of a few known ones."""
    known = re.findall(r"'([^']+)'", str(context.get("expected") or context.get("expected_tags") or ""))
    if "contract" in (path[-2:-1] + path[-3:-2]):
        known = ["array(type)" if kind == "array" else kind for kind in (*KINDS, "decimal(p,s)")]
    found = document.found(path)
    return near(found.strip("'"), known) if found.startswith("'") else ""


def _path(document: Document, location: tuple[int | str, ...]) -> tuple[paths.Path, bool]:
    """Return pydantic's location without the names of alternatives, and whether it means a key."""
    path: list[int | str] = []
    value: Any = document.data
    for place, item in enumerate(location):
        if item == "[key]":
            return tuple(path), True
        if isinstance(item, str) and item.startswith("~"):
            continue
        if isinstance(value, dict) and value.get("type") == item and item not in value and place == 2:  # noqa: PLR2004
            continue  # sinks.<name>.<type>
        if isinstance(value, (str, int, float)):
            continue  # a column's type alone, in the place of its mapping
        path.append(item)
        try:
            value = value[item]
        except (KeyError, IndexError, TypeError):
            value = None
    return tuple(path), False


def _nodes(path: paths.Path, data: Any) -> list[dict[str, Any]]:
    parents = nodes_at(path[:-1], data)
    return [node["properties"][path[-1]] for node in parents if path[-1] in node.get("properties", {})]


def _known_fields(path: paths.Path, data: Any) -> list[str]:
    return [name for node in nodes_at(path, data) for name in node.get("properties", {})]
