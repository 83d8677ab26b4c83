"""Give the models as JSON Schema, and find in it what belongs at a place of a config."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from tillstream.configs.models import ClientConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tillstream.configs.problems import Path

__all__ = ["Node", "config_schema", "editor_schema", "is_secret", "nodes_at"]

Node: TypeAlias = dict[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{"}
_ABOUT = ("title", "description", "default", "examples")
_LIMITS = {"enum", "format", "maxLength", "pattern"}


@lru_cache(maxsize=1)
def config_schema() -> Node:
    """Return the JSON Schema of a client's config after interpolation."""
    return ClientConfig.model_json_schema(by_alias=True)


def editor_schema() -> Node:
    """Return the JSON Schema of a config as it is written: any value may be a `${NAME}` reference too."""
    schema: Node = _with_references(config_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    # Names of mappings are no values: a reference is not filled in there.
    copy = {
        name: value if name == "propertyNames" else _with_references(value) for name, value in node.items()
    }
    if not _is_closed(copy):
        return copy
    about = {name: copy.pop(name) for name in _ABOUT if name in copy}
    return {"anyOf": [copy, _REFERENCE], **about}


def _is_closed(node: Node) -> bool:
    """Tell whether a node describes a single value in a way that shuts out references."""
    if node.get("format") == "secret-reference" or "const" in node:
        return False
    if node.get("type") == "string":
        return bool(_LIMITS & set(node))
    return node.get("type") in ("integer", "number", "boolean")


def nodes_at(path: Path, data: Any) -> list[Node]:
    """Return the schema's nodes that may describe the value at a path.

    Args:
        path: from the top of the config.
        data: the config as plain data; the `type` of a sink in it tells which kind is meant.
    """
    nodes = list(_plain(config_schema(), data))
    for item in path:
        data = _child(data, item)
        nodes = [plain for node in nodes for child in _children(node, item) for plain in _plain(child, data)]
    return nodes


def is_secret(path: Path, data: Any) -> bool:
    """Tell whether the value at a path is a reference to a secret."""
    return any(node.get("format") == "secret-reference" for node in nodes_at(path, data))


def _child(data: Any, item: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(item)
    if isinstance(data, list) and isinstance(item, int) and item < len(data):
        return data[item]
    return None


def _plain(node: Node, data: Any) -> Iterator[Node]:
    """Follow references, and choose among alternatives."""
    if "$ref" in node:
        yield from _plain(config_schema()["$defs"][node["$ref"].rsplit("/", 1)[1]], data)
        return
    mapping = node.get("discriminator", {}).get("mapping", {})
    kind = _child(data, "type")
    if isinstance(kind, str) and kind in mapping:
        yield from _plain({"$ref": mapping[kind]}, data)
        return
    choices = node.get("anyOf", []) + node.get("oneOf", [])
    if not choices:
        yield node
    for choice in choices:
        yield from _plain(choice, data)


def _children(node: Node, item: str | int) -> Iterator[Node]:
    if isinstance(item, int):
        found = [node.get("items")]
    elif item in node.get("properties", {}):
        found = [node["properties"][item]]
    else:
        found = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    yield from (child for child in found if isinstance(child, dict))
