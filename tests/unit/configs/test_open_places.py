"""A launch puts other addresses and bounds into what was built, and nothing that shaped it."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs.open_places import is_open, open_differences, pointer_of

BUILT: dict[str, Any] = {
    "client": "shop",
    "source": {"kafka": {"bootstrap_servers": "built:1", "poll_interval_ms": 50}, "files": None},
    "entities": {"orders": {"transform": "shop.big@1.0.0"}},
    "sinks": {"lake": {"type": "files", "path": "out"}, "db": {"type": "postgres", "host": "built"}},
    "flink": {"parallelism": 1, "shards": 16, "memory_mb_max": 2048},
    "limits": {"environment": []},
}


def changed(**parts: Any) -> dict[str, Any]:
    """Return the config with other parts."""
    return {**BUILT, **parts}


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("source", {"kafka": {**BUILT["source"]["kafka"], "bootstrap_servers": "now:1"}, "files": None},
         {"/source/kafka/bootstrap_servers": "now:1"}),
        # The clock's interval lies in its stage.
        ("source", {"kafka": {**BUILT["source"]["kafka"], "poll_interval_ms": 9}, "files": None}, {}),
        ("source", {"kafka": None, "files": {"paths": ["x"]}}, {}),
        ("entities", {"orders": {"transform": "shop.big@2.0.0"}}, {}),
        ("client", "globex", {}),
        ("flink", {"parallelism": 4, "shards": 32, "memory_mb_max": None},
         {"/flink/parallelism": 4, "/flink/memory_mb_max": None}),
        # A sink that is new, or of another kind, is none of the template's.
        ("sinks", {"db": {"type": "postgres", "host": "now"}, "more": {"type": "files", "path": "x"}},
         {"/sinks/db/host": "now"}),
        ("sinks", {**BUILT["sinks"], "lake": {"type": "kafka", "topic": "x"}}, {}),
        ("limits", {"environment": ["REGION"]}, {"/limits/environment": ["REGION"]}),
    ],
)  # fmt: skip
def test_only_open_places_differ(part: str, value: Any, expected: dict[str, Any]) -> None:
    """What shaped the template stays that of the build."""
    assert open_differences(BUILT, changed(**{part: value})) == expected


def test_places_below_an_open_one_are_open() -> None:
    """Names of sinks are any, their kinds are fixed."""
    assert is_open(("sinks", "anything", "host"))
    assert is_open(("source", "kafka", "topics", 0))
    assert not is_open(("sinks", "anything", "type"))
    assert not is_open(("source", "kafka", "poll_interval_ms"))
    assert not is_open(("sinks",))
    assert not is_open(("flink", "shards"))


def test_pointers_bear_any_name() -> None:
    """Slashes and tildes are spelled as RFC 6901 says."""
    assert pointer_of(("sinks", "a/b~c", 0)) == "/sinks/a~1b~0c/0"
