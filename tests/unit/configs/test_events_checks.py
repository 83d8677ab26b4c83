"""A format's needs are checked before a job starts, with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.configs import load
from tillstream.pipelines.errors import ConfigError

CONFIG = """client: acme
source:
  kafka: {bootstrap_servers: "b:9092"}
  events:
    %s
entities:
  orders: {topic: acme.public.orders, key: [id], sinks: [out]}
sinks:
  out: {type: files, path: out}
"""


def problems(tmp_path: Path, *events: str) -> str:
    """Return what is wrong with a config; empty for nothing."""
    path = tmp_path / "acme.yaml"
    path.write_text(CONFIG % "\n    ".join(events))
    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "events",
    [
        (
            "format: debezium_avro",
            'schema_registry: {urls: ["https://r:8081/api/"]}',
            "field_names: avro_unicode",
        ),
        ("format: debezium_avro", 'schema_registry: {urls: ["http://r:8081", "http://s:8081"]}'),
        ("format: avro", "avro_schema_file: '{entity}.avsc'", "avro_key_schema_file: key.avsc"),
        ("format: debezium_json",),
    ],
)
def test_a_format_with_what_it_needs_is_accepted(tmp_path: Path, events: tuple[str, ...]) -> None:
    """Each format has fields of its own."""
    assert problems(tmp_path, *events) == ""


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (("format: debezium_avro",), "acme.yaml:5.*source.events.format.*without schema_registry"),
        (("format: avro",), "acme.yaml:5.*source.events.format.*without avro_schema_file"),
        (("format: debezium_json", 'schema_registry: {urls: ["http://r"]}'), "acme.yaml:6.*schema_registry"),
        (("format: debezium_json", "field_names: avro_unicode"), "acme.yaml:6.*field_names"),
        (("format: debezium_avro", 'schema_registry: {urls: ["ftp://r"]}'), "expected https"),
        (("format: debezium_avro", 'schema_registry: {urls: ["https://a:b@r"]}'), "login"),
        (("format: debezium_avro", 'schema_registry: {urls: ["https://r?x=1"]}'), "paths"),
        (("format: debezium_avro", "schema_registry: {urls: []}"), "urls"),
        (
            ("format: debezium_avro", 'schema_registry: {urls: ["https://r"], user: ann}'),
            "without a password",
        ),
        (
            ("format: debezium_avro", 'schema_registry: {urls: ["http://r"], user: a, password: "${P}"}'),
            "expected https: the login would cross a network in the open",
        ),
        (
            ("format: debezium_avro", 'schema_registry: {urls: ["https://r"], user: a, password: hunter2}'),
            "reference",
        ),
        (("format: debezium_avro", 'schema_registry: {urls: ["https://r"], key_file: k.pem}'), "cert_file"),
    ],
)
def test_what_does_not_fit_is_told(
    tmp_path: Path, events: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the file, the line and the field; never a password."""
    monkeypatch.setenv("P", "secret")
    found = problems(tmp_path, *events)
    assert "hunter2" not in found
    pattern = pytest.raises(ConfigError, match=said)
    with pattern:
        raise ConfigError(found)


def test_lines_of_files_cannot_be_avro(tmp_path: Path) -> None:
    """Files of Avro tell their schema themselves."""
    (tmp_path / "e.jsonl").write_text("")
    path = tmp_path / "acme.yaml"
    events = "format: avro\n    avro_schema_file: a.avsc"
    path.write_text(
        (CONFIG % events).replace('kafka: {bootstrap_servers: "b:9092"}', "files: {paths: [e.jsonl]}")
    )
    with pytest.raises(ConfigError, match=r"acme.yaml:5.*expected debezium_json: it reads container files"):
        load(path)
