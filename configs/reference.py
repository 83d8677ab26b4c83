"""Write the reference of the config from the models: docs/reference/config.md.

Run `python -m tillstream.configs.reference > docs/reference/config.md` after a change of a model.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tillstream.configs.contract import KINDS
from tillstream.configs.schema import Node, config_schema

__all__ = ["render"]

_NAMES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "secret-reference": "secret",
    "date-time": "time with zone",
}
_HEAD = """\
# Config reference

Generated from the models in `configs/`; `tillstream schema` prints the same as JSON Schema for editors,
`tillstream validate FILE...` checks a file against it.

One YAML file describes one client. Paths in it start from the file's own folder.

**References.** Any value may hold `${NAME}` or `${NAME:-default}`. They are filled in when the file is
loaded, from the process's environment, then from the local stack's where one was started. A variable that
is unset or empty and has no default is an error.

**Secrets** are never written in the file. A field of type *secret* holds `${NAME}` alone, or `file:PATH`. It
is read by the process that uses it, when it uses it: `${NAME}` from that process's environment, else
from the file `<client>/NAME` in the folder that `TILLSTREAM_SECRETS_DIR` names.
"""


def render() -> str:
    """Return the whole page as Markdown."""
    schema = config_schema()
    sections = [_HEAD, _section("ClientConfig", schema, schema["$defs"])]
    definitions = schema["$defs"]
    sections += [_section(name, definitions[name], definitions) for name in _in_order_of_use(schema)]
    column = _column_schema(schema)
    sections.append(_section("Column", column, schema["$defs"]))
    sections.append(_section("ColumnRules", column["properties"]["rules"]["anyOf"][0], schema["$defs"]))
    kinds = ", ".join(f"`{kind}`" for kind in KINDS).replace("`decimal`", "`decimal(p,s)`")
    sections.append(f"Types of columns: {kinds}. A type alone stands for `{{type: ...}}`.\n")
    return "\n".join(sections)


def _in_order_of_use(schema: Node) -> list[str]:
    order: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "$ref":
                    name = value.rsplit("/", 1)[1]
                    if name not in order:
                        order.append(name)
                        visit(schema["$defs"][name])
                elif key not in ("$defs", "discriminator"):
                    visit(value)
        elif isinstance(node, list):
            for item in node:
                visit(item)

    visit(schema)
    return order


def _column_schema(schema: Node) -> Node:
    contract = schema["$defs"]["Entity"]["properties"]["contract"]["anyOf"][0]
    (column,) = contract["patternProperties"].values()
    mapping: Node = column["anyOf"][1]
    return mapping


def _section(name: str, node: Node, definitions: Node) -> str:
    lines = [f"## {name}", "", " ".join(node.get("description", "").split()), ""]
    lines += ["| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    required = node.get("required", [])
    for field, about in node["properties"].items():
        default = "required" if field in required else _default(about)
        cells = [f"`{field}`", _type(about, definitions), default, about.get("description", "")]
        lines.append(
            "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
        )
    return "\n".join([*lines, ""])


def _default(about: Node) -> str:
    value = about.get("default")
    if value is None or value == "":
        return ""
    return "its defaults" if isinstance(value, dict) else f"`{json.dumps(value)}`"


def _type(node: Node, definitions: Node) -> str:
    if "$ref" in node or "properties" in node:
        name = node["$ref"].rsplit("/", 1)[1] if "$ref" in node else node["title"]
        return f"[{name}](#{name.lower()})"
    choices = node.get("anyOf", []) + node.get("oneOf", [])
    if choices:
        return " or ".join(_type(choice, definitions) for choice in choices if choice.get("type") != "null")
    if "const" in node or "enum" in node:
        return ", ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    if node["type"] == "array":
        return f"list of {_type(node['items'], definitions)}"
    if node["type"] == "object":
        return _mapping_type(node, definitions)
    return _NAMES.get(node.get("format", ""), _NAMES[node["type"]]) + _bounds(node)


def _mapping_type(node: Node, definitions: Node) -> str:
    values = [*node.get("patternProperties", {}).values()] or [node["additionalProperties"]]
    inner = (
        _type(values[0], definitions)
        if "properties" not in values[0].get("anyOf", [{}])[-1]
        else "[Column](#column)"
    )
    return f"mapping of name to {inner}"


def _bounds(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if low is not None and high is not None:
        return f", {low} to {high}"
    return f", at least {low}" if low is not None else ""


if __name__ == "__main__":
    sys.stdout.write(render())
