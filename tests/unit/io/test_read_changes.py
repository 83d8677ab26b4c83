"""Reading: which topics, which state, which files, and what becomes of each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from tillstream.configs import ClientConfig, KafkaSource
from tillstream.io.read_changes import decode_offset, encode_offset
from tillstream.io.sources.choosing import wanted_topics
from tillstream.io.sources.session import RateLimiter
from tillstream.pipelines.records import ChangeBatch, DeadLetterBatch


def test_offset_state_has_a_version() -> None:
    """State of version 1 stays readable, byte by byte; any other is refused."""
    assert encode_offset(300) == bytes.fromhex("01000000000000012c")
    assert decode_offset(bytes.fromhex("01000000000000012c")) == 300
    for state in (b"\x02" + bytes(8), b"", b"\x01"):
        with pytest.raises(ValueError, match="offset state"):
            decode_offset(state)


@pytest.mark.parametrize(
    ("topics", "wanted"),
    [
        (None, ["a.orders"]),
        (["a.items"], ["a.items"]),
        (["^a\\.", "b"], ["a.items", "a.orders", "b"]),
        (["absent"], []),
    ],
)
def test_topics_are_names_or_expressions(topics: list[str] | None, wanted: list[str]) -> None:
    """Without topics the entities' are read; ^ marks a regular expression, as in librdkafka."""
    source = KafkaSource(bootstrap_servers="b:9092", topics=topics)
    assert wanted_topics(source, ["a.orders"], ["b", "a.orders", "a.items", "__offsets"]) == wanted


def test_a_rate_limit_saves_up_no_more_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a long pause one second's worth may be read at once, then as much as time brings."""
    clock = [100.0]
    monkeypatch.setattr("tillstream.io.sources.session.time.monotonic", lambda: clock[0])
    limiter = RateLimiter(50)
    assert limiter.available() == 0
    clock[0] += 3600
    assert limiter.available() == 50
    limiter.spend(50)
    assert limiter.available() == 0
    clock[0] += 0.5
    assert limiter.available() == 25


def _line(table: str, key: int, op: str = "c") -> str:
    row = {"id": key}
    return json.dumps(
        {
            "op": op,
            "before": row if op == "d" else None,
            "after": None if op == "d" else row,
            "source": {
                "connector": "postgresql",
                "name": "a",
                "schema": "public",
                "table": table,
                "ts_ms": 5,
            },
        }
    )


def _config(paths: list[Path]) -> ClientConfig:
    return ClientConfig.model_validate(
        {
            "client": "a",
            "source": {"files": {"paths": [str(path) for path in paths]}},
            "entities": {"orders": {"topic": "a.public.orders", "key": ["id"], "sinks": ["out"]}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )


def _changes(element: tuple[bytes, bytes]) -> list[Any]:
    batch = ChangeBatch.decode(element[1])
    return [(batch.entity, record.key, record.offset, record.operation.value) for record in batch.records]


def _letters(frame: bytes) -> list[Any]:
    return [
        (each.reason, Path(each.topic).name, each.offset) for each in DeadLetterBatch.decode(frame).letters
    ]


def test_each_line_becomes_a_change_or_a_dead_letter(tmp_path: Path) -> None:
    """Lines of known tables become changes, others dead letters with file and line, empty ones nothing."""
    from apache_beam import FlatMap, Impulse, ParDo

    from tillstream.io.read_changes import ReadBounded

    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl.gz"
    first.write_text("\n".join([_line("orders", 1), "", "oops", _line("other", 2), _line("orders", 1, "d")]))
    second.write_bytes(b"not gzip")
    with TestPipeline() as pipeline:
        read = (
            pipeline
            | Impulse()
            | ParDo(ReadBounded(_config([first, second]))).with_outputs("dead_letters", main="main")
        )
        assert_that(
            read["main"] | "changes" >> FlatMap(_changes),
            equal_to([("orders", (1,), 1, "c"), ("orders", (1,), 5, "d")]),
            label="changes",
        )
        assert_that(
            read["dead_letters"] | "letters" >> FlatMap(_letters),
            equal_to(
                [
                    ("malformed", "1.jsonl", 3),
                    ("unknown_topic", "1.jsonl", 4),
                    ("unreadable_file", "2.jsonl.gz", 0),
                ]
            ),
            label="letters",
        )
