"""Write change events as Debezium's JSON lines, and read them back: the form of fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.io.sources.files import read_lines
from tillstream.pipelines.errors import RecordError, UserError
from tillstream.pipelines.records import ChangeEvent, ChangeRecord, Operation
from tillstream.transforms.testing.events import place

__all__ = [
    "FIXTURE_VERSION",
    "envelope",
    "fixture_lines",
    "load_fixture",
    "record_of",
    "save_fixture",
]

FIXTURE_VERSION = 1
_HEADER = "tillstream_fixture"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def envelope(event: ChangeEvent, topic: str) -> bytes:
    """Return a placed event as Debezium would write it, in one line.

    Args:
        event: whose position has Postgres's form.
        topic: `name.schema.table`.
    """
    name, schema, table = topic.split(".", 2)
    lsn = int(event.position[-1]) if event.position else event.offset + 1
    source: dict[str, Any] = {
        "connector": "postgresql",
        "name": name,
        "ts_ms": event.source_time_us // 1000,
        "ts_us": event.source_time_us,
        "schema": schema,
        "table": table,
        "lsn": lsn,
        "sequence": _encode([str(lsn), str(lsn)]).decode(),
        "snapshot": "true" if event.operation is Operation.SNAPSHOT else "false",
    }
    return _encode(
        {"op": event.operation.value, "before": event.before, "after": event.after, "source": source}
    )


def record_of(event: ChangeEvent, topic: str, codec: DebeziumJsonCodec) -> tuple[int, ChangeRecord]:
    """Return the shard and the record of an event, by the codec that reads topics.

    Raises:
        UserError: if the codec refuses it.
    """
    try:
        shard, record = codec.decode(_encode(event.key), envelope(event, topic), event.offset)
    except RecordError as error:
        raise UserError(f"event of {event.entity!r}, offset {event.offset}: {error.detail}") from error
    return shard, msgspec.structs.replace(
        record, position=event.position, source_time_us=event.source_time_us
    )


def fixture_lines(
    messages: Iterable[tuple[str, bytes]], entities: Mapping[str, tuple[str, tuple[str, ...]]]
) -> bytes:
    """Return a fixture's text: a header, then one message a line.

    Args:
        messages: the entity and the envelope of each, in order.
        entities: topic and key columns of each entity.
    """
    known = {name: {"topic": topic, "key": list(key)} for name, (topic, key) in entities.items()}
    lines = [_encode({_HEADER: FIXTURE_VERSION, "entities": known})]
    for entity, value in messages:
        lines.append(_encode({"entity": entity, "value": msgspec.Raw(value)}))
    return b"\n".join(lines) + b"\n"


def save_fixture(path: str | Path, events: Iterable[ChangeEvent]) -> None:
    """Write events as a fixture, which `load_fixture` reads."""
    placed = place(events)
    entities = {event.entity: (event.topic, tuple(event.key)) for event in placed}
    messages = [(event.entity, envelope(event, event.topic)) for event in placed]
    Path(path).write_bytes(fixture_lines(messages, entities))


def load_fixture(path: str | Path) -> list[ChangeEvent]:
    """Return the events of a fixture, in order.

    Its first line is `{"tillstream_fixture":1,"entities":{name:{"topic":...,"key":[...]}}}`, each further one
    `{"entity":name,"value":envelope}` with Debezium's JSON envelope, as `tillstream transforms record` writes
    them; `.gz` and `.zst` files are read too.

    Raises:
        UserError: naming file and line, where it is no such file.
    """
    path = Path(path)
    try:
        lines = [line for line in read_lines(path) if line]
    except RecordError as error:
        raise UserError(f"fixture {path}: {error.detail}") from error
    entities = _entities(path, lines[0] if lines else b"")
    codecs = {name: DebeziumJsonCodec(name, key, 1) for name, (_, key) in entities.items()}
    events = []
    for number, line in enumerate(lines[1:], 2):
        found = _object(path, number, line)
        entity, value = found.get("entity"), found.get("value")
        if entity not in entities or not isinstance(value, dict):
            raise UserError(
                f"fixture {path}, line {number}: found {line[:80]!r}, expected an envelope under 'value', "
                f"and under 'entity' one of {', '.join(entities)}"
            )
        events.append(_event(path, number, (entity, *entities[entity]), value, codecs[entity].decode))
    return events


def _entities(path: Path, header: bytes) -> dict[str, tuple[str, tuple[str, ...]]]:
    found = _object(path, 1, header) if header else {}
    if found.get(_HEADER) != FIXTURE_VERSION:
        raise UserError(
            f"fixture {path}, line 1: found {header[:80]!r}, expected a header of version {FIXTURE_VERSION}: "
            '{"tillstream_fixture":1,"entities":{...}}; `tillstream transforms record` writes one'
        )
    try:
        return {name: (each["topic"], tuple(each["key"])) for name, each in found["entities"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"fixture {path}, line 1: found no topic and key of each entity") from error


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(f"fixture {path}, line {number}: found {error}, expected a JSON object") from error


def _event(
    path: Path,
    number: int,
    entity: tuple[str, str, tuple[str, ...]],
    value: dict[str, Any],
    decode: Callable[[bytes | None, bytes, int], tuple[int, ChangeRecord]],
) -> ChangeEvent:
    name, topic, key = entity
    try:
        _, record = decode(None, _encode(value), number - 2)
    except RecordError as error:
        raise UserError(f"fixture {path}, line {number}: {error.detail}") from error
    payload = value.get("payload", value)
    return ChangeEvent(
        "test",
        name,
        record.operation,
        dict(zip(key, record.key, strict=True)),
        payload.get("before"),
        payload.get("after"),
        record.position,
        record.source_time_us,
        topic,
        0,
        record.offset,
    )
