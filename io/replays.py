"""Carry what became a dead letter back to the job, through a topic of its own.

A message of that topic is a JSON object of one line, so that people can read it with any tool. It names the
letter, what is to be done about it, and brings the event as it was read at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import EVERY_SHARD, Codec
from tillstream.io.keyless import KeylessReader
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, Operation, Position, Replay

__all__ = ["ReplayMessage", "ReplayReader"]

_VERSION = 1


class ReplayMessage(msgspec.Struct, frozen=True):
    """Be one message of the replay topic.

    Attributes:
        letter: identity of the dead letter.
        action: replay or discard.
        topic: where the event was read at first.
        partition: of that topic.
        offset: in that partition.
        step: that refused it.
        entity: of the letter; None where it could not be told.
        index: of the mutation that was refused.
        sink: that refused it, or None.
        transform: name and version to apply; empty for the job's own.
        attempt: when a person asked for it, microseconds since 1970 UTC.
        seen: the letter's `attempt` at that time.
        key: the message's key as it was read at first.
        value: the message's value as it was read at first; None where its topic no longer holds it.
        payload: the change as the letter keeps it, in place of a value.
        position: of that change.
        source_time_us: of that change, microseconds since 1970 UTC.
        version: of this form; a field may be appended without raising it.
        headers: the message's headers as they were read at first.
    """

    letter: str
    action: str
    topic: str
    partition: int
    offset: int
    step: str
    entity: str | None = None
    index: int = 0
    sink: str | None = None
    transform: str = ""
    attempt: int = 0
    seen: int = 0
    key: bytes | None = None
    value: bytes | None = None
    payload: bytes | None = None
    position: Position = ()
    source_time_us: int = 0
    version: int = _VERSION
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def encode(self) -> bytes:
        """Return the message as JSON; bytes are base64."""
        return _encode(self)


class _Change(msgspec.Struct):
    op: str
    before: msgspec.Raw = msgspec.Raw(b"null")
    after: msgspec.Raw = msgspec.Raw(b"null")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ReplayMessage).decode
_decode_change = msgspec.json.Decoder(_Change).decode
_decode_key = msgspec.json.Decoder(dict[str, Any]).decode


class ReplayReader:
    """Turn messages of the replay topic into change batches of one change.

    Args:
        config: the client's.
        codecs: of each entity that has a topic.
        keyless: give keys to changes of those that have none.
    """

    def __init__(
        self,
        config: ClientConfig,
        codecs: Mapping[str, Codec],
        keyless: Mapping[str, KeylessReader] | None = None,
    ) -> None:
        self._config = config
        self._keyless = keyless or {}
        self._codecs = codecs

    def read(self, place: tuple[str, int, int], value: bytes) -> ChangeBatch | DeadLetter:
        """Return the change that came back, or a dead letter where it still cannot be read.

        Args:
            place: topic, partition and offset of the message.
            value: the message.
        """
        try:
            message = _decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return self._letter(place, value, f"found {error}, expected a replay")
        if message.version != _VERSION:
            return self._letter(
                place, value, f"found a replay of version {message.version}, expected {_VERSION}"
            )
        try:
            return self._batch(place, message)
        except RecordError as error:
            return DeadLetter(
                client=self._config.client,
                entity=message.entity,
                step="read",
                reason=error.reason,
                detail=error.detail,
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                key=message.key,
                payload=message.value,
                attempt=message.attempt,
            )

    def _batch(self, place: tuple[str, int, int], message: ReplayMessage) -> ChangeBatch:
        entity = self._config.topics.get(message.topic)
        if entity is None:
            raise RecordError(
                "unknown_topic", f"found topic {message.topic}, expected one that an entity names"
            )
        if message.value is not None:
            codec = self._codecs[entity]
            shard, record = codec.decode(message.key, message.value, message.offset, message.headers)
            schema = codec.schema
        else:
            shard, record = self._saved(entity, message)
            schema = ()
        if shard == EVERY_SHARD:
            raise RecordError(
                "unsupported_operation",
                f"found a {record.operation.name.lower()} event, expected a change of a row: it concerns all "
                "of them, and newer ones are known by now; change the rows in the source, then discard the "
                "letter",
            )
        if entity in self._keyless:
            shard, record = self._keyless[entity].again(message.topic, message.partition, record)
        replay = Replay(
            message.letter,
            message.action,
            message.entity or "",
            message.step,
            message.index,
            message.sink or "",
            message.transform,
            message.attempt,
            message.seen,
            *place,
        )
        columns = tuple(self._config.entities[entity].key)
        return ChangeBatch(
            self._config.client,
            entity,
            shard,
            message.topic,
            message.partition,
            columns,
            (record,),
            replay,
            schema,
        )

    def _saved(self, entity: str, message: ReplayMessage) -> tuple[int, ChangeRecord]:
        try:
            change = _decode_change(message.payload or b"")
            found = _decode_key(message.key or b"")
            key = tuple(found[column] for column in self._config.entities[entity].key)
            operation = Operation(change.op)
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, ValueError) as error:
            raise RecordError("malformed", f"found {error}, expected the change of a dead letter") from error
        before, after = bytes(change.before), bytes(change.after)
        return self._codecs[entity].shard_of(key), ChangeRecord(
            message.offset,
            operation,
            key,
            message.position,
            message.source_time_us,
            None if before == b"null" else before,
            None if after == b"null" else after,
        )

    def _letter(self, place: tuple[str, int, int], value: bytes, detail: str) -> DeadLetter:
        return DeadLetter(
            client=self._config.client,
            entity=None,
            step="read",
            reason="malformed",
            detail=detail,
            topic=place[0],
            partition=place[1],
            offset=place[2],
            payload=value,
        )
