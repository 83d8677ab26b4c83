"""Tell a running job that an entity's table is being read again, through its replay topic.

A message is a JSON object of one line. The reader gives it to every shard, in the order of the topic.

    resync  snapshot reads of the entity from `position` on are delivered, although the shard knows the row
    sweep   all rows with a lower position go: the source has shown every row that it has since

`starts` of a sweep are the ends of the entity's partitions when the snapshot was asked for. A shard that had
read further before it took note of the resync may have dropped reads as known, so it does not sweep: rows
that were not read again would be lost. That happens only to a job that is launched from an older savepoint.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.letters import Replay
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, Operation, Position

__all__ = ["CONTROLS", "ControlMessage", "read_control", "starts_of"]

_VERSION = 1
# Actions of a Replay beside those that a person asks for by a dead letter.
CONTROLS = frozenset({"resync", "sweep"})


class ControlMessage(msgspec.Struct, frozen=True):
    """Be one such message.

    Attributes:
        control: what is to be done.
        entity: whose rows are meant; it has a topic.
        id: of the resync.
        position: in the source's order, at which it began.
        source_time_us: the source's clock then, microseconds since 1970 UTC.
        starts: of a sweep, offset by partition from 0 on; of a resync, as many zeros as there are partitions.
        version: of this form; a field may be appended without raising it.
    """

    control: Literal["resync", "sweep"]
    entity: str
    id: str
    position: Position
    source_time_us: int
    starts: tuple[int, ...]
    version: int = _VERSION

    def encode(self) -> bytes:
        """Return the message as JSON."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ControlMessage).decode
_decode_starts = msgspec.json.Decoder(tuple[int, ...]).decode


def read_control(
    config: ClientConfig, place: tuple[str, int, int], value: bytes
) -> list[ChangeBatch] | DeadLetter | None:
    """Return a batch for each shard, of a truncate at the position; None where it is no such message.

    Args:
        config: the client's.
        place: topic, partition and offset of the message.
        value: the message.
    """
    if b'"control"' not in value:
        return None
    try:
        message = _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return _letter(config, place, value, f"found {error}, expected a control message")
    if message.version != _VERSION:
        found = f"found a control message of version {message.version}, expected {_VERSION}"
        return _letter(config, place, value, found)
    entity = config.entities.get(message.entity)
    if entity is None or entity.topic is None:
        return _letter(config, place, value, f"found entity {message.entity!r}, expected one with a topic")
    starts = _encode(message.starts).decode()
    replay = Replay(message.id, message.control, message.entity, "read", 0, "", starts, 0, 0, *place)
    time_us = message.source_time_us
    record = ChangeRecord(place[2], Operation.TRUNCATE, (), message.position, time_us, None, None)
    return [
        ChangeBatch(
            config.client, message.entity, shard, place[0], place[1], tuple(entity.key), (record,), replay
        )
        for shard in range(config.flink.shards)
    ]


def starts_of(replay: Replay) -> tuple[int, ...]:
    """Return the starts that came with a control message."""
    return _decode_starts(replay.transform)


def _letter(config: ClientConfig, place: tuple[str, int, int], value: bytes, detail: str) -> DeadLetter:
    return DeadLetter(
        client=config.client,
        entity=None,
        step="read",
        reason="malformed",
        detail=detail,
        topic=place[0],
        partition=place[1],
        offset=place[2],
        payload=value,
    )
