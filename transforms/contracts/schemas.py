"""Turn JSON Schema and Avro schema files into models that a transform names as its contracts.

Sources: JSON Schema 2020-12 (Core and Validation), where `format` is an annotation and unknown formats change
nothing; the Apache Avro 1.11 specification, "Schema Declaration" and "Logical Types". What a schema says that
no column is checked for is refused. What they have no words for stands under `x-tillstream`, in a property of
a JSON Schema or in an Avro field: `type`, `unit`, `pii`, `key`. Columns that a schema leaves out are left
to the config's `schema_evolution`, whatever `additionalProperties` says.
"""

from __future__ import annotations

import datetime as dt
import json
import uuid
import warnings
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, create_model

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.contracts.models import EXTRA, columns_of_model, field

__all__ = ["model_from_avro", "model_from_json_schema"]

_Node: TypeAlias = Mapping[str, Any]
_Source: TypeAlias = str | Path | _Node

_ANNOTATIONS: dict[str, Any] = {
    "bool": bool,
    "int16": int,
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
    "decimal": Decimal,
    "string": str,
    "bytes": bytes,
    "date": dt.date,
    "time": dt.time,
    "timestamp": dt.datetime,
    "timestamptz": dt.datetime,
    "timetz": dt.time,
    "interval": str,
    "array": list,
    "uuid": uuid.UUID,
    "json": Any,
}
_RULES = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}
_SPEAKING = {"title", "description", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "format"}
_STRUCTURE = {"type", "enum", "const", "default", "anyOf", "oneOf", "contentEncoding", EXTRA}
_TEXTS = {"date": "date", "date-time": "timestamptz", "time": "time", "uuid": "uuid"}
_NUMBERS = {"int16": "int16", "int32": "int32", "float": "float32"}
_PLAIN = {"string": "string", "integer": "int64", "number": "float64", "boolean": "bool"}

_AVRO = {
    "boolean": "bool",
    "int": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "bytes": "bytes",
    "fixed": "bytes",
}
_AVRO_LOGICAL = {
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "timestamp-millis": "timestamptz",
    "timestamp-micros": "timestamptz",
    "local-timestamp-millis": "timestamp",
    "local-timestamp-micros": "timestamp",
    "uuid": "uuid",
}


def model_from_json_schema(source: _Source, name: str | None = None) -> type[BaseModel]:
    """Return the model of a JSON Schema of an object.

    Args:
        source: path of a file, or the schema itself.
        name: of the model; by default the schema's title, or the file's name.

    Raises:
        TransformError: if the file cannot be read, or the schema says what no column is checked for.
    """
    schema, place = _loaded(source)
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        raise TransformError(f"{place}: found no object with properties, expected the schema of a row")
    required = schema.get("required", [])
    fields = {
        column: _json_field(
            f"{place}: property {column!r}",
            _resolved(node, schema, f"{place}: property {column!r}"),
            column in required,
        )
        for column, node in schema["properties"].items()
    }
    return _made(name or schema.get("title") or Path(place).stem, fields, schema.get("description"))


def model_from_avro(source: _Source, name: str | None = None) -> type[BaseModel]:
    """Return the model of an Avro schema of a record; arguments and errors as of `model_from_json_schema`."""
    schema, place = _loaded(source)
    if schema.get("type") != "record":
        raise TransformError(f"{place}: found type {schema.get('type')!r}, expected a record")
    fields = {}
    for number, each in enumerate(_needed(place, schema, "fields", list), 1):
        column = _needed(f"{place}: field number {number}", each, "name", str)
        fields[column] = _avro_field(f"{place}: field {column!r}", each)
    return _made(name or schema.get("name") or Path(place).stem, fields, schema.get("doc"))


def _loaded(source: _Source) -> tuple[_Node, str]:
    if isinstance(source, Mapping):
        return source, "schema"
    try:
        found = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TransformError(f"{source}: {error}, expected a file that holds a schema") from error
    if not isinstance(found, dict):
        raise TransformError(f"{source}: found a {type(found).__name__}, expected a schema of a row")
    return found, str(source)


def _made(name: str, fields: dict[str, Any], about: str | None) -> type[BaseModel]:
    with warnings.catch_warnings():
        # Columns may be called like methods of pydantic's; nobody calls those here.
        warnings.simplefilter("ignore", UserWarning)
        try:
            model: type[BaseModel] = create_model(name, __doc__=about, **fields)
        except (NameError, TypeError, ValueError) as error:
            raise TransformError(f"schema {name}: {error}") from error
    columns_of_model(model)
    return model


def _annotation(kind: Any) -> Any:
    # A type that is none is refused, by name and place, when the model becomes columns.
    return _ANNOTATIONS.get(str(kind).split("(", maxsplit=1)[0], Any)


def _field(kind: str, *, nullable: bool, default: Any, own: _Node, rules: dict[str, Any]) -> tuple[Any, Any]:
    choices = rules.pop("one_of", None)
    annotation = _annotation(kind) if choices is None else Literal[tuple(choices)]
    about = {"type": kind, **{key: own[key] for key in ("type", "unit", "pii", "key") if key in own}}
    made = field(default, description=own.get("description", ""), **about, **rules)
    return (annotation | None if nullable else annotation), made


def _needed(place: str, node: Any, name: str, kind: type[Any] = object) -> Any:
    """Return what a node has under a name, or tell that it is missing."""
    if not isinstance(node, Mapping):
        raise TransformError(f"{place}: found {node!r}, expected a mapping with {name!r}")
    if name not in node:
        raise TransformError(f"{place}: found no {name!r}, expected one")
    if not isinstance(node[name], kind):
        raise TransformError(f"{place}: found {name!r} {node[name]!r}, expected a {kind.__name__}")
    return node[name]


def _resolved(node: Any, schema: _Node, place: str, seen: frozenset[str] = frozenset()) -> _Node:
    while isinstance(node, dict) and "$ref" in node:
        path = str(node["$ref"])
        if path in seen:
            raise TransformError(f"{place}: found $ref {path!r} that leads to itself, expected one that ends")
        seen |= {path}
        found: Any = schema
        for part in path.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        if not path.startswith("#/") or not isinstance(found, dict):
            raise TransformError(f"{place}: found $ref {path!r}, expected one into the same schema")
        node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    if not isinstance(node, dict):
        raise TransformError(f"{place}: found {node!r}, expected the schema of a property")
    choices = node.get("anyOf") or node.get("oneOf")
    return {**node, "anyOf": [_resolved(each, schema, place, seen) for each in choices]} if choices else node


def _json_field(place: str, node: _Node, required: bool) -> tuple[Any, Any]:  # noqa: FBT001  (has one caller)
    node, nullable = _without_null(node)
    own = {**node.get(EXTRA, {}), "description": node.get("description", "")}
    rules = {_RULES[key]: value for key, value in node.items() if key in _RULES}
    choices = [node["const"]] if "const" in node else node.get("enum")
    if choices is not None:
        nullable = nullable or None in choices
        rules["one_of"] = [each for each in choices if each is not None]
    kind = own.get("type") or _json_kind(place, node, choices)
    unknown = set(node) - set(_RULES) - _SPEAKING - _STRUCTURE
    if unknown and kind != "json":
        raise TransformError(f"{place}: found {min(unknown)!r}, which no column is checked for")
    default = node.get("default", ... if required and not nullable else None)
    nullable = nullable or (not required and default is None)
    return _field(kind, nullable=nullable, default=default, own=own, rules=rules)


def _without_null(node: _Node) -> tuple[_Node, bool]:
    kinds, choices = node.get("type"), node.get("anyOf")
    if isinstance(kinds, list):
        rest = [each for each in kinds if each != "null"]
        return {**node, "type": rest[0] if len(rest) == 1 else rest}, "null" in kinds
    if choices:
        others = [each for each in choices if each.get("type") != "null"]
        if len(others) == 1:
            rest_of = {key: value for key, value in node.items() if key not in ("anyOf", "oneOf")}
            return {**others[0], **rest_of}, len(others) < len(choices)
        return node, len(others) < len(choices)
    return node, False


def _json_kind(place: str, node: _Node, choices: list[Any] | None) -> str:
    kind, form = node.get("type"), node.get("format", "")
    if kind is None and choices:
        kind = "string" if isinstance(choices[0], str) else "integer"
    if kind == "string" and node.get("contentEncoding") == "base64":
        return "bytes"
    if kind in ("object", "array") and not {"properties", "items", "prefixItems"} & set(node):
        return "json"
    if not isinstance(kind, str) or kind not in _PLAIN:
        raise TransformError(
            f"{place}: found type {kind!r}, expected one of {', '.join(_PLAIN)}, or {EXTRA}: "
            "{type: json} to let any JSON through unchecked"
        )
    known = _TEXTS if kind == "string" else _NUMBERS
    return known.get(form, _PLAIN[kind])


def _avro_field(place: str, node: _Node) -> tuple[Any, Any]:
    if node.get("aliases"):
        raise TransformError(f"{place}: found aliases, expected none: a field is named as its column")
    own = {**node.get(EXTRA, {}), "description": node.get("doc", "")}
    kind, nullable = _needed(place, node, "type"), False
    if isinstance(kind, list):
        kinds = [each for each in kind if each != "null"]
        nullable = len(kinds) < len(kind)
        kind = kinds[0] if len(kinds) == 1 else kinds
    rules: dict[str, Any] = {}
    if isinstance(kind, dict) and kind.get("type") == "enum":
        rules["one_of"] = _needed(place, kind, "symbols", list)
        kind = "string"
    found = own.get("type") or _avro_kind(place, kind)
    if found is None:
        raise TransformError(
            f"{place}: found type {json.dumps(kind)}, expected one of {', '.join(_AVRO)}, an enum, a logical "
            f"type of these, or {EXTRA}: {{type: json}} to let any JSON through unchecked"
        )
    default = node.get("default", None if nullable else ...)
    return _field(found, nullable=nullable, default=default, own=own, rules=rules)


def _avro_kind(place: str, kind: Any) -> str | None:
    if not isinstance(kind, dict):
        return _AVRO.get(kind) if isinstance(kind, str) else None
    logical = kind.get("logicalType")
    if logical == "decimal":
        return f"decimal({_needed(place, kind, 'precision', int)},{kind.get('scale', 0)})"
    if kind.get("type") == "array":
        items = _needed(place, kind, "items")
        # Elements may always be null.
        others = [each for each in items if each != "null"] if isinstance(items, list) else [items]
        element = _avro_kind(place, others[0]) if len(others) == 1 else None
        return f"array({element})" if element and not element.startswith("array") else None
    inner: Callable[[str, Any], str | None] = _avro_kind
    return _AVRO_LOGICAL.get(str(logical)) or (inner(place, kind.get("type")) if logical is None else None)
