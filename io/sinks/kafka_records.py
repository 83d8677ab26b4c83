"""Turn mutations into Kafka messages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from tillstream.configs import Entity
from tillstream.io.sinks.files_jsonl import METADATA, JsonLines
from tillstream.io.sinks.letters import identity_of, letter_line, refused
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = ["Message", "Messages", "letter_message"]

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_DETAIL_MAX = 500
# What a record batch of one message adds to key and value, with some to spare.
_FRAME_BYTES = 200


class Message(NamedTuple):
    """Hold one message.

    Attributes:
        topic: where it goes.
        key: JSON of the key's columns.
        value: JSON of METADATA and columns; None for a delete.
        headers: METADATA of a delete, which has no value to carry it.
        everywhere: whether each partition gets it, instead of that of its key.
    """

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]] | None
    everywhere: bool = False


class Messages:
    """Encode the mutations of a sink's entities.

    Args:
        sink: its name, for dead letters.
        prefix: of the topics.
        entities: those whose rows it takes, by name.
    """

    def __init__(self, sink: str, prefix: str, entities: Mapping[str, Entity]) -> None:
        self._sink = sink
        self._topics = {name: f"{prefix}.{name}" for name in entities}
        self._lines = {name: JsonLines(entity) for name, entity in entities.items()}

    @property
    def topics(self) -> list[str]:
        """Return the topics of all entities."""
        return list(self._topics.values())

    def encode(
        self, batches: Sequence[MutationBatch], limits: Mapping[str, int]
    ) -> tuple[list[Message], list[DeadLetter]]:
        """Return the messages in order, and the mutations that no message can carry.

        Args:
            batches: what to encode.
            limits: most bytes of a message, by topic.
        """
        messages: list[Message] = []
        letters: list[DeadLetter] = []
        for batch in batches:
            limit = limits[self._topics[batch.entity]] - _FRAME_BYTES
            for record, message in self._of(batch, letters):
                size = len(message.key) + len(message.value or b"")
                if size <= limit:
                    messages.append(message)
                else:
                    said = f"found {size} bytes, expected at most {limit}: max.message.bytes of its topic"
                    letters.append(refused(self._sink, batch, record, said))
        return messages, letters

    def _of(
        self, batch: MutationBatch, letters: list[DeadLetter]
    ) -> Iterator[tuple[MutationRecord, Message]]:
        try:
            yield from self._fast(batch)
        except (ValueError, TypeError):
            # Nothing was handed out yet: all are encoded before the first is.
            for record in batch.records:
                one = msgspec.structs.replace(batch, records=(record,))
                try:
                    yield from self._fast(one)
                except (ValueError, TypeError) as error:
                    letters.append(refused(self._sink, batch, record, str(error)))

    def _fast(self, batch: MutationBatch) -> list[tuple[MutationRecord, Message]]:
        topic = self._topics[batch.entity]
        if batch.truncates:
            value = self._lines[batch.entity].encode([batch]).rstrip(b"\n")
            # A compacted topic takes no message without a key, and keeps the last of these in each partition.
            return [(batch.records[0], Message(topic, b"{}", value, None, everywhere=True))]
        make_key = _key_type(batch.key_columns)
        # JSON escapes line ends inside texts, so that each line is one mutation.
        keys = _encode_lines([make_key(*record.key) for record in batch.records]).split(b"\n")
        values = self._lines[batch.entity].encode([batch]).split(b"\n")
        return [
            (record, Message(topic, key, value, None))
            if record.values is not None
            else (record, Message(topic, key, None, _headers(batch, record)))
            for record, key, value in zip(batch.records, keys, values, strict=False)
        ]


def letter_message(topic: str, letter: DeadLetter, limit: int) -> Message:
    """Return the message of a dead letter; one that would be too large leaves out what makes it so.

    Args:
        topic: where dead letters go.
        letter: to keep.
        limit: most bytes of a message.
    """
    key = _encode(identity_of(letter))
    value = _encode(letter_line(letter))
    if len(key) + len(value) > limit - _FRAME_BYTES:
        said = (
            f"{letter.detail[:_DETAIL_MAX]} (left out here, too large for {topic}: key, payload, traceback)"
        )
        short = msgspec.structs.replace(letter, detail=said, key=None, payload=None, traceback=None)
        value = _encode(letter_line(short))
    return Message(topic, key, value, None)


def _headers(batch: MutationBatch, record: MutationRecord) -> list[tuple[str, bytes]]:
    place = (batch.topic, batch.partition, record.offset, record.index)
    values = ("delete", record.source_time_us, *place)
    return [(name, str(value).encode()) for name, value in zip(METADATA, values, strict=True)]


@lru_cache(maxsize=1024)
def _key_type(columns: tuple[str, ...]) -> type[msgspec.Struct]:
    fields = [(f"f{place}", Any) for place in range(len(columns))]
    renames = {field: name for (field, _), name in zip(fields, columns, strict=True)}
    return msgspec.defstruct("Key", fields, rename=renames, gc=False)
