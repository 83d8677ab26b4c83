"""A shadow writes to no sink of the client's, and what it keeps can be read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LAUNCH_VARIABLE, CanaryLaunch, LaunchParameters
from tillstream.io.sinks import Writer, open_sink, sink_types
from tillstream.io.sinks.shadow import ShadowSink, read_letters, read_shard, recorder_of, shards_of
from tillstream.pipelines.records import DeadLetter

from .builders import batch, upsert

# None of them could be opened: nobody is there.
SINKS: dict[str, dict[str, Any]] = {
    "postgres": {"type": "postgres", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u"},
    "kafka": {"type": "kafka", "bootstrap_servers": "127.0.0.1:1"},
    "http": {"type": "http", "url": "http://127.0.0.1:1/{entity}"},
    "gcs": {"type": "gcs", "bucket": "some-bucket", "endpoint": "http://127.0.0.1:1"},
    "files": {"type": "files", "path": "/proc/nowhere"},
}


def config(*sinks: str) -> ClientConfig:
    """Return a config whose one entity goes to sinks of some types."""
    entity = {
        "topic": "t",
        "key": ["id"],
        "contract": {"id": "int64", "name": "string"},
        "sinks": list(sinks),
    }
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"things": entity},
            "sinks": {name: SINKS[name] for name in sinks},
            "dead_letters": {"sink": sinks[0]},
            "delivery": {"guarantee": "at-least-once" if "http" in sinks else "exactly-once"},
        }
    )


def test_all_types_of_sinks_are_tried_here() -> None:
    """A new one is added above."""
    assert sorted(SINKS) == sink_types()


@pytest.mark.parametrize("kind", sorted(SINKS))
def test_no_sink_of_the_client_s_is_touched(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever type it has, a shadow gets one that keeps batches and dead letters in its folder."""
    shadow = CanaryLaunch("new", str(tmp_path / "new"), {})
    monkeypatch.setenv(LAUNCH_VARIABLE, LaunchParameters(1, 1, canary=shadow).encode())
    sink = open_sink(config(kind), kind, Writer(1, 16, 1))
    assert isinstance(sink, ShadowSink)
    # As its own would be given them.
    assert sink.keeps_values == (kind == "postgres")
    rows = [batch("id name", upsert(1, "a")), batch("id name", upsert(2, "b"))]
    sink.write(rows, list)
    letter = DeadLetter("acme", "things", "write", "refused", "", "t", 0, 7)
    sink.write_dead_letters([letter])
    # Before it is closed: a job that is cancelled closes nothing.
    assert list(read_shard(tmp_path / "new", "things", 0)) == rows
    assert list(read_letters(tmp_path / "new")) == [letter]
    sink.close()


def test_an_entity_is_kept_once(tmp_path: Path) -> None:
    """All of its sinks are given the same; one that logs changes is preferred."""
    both = config("postgres", "files")
    assert (recorder_of(both, "things"), recorder_of(config("postgres"), "things")) == ("files", "postgres")
    sink = ShadowSink("postgres", "acme", tmp_path, frozenset())
    sink.open()
    sink.write([batch("id name", upsert(1, "a"))], list)
    assert shards_of(tmp_path, "things") == set()


def test_what_it_keeps_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Rows are those of the client's customers."""
    sink = ShadowSink("any", "acme", tmp_path / "new", frozenset({"things"}))
    sink.open()
    sink.write([batch("id name", upsert(1, "a"))], list)
    assert {path.stat().st_mode & 0o77 for path in (tmp_path / "new", tmp_path / "new" / "things")} == {0}
