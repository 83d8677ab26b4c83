"""The JSON Schema for editors: it takes what loads, references included, and shows what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tillstream import configs
from tillstream.configs.schema import editor_schema

FOLDER = Path(configs.__file__).parent
SHIPPED = sorted([*FOLDER.glob("clients/*.yaml"), *FOLDER.glob("examples/*.yaml")])


def complaints(text: str) -> list[str]:
    """Return where a config breaks the schema."""
    validator = jsonschema.Draft202012Validator(editor_schema())
    # Through JSON, as editors do: dates of YAML are text there.
    data: Any = json.loads(json.dumps(yaml.safe_load(text), default=str))
    return sorted(error.json_path for error in validator.iter_errors(data))


def test_it_is_a_schema() -> None:
    """The schema itself is valid by the draft that it names."""
    assert editor_schema()["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(editor_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_pass(path: Path) -> None:
    """Every shipped config passes as it is written, with its references and short forms."""
    assert complaints(path.read_text(encoding="utf-8")) == []


ACME = (FOLDER / "clients" / "acme.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "places"),
    [
        ("flink: {parallelism: '${CORES}', rest_url: '${FLINK}'}", []),
        ("version: 2", ["$.version"]),
        ("flink: {parallelism: '2'}", ["$.flink.parallelism"]),
        ("flink: {parallelsm: 2}", ["$.flink"]),
        ("client: ACME", ["$.client"]),
        ("delivery: {guarantee: exactly-twice}", ["$.delivery.guarantee"]),
        ("sinks: {warehouse: {type: files, path: out, format: csv}}", ["$.sinks.warehouse"]),
        ("sinks: {warehouse: {type: files, path: out, format: '${FORMAT}'}}", []),
    ],
)
def test_changes(more: str, places: list[str]) -> None:
    """A value may be a reference; what would not load is shown at its place."""
    assert complaints(f"{ACME}\n{more}\n") == places
