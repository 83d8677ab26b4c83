"""What Debezium's own transform and converter make of real events means what the events mean.

The files are written by tests/corpus/transformed/Transform.java, which says how.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs.events import Events
from tillstream.io.codecs.base import codec_class
from tillstream.pipelines.records import ChangeRecord, Operation

FOLDER = Path(__file__).parents[3] / "corpus" / "transformed"
FILES = sorted(path.name.split(".")[0] for path in FOLDER.glob("*.jsonl.gz") if "envelopes" not in path.name)


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.open(FOLDER / f"{name}.jsonl.gz", "rt", encoding="utf-8")]


ENVELOPES = _lines("envelopes")
KEYS = {each["topic"]: tuple(json.loads(each["key"])["payload"]) for each in ENVELOPES if each["key"]}


def _events(name: str) -> Events:
    kind, *rest = name.split("_")
    if kind != "flattened":
        return Events.model_validate({"format": "debezium_json" if kind == "envelopes" else kind})
    return Events.model_validate({"format": kind, "delete_tombstone_handling_mode": rest[0]})


def _records(name: str) -> Iterator[tuple[str, int, ChangeRecord]]:
    events = _events(name)
    codecs: dict[str, Any] = {}
    for line in _lines(name):
        topic = line["topic"]
        if topic not in codecs:
            codecs[topic] = codec_class(events.format)("nasty", KEYS.get(topic, ()), 16, (), events)
            codecs[topic].read_transactions()
        key, value = (None if line[part] is None else line[part].encode() for part in ("key", "value"))
        headers = [(each, None if text is None else text.encode()) for each, text in line.get("headers", ())]
        if value is not None:
            yield topic, *codecs[topic].decode(key, value, 0, headers)
        elif codecs[topic].reads_tombstones:
            yield topic, *codecs[topic].tombstone(key, 0, 5, headers)


def _row(row: bytes | None) -> Any:
    found = None if row is None else json.loads(row)
    # Read from JSON, as the transform's input was, Connect makes zeros of what JSON has no numerals for.
    odd = ("NaN", "Infinity", "-Infinity", 0.0)
    return found and {
        name: 0.0 if value in odd and name in ("single", "double") else value for name, value in found.items()
    }


def _told(name: str, *, has_rows: bool, has_truncates: bool) -> list[tuple[Any, ...]]:
    return [
        (
            topic,
            record.operation,
            record.position,
            record.source_time_us,
            record.transaction,
            *((record.key, shard, _row(record.after)) if has_rows else ()),
        )
        for topic, shard, record in _records(name)
        if has_truncates or record.operation is not Operation.TRUNCATE
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_transformed_event_is_the_same_change(name: str) -> None:
    """Position, time, transaction, key and row are the envelope's; the transform drops truncates.

    Without a schema the rows have other spellings here, since no mode is named.
    """
    options = {"has_rows": name.endswith("_schema"), "has_truncates": name.startswith("cloudevents")}
    assert _told(name, **options) == _told("envelopes", **options)


def test_there_are_deletes_and_truncates_among_them() -> None:
    """Else the test above would say little."""
    assert {record.operation.value for _, _, record in _records("envelopes")} == set("rcudt")
