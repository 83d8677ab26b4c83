"""What is generated from the models: the reference and the JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tillstream import configs
from tillstream.configs.reference import render
from tillstream.configs.schema import config_schema, editor_schema, is_secret, nodes_at

PAGE = Path(configs.__file__).resolve().parent.parent / "docs" / "reference" / "config.md"


def test_the_page_is_up_to_date() -> None:
    """docs/reference/config.md is what the models say; its own docstring tells how to write it anew."""
    if not PAGE.parent.parent.is_dir():  # an installed package has no docs
        return
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_field_is_described() -> None:
    """No field is without a description, and every model has its section."""
    models = [getattr(configs, name) for name in configs.__all__]
    for model in (each for each in models if isinstance(each, type) and issubclass(each, BaseModel)):
        undescribed = [name for name, field in model.model_fields.items() if not field.description]
        assert not undescribed, (model, undescribed)
    for name in config_schema()["$defs"]:
        assert f"\n## {name}\n" in render()


def test_numbers_may_be_references_in_editors() -> None:
    """Editors accept `${NAME}` where a number is wanted."""
    port = editor_schema()["$defs"]["PostgresSink"]["properties"]["port"]
    assert [choice["type"] for choice in port["anyOf"]] == ["integer", "string"]
    assert port["default"] == 5432


def test_secrets_are_told_by_the_schema() -> None:
    """A field is secret where its model says so, not by its name."""
    data: dict[str, Any] = {"sinks": {"password": {"type": "postgres"}, "f": {"type": "files"}}}
    assert is_secret(("sinks", "password", "password"), data)
    assert is_secret(("source", "kafka", "sasl_password"), data)
    assert not is_secret(("sinks", "password"), data)
    assert not is_secret(("entities", "e", "contract", "password"), data)


def test_nodes_follow_a_sinks_type() -> None:
    """A sink's type chooses its fields; without one they may be any sink's."""
    data = {"sinks": {"f": {"type": "files"}, "g": {}}}
    assert [node["title"] for node in nodes_at(("sinks", "f"), data)] == ["FilesSink"]
    assert [node["title"] for node in nodes_at(("sinks", "g"), data)][:2] == ["PostgresSink", "FilesSink"]
    assert nodes_at(("sinks", "f", "host"), data) == []
