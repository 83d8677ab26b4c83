"""A table without a key says so, in one of two ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tillstream.configs import ClientConfig
from tillstream.configs.loader import load
from tillstream.pipelines.errors import ConfigError

CONFIG = """client: acme
source: {kafka: {bootstrap_servers: "b:9092"}}
entities:
  log:
    topic: acme.public.log
    contract: {id: int64}
    sinks: [out]
sinks:
  out: {type: files, path: out}
"""


def config(**log: Any) -> ClientConfig:
    """Return a client with an entity `log`."""
    entity = {"topic": "acme.public.log", "contract": {"id": "int64"}, "sinks": ["out"], **log}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"log": entity, "other": {"topic": "o", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )


@pytest.mark.parametrize(("keyless", "key"), [("append", ["_event_id"]), ("full_row", ["_row_id", "_copy"])])
def test_rows_get_columns_that_tell_them_apart(keyless: str, key: list[str]) -> None:
    """They come first; whoever asks for the key finds them, also after the config was written and read."""
    client = config(keyless=keyless)
    again = ClientConfig.model_validate(client.model_dump(mode="json", by_alias=True))
    for entity in (client.entities["log"], again.entities["log"]):
        assert entity.key == key
        assert [column.name for column in entity.columns()] == [*key, "id"]
        assert not any(column.nullable for column in entity.columns()[: len(key)])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "key: found nothing, expected the columns that tell its rows apart, or keyless"),
        ({"key": ["id"], "keyless": "append"}, "keyless: found 'append' beside a key, expected exactly one"),
        ({"key": []}, "at least 1 item"),
        ({"keyless": "rows"}, "'append' or 'full_row'"),
        ({"topic": None, "keyless": "append"}, "keyless: found 'append' without a topic"),
        ({"keyless": "append", "on_error": "hold_key"}, "on_error: found hold_key beside keyless"),
    ],
)
def test_what_does_not_fit(fields: dict[str, Any], said: str) -> None:
    """The message says what is found, and what is expected."""
    with pytest.raises(ValidationError, match=said):
        config(**fields)


def test_rows_without_a_key_are_not_copied_into_ones_that_have_one() -> None:
    """A transform must say what they are told by."""
    model = config(keyless="append").model_dump(mode="json", by_alias=True)
    model["entities"]["made"] = {"from": "log", "key": ["id"], "sinks": ["out"]}
    with pytest.raises(ValidationError, match=r"entities\.made\.from: found 'log', which has no key"):
        ClientConfig.model_validate(model)


def test_errors_name_file_and_line(tmp_path: Path) -> None:
    """As all errors of configs do."""
    path = tmp_path / "acme.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError, match=r"acme.yaml:4: entities.log.key: found nothing"):
        load(path)
    path.write_text(CONFIG.replace("    sinks", "    key: [id]\n    keyless: append\n    sinks"))
    with pytest.raises(ConfigError, match=r"acme.yaml:8: entities.log.keyless: found 'append' beside a key"):
        load(path)


@pytest.mark.parametrize(("topic", "keyless"), [("acme.message", "append"), ("acme.public.message", None)])
def test_logical_messages_have_no_key(topic: str, keyless: str | None) -> None:
    """Their topic tells; that of a table has one name more."""
    if keyless is None:
        with pytest.raises(ValidationError, match="found nothing"):
            config(topic=topic)
    else:
        assert config(topic=topic).entities["log"].keyless == keyless


@pytest.mark.parametrize("mode", [None, "tombstone", "delete-to-tombstone", "rewrite", "drop"])
def test_a_tombstone_alone_is_no_delete_of_such_a_row(tmp_path: Path, mode: str | None) -> None:
    """It has no key that would tell the row, so deletes must be written in another way."""
    path = tmp_path / "acme.yaml"
    events = "format: flattened" + (f", delete_tombstone_handling_mode: {mode}" if mode else "")
    text = CONFIG.replace('"b:9092"}', f'"b:9092"}}, events: {{{events}}}')
    path.write_text(text.replace("    sinks", "    keyless: full_row\n    sinks"))
    if mode in ("rewrite", "drop"):
        load(path)
        return
    said = (
        r"acme.yaml:7: entities.log.keyless: found 'full_row' where .*mode is .*tombstone, expected rewrite"
    )
    with pytest.raises(ConfigError, match=said):
        load(path)
