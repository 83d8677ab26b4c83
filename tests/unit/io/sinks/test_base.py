"""Sinks are found by their type."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.configs import ClientConfig
from tillstream.io.sinks import base, open_sink, register, sink_class
from tillstream.io.sinks.files import FilesSink
from tillstream.pipelines.errors import ConfigError, MissingToolError


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_TARGETS", dict(base._TARGETS))


def test_every_sink_of_the_config_is_registered() -> None:
    """What a config may name, a job finds."""
    assert sink_class("files") is FilesSink
    assert sink_class("postgres").__name__ == "PostgresSink"


def test_an_unknown_type_lists_the_known_ones() -> None:
    """A type that nobody registered is answered with those that are there."""
    with pytest.raises(ConfigError, match=r"found sink type 'ftp', expected one of files, .*postgres"):
        sink_class("ftp")


def test_a_type_is_registered_once() -> None:
    """A second sink of the same type is refused instead of taking the first one's place."""
    with pytest.raises(ValueError, match=r"found sink type 'files' twice"):
        register("files", "mine:FilesSink")


def test_a_target_names_module_and_class() -> None:
    """A target of another form is refused where it is registered."""
    with pytest.raises(ValueError, match="expected module:Class"):
        register("ftp", "mine.FtpSink")


def test_a_missing_extra_is_named() -> None:
    """A sink whose dependency is not installed says what to install."""
    register("ftp", "no_such_package:FtpSink", "ftp")
    with pytest.raises(MissingToolError, match=r"no_such_package: pip install 'tillstream\[ftp\]'"):
        sink_class("ftp")


def test_a_sink_opens_for_the_entities_that_name_it(tmp_path: Path) -> None:
    """Of a client's entities a sink gets its own, and its folder is there when it is open."""
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"files": {"paths": [str(tmp_path / "in")]}},
            "entities": {
                "orders": {"topic": "o", "key": ["id"], "sinks": ["out"]},
                "prices": {"topic": "p", "key": ["id"], "sinks": ["other"]},
            },
            "sinks": {
                "out": {"type": "files", "path": str(tmp_path / "out")},
                "other": {"type": "files", "path": str(tmp_path / "other")},
            },
        }
    )
    sink = open_sink(config, "out")
    assert (sink.name, sink.client, list(sink.entities)) == ("out", "acme", ["orders"])
    assert (tmp_path / "out").is_dir()
    assert not (tmp_path / "other").exists()
