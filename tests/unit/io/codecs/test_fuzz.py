"""Whatever a topic holds becomes a change or a dead letter, and nothing is lost or hangs.

TILLSTREAM_FUZZ_EXAMPLES says how many spoilt messages each test tries; `make fuzz` tries many.
"""

from __future__ import annotations

import json
import os
import random
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.corpus.conformance import write
from tests.unit.io.codecs.mutations import spoilt
from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import EVERY_SHARD, Codec, codec_for
from tillstream.io.collector import ChangeCollector
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetterBatch

FOLDER = Path(write.__file__).parent
CONTRACT = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
FILES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem != "expected"
}
# Those whose grammar is JSON.
FORMATS = sorted(name for name, file in FILES.items() if isinstance(file["messages"][0]["value"], str))
EXAMPLES = int(os.environ.get("TILLSTREAM_FUZZ_EXAMPLES", "60"))
SECONDS_MAX = 2.0
TOPIC = "acme.public.nasty"

fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Message:
    """Stand in for confluent_kafka's."""

    def __init__(self, offset: int, key: bytes | None, value: bytes | None, headers: list[Any]) -> None:
        self._parts = (offset, key, value, headers)

    def offset(self) -> int:
        """Return its place."""
        return self._parts[0]

    def key(self) -> bytes | None:
        """Return its key."""
        return self._parts[1]

    def value(self) -> bytes | None:
        """Return its value."""
        return self._parts[2]

    def headers(self) -> list[Any]:
        """Return its headers."""
        return self._parts[3]

    def timestamp(self) -> tuple[int, int]:
        """Return its time."""
        return 1, 1_700_000_000_000


@lru_cache
def _config(name: str, keyless: str | None = None) -> ClientConfig:
    told_by = {"key": CONTRACT["key"]} if keyless is None else {"keyless": keyless}
    entity = {"topic": TOPIC, **told_by, "contract": CONTRACT["contract"], "sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}, "events": FILES[name]["events"]},
            "entities": {"nasty": entity},
            "sinks": {"out": {"type": "files", "path": "out"}},
            "flink": {"shards": 4},
        }
    )


def _spoilt_message(chance: random.Random, name: str, offset: int) -> Message:
    message = chance.choice(FILES[name]["messages"])
    parts = [None if message[part] is None else str(message[part]).encode() for part in ("key", "value")]
    headers = [(header, str(value).encode()) for header, value in message["headers"]]
    for place in range(2):
        part = parts[place]
        if part is not None and chance.random() < (0.3, 0.9)[place]:
            parts[place] = spoilt(chance, part)
    if headers and chance.random() < 0.5:
        place = chance.randrange(len(headers))
        headers[place] = (headers[place][0], spoilt(chance, b'{"schema":null,"payload":"1"}'))
    if chance.random() < 0.03:
        parts[chance.randrange(2)] = None
    return Message(offset, parts[0], parts[1], headers)


@lru_cache
def _codec(name: str) -> Codec:
    # One for all messages, as in a job: what it learnt of one is there when the next one comes.
    return codec_for(_config(name), "nasty")


def _decoded(codec: Codec, message: Message) -> tuple[int, ChangeRecord] | RecordError:
    value = message.value()
    try:
        if value is None:
            return codec.tombstone(message.key(), message.offset(), 1, message.headers())
        return codec.decode(message.key(), value, message.offset(), message.headers())
    except RecordError as error:
        return error


@pytest.mark.parametrize("name", FORMATS)
@fuzzed
@given(seed=st.integers(0, 2**64))
def test_a_spoilt_message_is_a_change_or_an_error(name: str, seed: int) -> None:
    """Decoding raises RecordError with a sentence, and nothing else; what it returns can travel."""
    message = _spoilt_message(random.Random(seed), name, 7)  # noqa: S311
    codec = _codec(name)
    if message.value() is None and not codec.reads_tombstones:
        return
    began_s = time.monotonic()
    found = _decoded(codec, message)
    assert time.monotonic() - began_s < SECONDS_MAX
    if isinstance(found, RecordError):
        assert found.reason
        assert found.detail
        return
    shard, record = found
    assert shard == EVERY_SHARD or 0 <= shard < 4
    batch = ChangeBatch("acme", "nasty", 0, TOPIC, 0, tuple(CONTRACT["key"]), (record,), schema=codec.schema)
    assert ChangeBatch.decode(batch.encode()) == batch


@pytest.mark.parametrize("name", FORMATS)
@fuzzed
@given(value=st.binary(max_size=200), key=st.none() | st.binary(max_size=40))
def test_any_bytes_are_a_change_or_an_error(name: str, value: bytes, key: bytes | None) -> None:
    """It need not look like a message at all."""
    codec = _codec(name)
    with pytest.raises(RecordError) as caught:
        codec.decode(key, value, 0, [])
    assert caught.value.detail


@pytest.mark.parametrize("keyless", [None, "append", "full_row"])
@pytest.mark.parametrize("name", FORMATS)
def test_no_message_is_lost(name: str, keyless: str | None) -> None:
    """Each of a topic's spoilt messages is a change, a dead letter, or a tombstone that tells nothing."""
    is_delete = "tombstone" in FILES[name]["events"].get("delete_tombstone_handling_mode", "")
    if keyless and is_delete:
        with pytest.raises(ValidationError, match="a row that has no key"):
            _config(name, keyless)
        return
    chance = random.Random(EXAMPLES)  # noqa: S311
    collector = ChangeCollector(_config(name, keyless))
    messages = [_spoilt_message(chance, name, offset) for offset in range(EXAMPLES * 3)]
    collector.add(TOPIC, 0, messages)
    records: set[int] = set()
    letters: set[int] = set()
    for found in collector.flush():
        if isinstance(found, tuple):
            records |= {record.offset for record in ChangeBatch.decode(found[1]).records}
        else:
            letters |= {letter.offset for letter in DeadLetterBatch.decode(found.value).letters}
    empty = set() if is_delete else {each.offset() for each in messages if each.value() is None}
    assert records | letters | empty == {each.offset() for each in messages}
    assert not records & letters
    assert not empty & (records | letters)
    assert records
    assert letters
