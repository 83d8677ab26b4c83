"""Read a YAML file into plain data that knows its lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic_core import PydanticCustomError

from tillstream.configs.base import interpolate
from tillstream.configs.problems import Path, Problem, shown
from tillstream.configs.schema import is_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Document"]

_BYTES_MAX = 1 << 20
# A few lines of aliases can stand for billions of values.
_VALUES_MAX = 50_000


class Document:
    """Hold a config as plain data, with the line and the written text of each value.

    Keys of mappings are always text. References in values are interpolated, except those to secrets.

    Args:
        text: the file's content.
        environment: what `${NAME}` refers to.

    Attributes:
        data: mappings, lists and scalars; None where the YAML cannot be read.
        problems: what is wrong with the YAML itself, or with its references.
    """

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self.data: Any = None
        self.problems: list[Problem] = []
        self._environment = environment
        self._lines: dict[Path, int] = {(): 1}
        self._written: dict[Path, str] = {}
        self._values = 0
        if len(text.encode()) > _BYTES_MAX:
            self.problems.append(
                Problem((), f"found a file of more than {_BYTES_MAX} bytes, expected a config")
            )
            return
        try:
            self._loader = yaml.SafeLoader(text)
            node = self._loader.get_single_node()
            self.data = None if node is None else self._build(node, (), ())
        except yaml.MarkedYAMLError as error:
            self._refuse(error)
        except (yaml.YAMLError, RecursionError) as error:
            reason = "values nested too deeply" if isinstance(error, RecursionError) else str(error)
            self.problems.append(Problem((), f"found {reason.splitlines()[0]}, expected YAML"))
        else:
            self.data = self._interpolated(self.data, ())

    def written(self) -> dict[Path, str]:
        """Return the written text of each value that refers to the environment, or to a secret."""
        return {path: text for path, text in self._written.items() if "${" in text}

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the innermost mapping or list that lacks it."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def found(self, path: Path) -> str:
        """Return a value as it is written, fit to be printed; secrets are not shown."""
        value = self.data
        for item in path:
            try:
                value = value[item]
            except (KeyError, IndexError, TypeError):
                return "nothing"
        if value is None:
            return "nothing"
        if isinstance(value, (dict, list)):
            return "a mapping" if isinstance(value, dict) else "a list"
        if is_secret(path, self.data):
            return "a value (not shown)"
        written = self._written.get(path, str(value))
        return shown(written) if isinstance(value, str) else written

    def _refuse(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        self.data = None
        problem = (error.problem or "something").removeprefix("found ")
        text = f"a mistake {error.context}: {problem}" if error.context else problem
        text = f"found {text}, expected YAML"
        if error.context == "expected a single document in the stream":
            text = "found a second document, expected one a file"
        self.problems = [Problem((), text, 1 if mark is None else mark.line + 1)]

    def _build(self, node: yaml.Node, path: Path, above: tuple[int, ...]) -> Any:
        self._values += 1
        if id(node) in above or self._values > _VALUES_MAX:
            raise yaml.MarkedYAMLError(None, None, "aliases that repeat without end", node.start_mark)
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._build_mapping(node, path, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode):
            above = (*above, id(node))
            return [self._build(item, (*path, place), above) for place, item in enumerate(node.value)]
        self._written[path] = str(node.value)
        try:
            value = self._loader.construct_object(node)
        except (ValueError, OverflowError):  # such as a date in month 13
            return str(node.value)
        if isinstance(value, bytes):
            raise yaml.MarkedYAMLError(None, None, "a binary value", node.start_mark)
        return value

    def _build_mapping(self, node: yaml.MappingNode, path: Path, above: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(None, None, "a key that is not a name", key.start_mark)
            here = (*path, str(key.value))
            if here[-1] in mapping:
                text = f"found a second time, first on line {self._lines[here]}, expected once"
                self.problems.append(Problem(here, text, line))
                continue
            self._lines[here] = line
            mapping[str(key.value)] = self._build(value, here, above)
        return mapping

    def _interpolated(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {name: self._interpolated(item, (*path, name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self._interpolated(item, (*path, place)) for place, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value or is_secret(path, self.data):
            return value
        try:
            return interpolate(value, self._environment)
        except PydanticCustomError as error:
            self.problems.append(Problem(path, error.message()))
            return value
