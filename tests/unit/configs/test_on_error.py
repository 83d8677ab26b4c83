"""Keys are held only where somebody can let them go."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tillstream.configs import ClientConfig


def config(kind: str = "postgres", source: str = "kafka", **entity: Any) -> ClientConfig:
    """Return a client whose entity holds keys."""
    sinks = {
        "postgres": {"host": "h", "database": "d", "user": "u"},
        "files": {"path": "out"},
        "gcs": {"bucket": "lake"},
        "kafka": {"bootstrap_servers": "b:9092"},
    }
    sources = {"kafka": {"bootstrap_servers": "b:9092"}, "files": {"paths": ["in.jsonl"]}}
    orders = {"topic": "t", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {source: sources[source]},
            "entities": {"orders": {**orders, "on_error": "hold_key", **entity}},
            "sinks": {"out": {"type": kind, **sinks[kind]}},
        }
    )


@pytest.mark.parametrize("kind", ["postgres", "files"])
def test_keys_may_be_held(kind: str) -> None:
    """Where letters lie that can be asked for; as many changes wait as the config says."""
    assert config(kind, hold_events_max=5).entities["orders"].hold_events_max == 5
    assert config(kind).replay_topic == "tillstream.acme.replay"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "kafka"}, "dead letters in a kafka sink, expected dead_letters.sink to name one of type"),
        ({"kind": "gcs"}, "found hold_key with dead letters in a gcs sink"),
        ({"source": "files"}, "found hold_key with a files source, expected skip"),
        ({"hold_events_max": 0}, "greater than or equal to 1"),
        ({"on_error": "stop"}, "'skip' or 'hold_key'"),
    ],
)
def test_keys_that_nobody_could_let_go_are_not_held(fields: dict[str, Any], said: str) -> None:
    """The message says what is found, and what is expected."""
    with pytest.raises(ValidationError, match=said):
        config(**fields)
    with_skip = {name: value for name, value in fields.items() if name in ("kind", "source")}
    assert config(**with_skip, on_error="skip").entities["orders"].on_error == "skip"
