"""Read Avro schemas: names resolved, and nothing in them that could make a small message a large row.

Source: Avro 1.12 specification, "Schema Declaration" and "Names".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

__all__ = ["Node", "SchemaError", "only_branch", "parse_schema"]

_DEPTH_MAX = 16
_TYPES_MAX = 20_000
_SIZE_MAX = 1 << 20
# Bytes that the shortest value takes.
_PRIMITIVES = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
_COLLECTIONS = {"array": "items", "map": "values"}
_decode = msgspec.json.Decoder().decode


class SchemaError(ValueError):
    """Say what about a schema cannot be read."""


class Node(NamedTuple):
    """Hold one type of a schema.

    Attributes:
        kind: `record`, `union`, `long` and so on, as Avro calls it; never the name of a type.
        least: bytes that its shortest value takes.
        fields: names and types of a record's fields.
        branches: types of a union; of an array or a map the one type of its items or values.
        symbols: of an enum.
        size: of a fixed, bytes.
        types: how many there are inside of it, itself among them.
        about: all that the schema says of it, `logicalType`, `connect.name` and the like among it.
    """

    kind: str
    least: int
    fields: tuple[tuple[str, Node], ...] = ()
    branches: tuple[Node, ...] = ()
    symbols: tuple[str, ...] = ()
    size: int = 0
    types: int = 1
    about: Mapping[str, Any] = {}


def parse_schema(text: str | bytes, references: Sequence[str | bytes] = ()) -> Node:
    """Return what a schema says.

    Args:
        text: the schema, JSON.
        references: schemas of the types that it refers to, each before those that refer to it.

    Raises:
        SchemaError: where it is no schema, or one that refers to itself, nests deeper than 16 types, has more
            than 20,000 of them, or arrays of what takes no bytes: some bytes could then be a value of any
            size.
    """
    reader = _Reader()
    try:
        for each in references:
            reader.node(_decode(each), "", 0)
        return reader.node(_decode(text), "", 0)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(f"found {error}, expected an Avro schema in JSON") from error


def only_branch(node: Node) -> Node:
    """Return the one type beside null of a union; others as they are."""
    others = [each for each in node.branches if each.kind != "null"]
    return others[0] if node.kind == "union" and len(others) == 1 else node


class _Reader:
    """Resolve names as the schema is walked."""

    def __init__(self) -> None:
        self._named: dict[str, Node | None] = {}

    def node(self, schema: Any, space: str, depth: int) -> Node:
        if depth > _DEPTH_MAX:
            raise SchemaError(f"found more than {_DEPTH_MAX} types inside each other")
        if isinstance(schema, str):
            return self._by_name(schema, space, {})
        if isinstance(schema, list):
            return self._union(schema, space, depth)
        if not isinstance(schema, dict):
            raise SchemaError(f"found {schema!r:.100}, expected a type")
        kind = schema.get("type")
        if isinstance(kind, (dict, list)):
            return self.node(kind, space, depth + 1)
        if kind in _COLLECTIONS:
            return self._collection(str(kind), schema, space, depth)
        if kind in ("record", "error", "enum", "fixed"):
            return self._define(str(kind), schema, space, depth)
        if isinstance(kind, str):
            return self._by_name(kind, space, schema)
        raise SchemaError(f"found type {kind!r:.100}, expected one of Avro's")

    def _by_name(self, name: str, space: str, about: Mapping[str, Any]) -> Node:
        if name in _PRIMITIVES:
            return Node(name, _PRIMITIVES[name], about=about)
        full = name if "." in name or not space else f"{space}.{name}"
        for each in (full, name):
            if each in self._named:
                found = self._named[each]
                if found is None:
                    raise SchemaError(f"found type {each!r:.100} inside of itself, expected none that is")
                return found
        raise SchemaError(f"found type {name!r:.100}, expected one that the schema defines before")

    def _union(self, schema: list[Any], space: str, depth: int) -> Node:
        # The branch's number then takes one byte.
        if not 0 < len(schema) <= 64:  # noqa: PLR2004
            raise SchemaError(f"found a union of {len(schema)} types, expected 1 to 64")
        branches = tuple([self.node(each, space, depth + 1) for each in schema])
        least = 1 + min(each.least for each in branches)
        return Node("union", least, branches=branches, types=_types(branches))

    def _collection(self, kind: str, schema: dict[str, Any], space: str, depth: int) -> Node:
        items = self.node(schema.get(_COLLECTIONS[kind]), space, depth + 1)
        if kind == "array" and items.least == 0:
            raise SchemaError("found an array of what takes no bytes, expected items that take some")
        return Node(kind, 1, branches=(items,), types=_types([items]), about=schema)

    def _define(self, kind: str, schema: dict[str, Any], space: str, depth: int) -> Node:
        name, own = schema.get("name"), schema.get("namespace", space)
        if not isinstance(name, str) or not isinstance(own, str):
            raise SchemaError(f"found {kind} {name!r:.100}, expected a name")
        full = name if "." in name or not own else f"{own}.{name}"
        self._named[full] = None
        if kind == "enum":
            node = self._enum(schema)
        elif kind == "fixed":
            size = schema.get("size")
            if type(size) is not int or not 0 <= size <= _SIZE_MAX:
                raise SchemaError(f"found a fixed of {size!r:.100} bytes, expected 0 to {_SIZE_MAX}")
            node = Node(kind, size, size=size, about=schema)
        else:
            node = self._record(schema, full.rpartition(".")[0], depth)
        self._named[full] = node
        return node

    def _enum(self, schema: dict[str, Any]) -> Node:
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(each, str) for each in symbols):
            raise SchemaError(f"found symbols {symbols!r:.100}, expected a list of texts")
        return Node("enum", 1, symbols=tuple(symbols), about=schema)

    def _record(self, schema: dict[str, Any], space: str, depth: int) -> Node:
        fields: dict[str, Node] = {}
        given = schema.get("fields")
        if not isinstance(given, list):
            raise SchemaError(f"found fields {given!r:.100} of a record, expected a list")
        for field in given:
            name = field.get("name") if isinstance(field, dict) else None
            if not isinstance(name, str) or name in fields:
                raise SchemaError(f"found field {name!r:.100} of a record, expected each name once")
            fields[name] = self.node(field.get("type"), space, depth + 1)
        least = sum(each.least for each in fields.values())
        types = _types(fields.values())
        return Node("record", least, tuple(fields.items()), types=types, about=schema)


def _types(nodes: Iterable[Node]) -> int:
    # A named type counts as often as it is used.
    found = 1 + sum(each.types for each in nodes)
    if found > _TYPES_MAX:
        raise SchemaError(f"found more than {_TYPES_MAX} types, expected no more in a table")
    return found
