"""Record real events into a fixture, with personal data hidden."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.io.sources.files import read_lines
from tillstream.pipelines.errors import RecordError, UnavailableError, UserError
from tillstream.transforms.testing.envelopes import fixture_lines
from tillstream.transforms.testing.hiding import Hider, known_columns

__all__ = ["Recorded", "record"]

_SALT_BYTES = 32
_WAIT_S = 1.0
_EMPTY_POLLS_MAX = 10
# What positions are made of; MySQL's block also holds the statement, with its values.
_LEFT_OUT = ("query",)
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Recorded:
    """Tell what was recorded.

    Attributes:
        text: the fixture's.
        events: how many it has.
        skipped: how many messages were none that a pipeline reads.
        hidden: columns that hold stand-ins, by entity.
        dropped: columns that nobody described, and that are left out, by entity.
    """

    text: bytes
    events: int
    skipped: int
    hidden: Mapping[str, Sequence[str]]
    dropped: Mapping[str, Sequence[str]]


def record(
    config: ClientConfig,
    entities: Sequence[str],
    count: int,
    *,
    topic: str | None = None,
    newest: bool = False,
    unmasked: bool = False,
) -> Recorded:
    """Return a fixture of events that the client's source holds now.

    Args:
        config: the client's.
        entities: whose events; those of several are merged in the order of their time.
        count: most events of each.
        topic: read in place of the entity's own; for one entity alone.
        newest: take the newest of each partition, rather than the oldest.
        unmasked: record entities too whose columns nobody described, with all that is in them.

    Raises:
        UserError: if an entity has no topic, or nothing says which of its columns are personal;
            UnavailableError if the source does not answer.
    """
    topics = {name: known for known, name in config.topics.items()}
    for name in entities:
        if name not in topics:
            raise UserError(f"entity {name!r}: expected one that has a topic: {', '.join(topics)}")
    if topic is not None and len(entities) != 1:
        raise UserError(f"--topic is for one entity, found {', '.join(entities)}")
    hider, skipped = Hider(secrets.token_bytes(_SALT_BYTES)), 0
    described = {name: _Entity(config, name, hider) for name in entities}
    for name, entity in described.items():
        if not (unmasked or entity.is_described):
            raise UserError(
                f"entity {name!r}: found no contract, no model of a transform that reads it and no mask, so "
                "nothing tells which columns hold personal data; expected one of these, or --unmasked to "
                "record all columns as they are"
            )
    found = []
    for place, (name, entity) in enumerate(described.items()):
        for time_ms, number, key, value in _messages(config, topic or topics[name], count, newest=newest):
            event = entity.event(key, value)
            if event is None:
                skipped += 1
            else:
                found.append((time_ms, place, number, name, event))
    ordered = [(name, event) for *_, name, event in sorted(found, key=lambda each: each[:3])]
    places = {name: (topics[name], tuple(config.entities[name].key)) for name in entities}
    return Recorded(
        fixture_lines(ordered, places),
        len(ordered),
        skipped,
        {name: entity.hidden for name, entity in described.items()},
        {name: entity.dropped for name, entity in described.items()},
    )


class _Entity:
    """Hide what is personal in the events of one entity, and note the columns that it saw."""

    def __init__(self, config: ClientConfig, name: str, hider: Hider) -> None:
        self._known = known_columns(config, name)
        self._key = tuple(config.entities[name].key)
        self._hider = hider
        self._seen: set[str] = set()

    @property
    def is_described(self) -> bool:
        """Tell whether anybody described a column."""
        return bool(self._known)

    @property
    def hidden(self) -> list[str]:
        """Return the columns that hold stand-ins."""
        return sorted(name for name, (_, pii) in self._known.items() if pii and name in self._seen)

    @property
    def dropped(self) -> list[str]:
        """Return the columns that are left out."""
        return sorted(self._seen - set(self._known)) if self._known else []

    def event(self, key: bytes | None, value: bytes) -> bytes | None:
        """Return an envelope without personal data; None for what is no change of a row."""
        try:
            envelope = _opened(value)
            if envelope["op"] not in ("r", "c", "u", "d"):
                return None
            before, after = envelope.get("before"), envelope.get("after")
            if before is None and after is None:
                keys = _opened(key or b"{}")
                before = {column: keys[column] for column in self._key}
            if not isinstance(before, dict | None) or not isinstance(after, dict | None):
                return None
            encoded = _encode(
                {
                    "op": envelope["op"],
                    "before": self._hider.row(before, self._known),
                    "after": self._hider.row(after, self._known),
                    "source": {
                        name: each for name, each in envelope["source"].items() if name not in _LEFT_OUT
                    },
                }
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            return None
        # Names of columns are shown, so only those of rows that could be read.
        self._seen.update(before or (), after or ())
        return encoded


def _opened(text: bytes) -> dict[str, Any]:
    found = _decode(text)
    payload = found.get("payload")
    return payload if isinstance(payload, dict) and "schema" in found else found


def _messages(
    config: ClientConfig, topic: str, count: int, *, newest: bool
) -> Iterable[tuple[int, int, bytes | None, bytes]]:
    """Return time, number, key and value of messages, in the order of their time."""
    if config.source.files is not None:
        lines = _lines(config, topic)
        return list(lines)[-count:] if newest else list(islice(lines, count))
    return _polled(config, topic, count, newest=newest)


def _lines(config: ClientConfig, topic: str) -> Iterator[tuple[int, int, bytes | None, bytes]]:
    assert config.source.files is not None  # the caller looked
    number = 0
    for path in config.source.files.expand():
        for line in read_lines(path):
            try:
                matches = bool(line) and DebeziumJsonCodec.topic_of(line) == topic
            except RecordError:
                continue
            if matches:
                number += 1
                yield 0, number, None, line


def _polled(
    config: ClientConfig, topic: str, count: int, *, newest: bool
) -> list[tuple[int, int, bytes | None, bytes]]:
    from tillstream.io.sources.kafka import KafkaReader

    reader = KafkaReader(config.kafka, config.client, f"{config.group_id}-record")
    try:
        partitions = reader.topics().get(topic)
        if partitions is None:
            raise UnavailableError(
                f"topic {topic}: found none at {config.kafka.bootstrap_servers}, expected one to record from"
            )
        found: list[tuple[int, int, bytes | None, bytes]] = []
        for partition in range(partitions):
            end = reader.end_offset((topic, partition))
            offset = reader.offset_for((topic, partition), None) or 0
            if newest:
                offset = max(offset, end - count)
            found += _partition(reader, (topic, partition), offset, end, count)
        found.sort(key=lambda each: each[:2])
        return found[-count:] if newest else found[:count]
    finally:
        reader.close()


def _partition(
    reader: Any, partition: tuple[str, int], offset: int, end: int, count: int
) -> list[tuple[int, int, bytes | None, bytes]]:
    found: list[tuple[int, int, bytes | None, bytes]] = []
    empty = 0
    while offset < end and len(found) < count:
        messages = reader.take(partition, offset, _WAIT_S, count - len(found))
        read_up_to = reader.read_up_to(partition)
        empty = 0 if messages else empty + 1
        if not messages and (read_up_to >= end or empty > _EMPTY_POLLS_MAX):
            break
        for message in messages:
            offset = message.offset() + 1
            # Tombstones carry no change.
            if message.value() is not None:
                found.append((message.timestamp()[1], message.offset(), message.key(), message.value()))
    return found
