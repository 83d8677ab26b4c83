"""Say what every codec does, and find a codec by its format.

A codec turns one message into one change record and tells its shard. Rows inside stay bytes in one spelling,
whatever the format: JSON as a connector writes it with `decimal.handling.mode` string, `time.precision.mode`
isostring, `binary.handling.mode` base64. What stands behind reads that spelling only.
"""

from __future__ import annotations

import importlib
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, TypeAlias

import msgspec

from tillstream.configs import ClientConfig, Column
from tillstream.configs.events import Events
from tillstream.pipelines.decimals import KeySpelling
from tillstream.pipelines.errors import ConfigError, RecordError
from tillstream.pipelines.records import ChangeRecord, Operation, Position, RowSchema

__all__ = [
    "DEFAULT_EVENTS",
    "EVERY_SHARD",
    "Codec",
    "Headers",
    "codec_class",
    "codec_for",
    "topic_of",
    "truncate_of",
]

Headers: TypeAlias = Sequence[tuple[str, bytes | None]] | None

# In place of a shard: the change concerns all of them, as a truncate does.
EVERY_SHARD = -1
DEFAULT_EVENTS = Events()
_INT_MAX = (1 << 63) - 1
_encode = msgspec.json.Encoder().encode


class Codec(ABC):
    """Turn one entity's messages into change records, and tell their shard.

    Args:
        entity: the entity's name; part of the shard's hash, so that entities spread apart.
        key_columns: names of the key's columns, in the config's order.
        shards: how many shards the client has.
        columns: of the entity's contract, which tell how decimals of the key are spelt.
        events: how the client's events are written.

    Attributes:
        schema: columns and types of the row that was decoded last, where its message declares them; the same
            object for as long as they stay the same.
        reads_headers: whether `decode` wants the message's headers.
        reads_tombstones: whether tombstones are changes too, for `tombstone`.
        matches_key: whether messages' keys must have the entity's columns; else those are looked for in rows.
    """

    reads_headers: ClassVar[bool] = False
    reads_tombstones: bool = False
    matches_key: bool = True

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        self.schema: RowSchema = ()
        self.events = events
        self._key_columns = key_columns
        self._shards = shards
        self._seed = zlib.crc32(entity.encode())
        self._spelling = KeySpelling(columns, key_columns)

    @abstractmethod
    def decode(
        self, key: bytes | None, value: bytes, offset: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return the shard and the record of one message.

        Args:
            key: the message's key as it was read, or None.
            value: the message's value as it was read; tombstones have none and do not come here.
            offset: place in the topic-partition.
            headers: of the message, where the codec wants them.

        Returns:
            The shard, or EVERY_SHARD, and the record.

        Raises:
            RecordError: with a reason and a sentence; nothing else, whatever the bytes.
        """

    def read_transactions(self) -> None:
        """Have each record tell its transaction from now on.

        Raises:
            ConfigError: if messages of this format do not tell it.
        """
        raise ConfigError(f"{type(self).__name__}: expected a format whose events tell their transaction")

    @classmethod
    @abstractmethod
    def topic_of(cls, value: bytes) -> str:
        """Return the topic that Debezium would write a message to, for those that come from files.

        Raises:
            RecordError: `malformed`, where it cannot be told.
        """

    def tombstone(
        self, key: bytes | None, offset: int, time_us: int, headers: Headers = None
    ) -> tuple[int, ChangeRecord]:
        """Return what `decode` does, of a message without a value; where `reads_tombstones` says so.

        Args:
            key: the message's key as it was read.
            offset: place in the topic-partition.
            time_us: of the message, microseconds since 1970 UTC.
            headers: of the message.

        Raises:
            RecordError: as `decode` does.
        """
        raise NotImplementedError

    def bind(self, client: str) -> None:  # noqa: B027  (most codecs need neither)
        """Say whose secrets the codec may use, after all else is set; read what stands in files.

        Raises:
            ConfigError: where something in a file is wrong.
        """

    def accept_other_keys(self) -> None:
        """Let messages have keys of other columns than the entity's; before the first one is decoded."""
        self.matches_key = False

    def check_key(self, found: Iterable[str]) -> None:
        """Check which columns a message's key has; none where it is no row.

        A key of more columns than the entity's tells rows apart that would become one; one of fewer, or of
        others, would leave the row of before in place when what it lacks changes.

        Raises:
            RecordError: `key_changed`, where they are not the entity's.
        """
        names = list(found)
        if not self.matches_key or not names or set(names) == set(self._key_columns):
            return
        raise RecordError(
            "key_changed",
            f"found a message's key of ({', '.join(map(str, names)):.200}), expected the entity's key "
            f"({', '.join(self._key_columns)}): the source's table is keyed otherwise than the config says; "
            "change the entity's key and rebuild its rows, or say message_key: ignore where that is meant",
        )

    def shard_of(self, key: tuple[Any, ...]) -> int:
        """Return the shard of a change with this key, spelt as `decode` spells it."""
        return zlib.crc32(_encode(key), self._seed) % self._shards

    def scalar_key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return a key's values once they are known to be there, and scalars.

        Raises:
            RecordError: `missing_key`, `malformed`.
        """
        columns = self._key_columns
        for column, value in zip(columns, values, strict=True):
            if value is None:
                raise RecordError(
                    "missing_key",
                    f"found no {column} in the message's key nor in its row, "
                    f"expected the entity's key ({', '.join(columns)})",
                )
            if not isinstance(value, str) and not (isinstance(value, float | int) and abs(value) <= _INT_MAX):
                raise RecordError(
                    "malformed", f"found {value!r:.100} as key column {column}, expected a scalar"
                )
        return tuple(values)


def truncate_of(
    offset: int, position: Position, source_time_us: int, transaction: tuple[str, int] | None = None
) -> tuple[int, ChangeRecord]:
    """Return what `Codec.decode` returns of a truncate: it has no row, and concerns every shard.

    Source: Debezium documentation, "Data change events", "truncate events".

    Args:
        offset: place in the topic-partition.
        position: place in the source's own order.
        source_time_us: commit time in the source, microseconds since 1970 UTC.
        transaction: as of `ChangeRecord`.
    """
    record = ChangeRecord(offset, Operation.TRUNCATE, (), position, source_time_us, None, None, transaction)
    return EVERY_SHARD, record


# Imported where a client uses them: each may need a package of its own.
_CODECS: dict[str, str] = {
    "avro": "tillstream.io.codecs.avro:AvroCodec",
    "cloudevents": "tillstream.io.codecs.cloudevents:CloudEventsCodec",
    "debezium_avro": "tillstream.io.codecs.debezium_avro:DebeziumAvroCodec",
    "debezium_json": "tillstream.io.codecs.debezium_json:DebeziumJsonCodec",
    "flattened": "tillstream.io.codecs.flattened:FlattenedCodec",
}


def codec_class(kind: str) -> type[Codec]:
    """Return the class of a format's codec."""
    module, name = _CODECS[kind].split(":")
    found: type[Codec] = getattr(importlib.import_module(module), name)
    return found


def codec_for(config: ClientConfig, entity: str) -> Codec:
    """Return the codec of one of a client's entities that has a topic."""
    described = config.entities[entity]
    codec = codec_class(config.source.events.format)(
        entity,
        # Rows of tables without a key get one behind the codec.
        () if described.keyless is not None else tuple(described.key),
        config.flink.shards,
        described.columns(),
        config.source.events,
    )
    if described.message_key == "ignore" or described.keyless is not None:
        codec.accept_other_keys()
    # Equal rows without a key are told apart by their number in the transaction.
    if config.delivery.atomicity == "transaction" or described.keyless is not None:
        codec.read_transactions()
    codec.bind(config.client)
    return codec


def topic_of(config: ClientConfig, value: bytes) -> str:
    """Return the topic that Debezium would write a message to; raises as `Codec.topic_of` does."""
    return codec_class(config.source.events.format).topic_of(value)
