"""Collect decoded changes into one batch a shard, and what cannot be decoded into dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import EVERY_SHARD, Codec, codec_for, topic_of
from tillstream.io.controls import read_control
from tillstream.io.keyless import KeylessReader, keyless_readers
from tillstream.io.replays import ReplayReader
from tillstream.io.service_topics import ServiceTopics
from tillstream.io.transactions import TransactionReader
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.pipelines.isolation.budget import stop_job
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    Operation,
    RowSchema,
)
from tillstream.pipelines.sharding import shard_key
from tillstream.pipelines.transactions import GATHERED, TRANSACTIONS

__all__ = ["DEAD_LETTERS", "ChangeCollector"]

DEAD_LETTERS = "dead_letters"

_BARE_DELETE = (
    "found a delete that is a tombstone, expected the row with it, because the table has no key: set the "
    "transform's delete.tombstone.handling.mode to rewrite"
)


class _Found(NamedTuple):
    """Hold changes of one shard, in order, whose rows have one schema."""

    entity: str
    topic: str
    partition: int
    shard: int
    schema: RowSchema
    records: list[ChangeRecord]


class ChangeCollector:
    """Gather the changes of one poll, then give them out as frames.

    Args:
        config: the client's; its entities tell the codecs, keys and shards.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._client = config.client
        self._flink = config.flink
        self._entities = config.topics
        self._frozen = config.schema_evolution.tables == "freeze"
        self._keys_frozen = config.schema_evolution.keys == "freeze"
        self._codecs: dict[str, Codec] = {
            name: codec_for(config, name)
            for name, entity in config.entities.items()
            if entity.topic is not None
        }
        self._tombstones = Metrics.counter("tillstream", "events_tombstone")
        self._found: list[_Found] = []
        self._open: dict[tuple[str, str, int, int], _Found] = {}
        self._letters: list[DeadLetter] = []
        self._replay_topic = config.replay_topic
        self._keyless = keyless_readers(config, lambda name: self._codecs[name].shard_of)
        self._replay_reader = ReplayReader(config, self._codecs, self._keyless)
        self._replays: list[ChangeBatch] = []
        self._service_topics = ServiceTopics(config)
        gathers = config.delivery.atomicity == "transaction"
        self._transactions = TransactionReader(config) if gathers else None
        self._transaction_topics = self._transactions.topics if self._transactions else frozenset[str]()

    def add(self, topic: str, partition: int, messages: list[Any]) -> None:
        """Decode the messages of one poll of one topic-partition; tombstones carry no change in most formats.

        Args:
            topic: where they were read from.
            partition: of that topic.
            messages: confluent_kafka Messages in the order of their offsets.
        """
        entity = self._entities.get(topic)
        if entity is None or entity in self._keyless:
            self._add_others(topic, partition, messages)
            return
        codec = self._codecs[entity]
        decode, reads_headers = codec.decode, codec.reads_headers
        origin = (entity, topic, partition)
        shards: dict[int, list[ChangeRecord]] = {}
        schema: RowSchema = ()
        for message in messages:
            value = message.value()
            if value is None and not codec.reads_tombstones:
                self._tombstones.inc()
                continue
            try:
                headers = message.headers() if reads_headers else None
                if value is None:
                    time_us = message.timestamp()[1] * 1000
                    shard, record = codec.tombstone(message.key(), message.offset(), time_us, headers)
                else:
                    shard, record = decode(message.key(), value, message.offset(), headers)
            except RecordError as error:
                self._refuse(entity, (topic, partition, message.offset()), message.key(), value, error)
                continue
            if shard == EVERY_SHARD or codec.schema is not schema:
                self._close(origin, schema, shards)
                shards, schema = {}, codec.schema
            if shard == EVERY_SHARD:
                self._found += [_Found(*origin, each, schema, [record]) for each in range(self._flink.shards)]
                continue
            records = shards.get(shard)
            if records is None:
                shards[shard] = [record]
            else:
                records.append(record)
        self._close(origin, schema, shards)

    def add_line(self, path: str, number: int, line: bytes) -> None:
        """Decode one line of a file; its entity is told by the topic that Debezium would have used."""
        if not line:
            return
        entity = None
        try:
            topic = topic_of(self._config, line)
            entity = self._entities.get(topic)
            if entity is None:
                self._refuse(None, (path, 0, number), None, line, self._unknown(topic))
                return
            codec = self._codecs[entity]
            shard, record = codec.decode(None, line, number)
            changes = self._split(self._keyless.get(entity), (path, 0), shard, record)
        except RecordError as error:
            self._refuse(entity, (path, 0, number), None, line, error)
            return
        for change in changes:
            self._keep((entity, path, 0), *change)

    def _add_others(self, topic: str, partition: int, messages: list[Any]) -> None:
        if topic in self._entities:
            self._add_keyless(topic, partition, messages)
        elif topic == self._replay_topic:
            self._add_replays(topic, partition, messages)
        elif topic in self._transaction_topics:
            self._add_ends(topic, partition, messages)
        else:
            self._add_unknown(topic, partition, messages)

    def _add_keyless(self, topic: str, partition: int, messages: list[Any]) -> None:
        entity = self._entities[topic]
        origin = (entity, topic, partition)
        codec, keyless = self._codecs[entity], self._keyless[entity]
        for message in messages:
            key, value, offset = message.key(), message.value(), message.offset()
            if value is None:
                if codec.reads_tombstones:
                    error = RecordError("missing_row", _BARE_DELETE)
                    self._refuse(entity, (topic, partition, offset), key, value, error)
                else:
                    self._tombstones.inc()
                continue
            try:
                headers = message.headers() if codec.reads_headers else None
                shard, record = codec.decode(key, value, offset, headers)
                changes = self._split(keyless, (topic, partition), shard, record)
            except RecordError as refused:
                self._refuse(entity, (topic, partition, offset), key, value, refused)
                continue
            for change in changes:
                self._keep(origin, *change)

    def _keep(self, origin: tuple[str, str, int], shard: int, record: ChangeRecord) -> None:
        """Put a change behind the others of its shard, where their rows have its schema."""
        codec, place = self._codecs[origin[0]], (*origin, shard)
        found = self._open.get(place)
        is_alone = record.operation is Operation.TRUNCATE
        if found is None or found.schema is not codec.schema or is_alone:
            found = self._open[place] = _Found(*origin, shard, codec.schema, [])
            self._found.append(found)
        found.records.append(record)
        if is_alone:
            del self._open[place]

    def _split(
        self, keyless: KeylessReader | None, place: tuple[str, int], shard: int, record: ChangeRecord
    ) -> Sequence[tuple[int, ChangeRecord]]:
        """Return what one message is, with the shards that it concerns."""
        if shard == EVERY_SHARD:
            return [(each, record) for each in range(self._flink.shards)]
        return [(shard, record)] if keyless is None else keyless.split(*place, record)

    def refuse_file(self, path: str, line: int, error: RecordError) -> None:
        """Keep a dead letter for a file whose rest cannot be read."""
        self._refuse(None, (path, 0, line), None, None, error)

    def flush(self) -> Iterator[tuple[bytes, bytes] | TaggedOutput]:
        """Yield (shard key, ChangeBatch frame) for each shard, then the dead letters, and forget them."""
        found, self._found, self._open = self._found, [], {}
        letters, self._letters = self._letters, []
        replays, self._replays = self._replays, []
        for each in found:
            key = tuple(self._config.entities[each.entity].key)
            batch = ChangeBatch(
                self._client,
                each.entity,
                each.shard,
                each.topic,
                each.partition,
                key,
                tuple(each.records),
                schema=each.schema,
            )
            yield shard_key(each.shard, self._flink.shards, self._flink.max_parallelism), batch.encode()
        for batch in replays:
            yield shard_key(batch.shard, self._flink.shards, self._flink.max_parallelism), batch.encode()
        if self._transactions is not None:
            for share in self._transactions.flush():
                yield TaggedOutput(TRANSACTIONS, (GATHERED, share.encode()))
        if letters:
            yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(letters)).encode())

    def _close(
        self, origin: tuple[str, str, int], schema: RowSchema, shards: dict[int, list[ChangeRecord]]
    ) -> None:
        self._found += [_Found(*origin, shard, schema, records) for shard, records in shards.items()]

    def _add_ends(self, topic: str, partition: int, messages: list[Any]) -> None:
        assert self._transactions is not None  # it names the topics
        for message in messages:
            try:
                self._transactions.end(topic, partition, message.value() or b"")
            except RecordError as error:
                place = (topic, partition, message.offset())
                self._refuse(None, place, message.key(), message.value(), error)

    def _add_replays(self, topic: str, partition: int, messages: list[Any]) -> None:
        for message in messages:
            place, value = (topic, partition, message.offset()), message.value() or b""
            found = read_control(self._config, place, value) or self._replay_reader.read(place, value)
            if isinstance(found, DeadLetter):
                self._letters.append(found)
            else:
                self._replays += found if isinstance(found, list) else [found]

    def _add_unknown(self, topic: str, partition: int, messages: list[Any]) -> None:
        if self._service_topics.take(topic, messages):
            return
        unknown = self._unknown(topic)
        for message in messages:
            place = (topic, partition, message.offset())
            self._refuse(None, place, message.key(), message.value(), unknown)

    def _unknown(self, topic: str) -> RecordError:
        text = f"found topic {topic}, expected one that an entity names"
        if self._frozen:
            reason = (
                f"client {self._client!r}: {text}, and schema_evolution.tables is freeze: add an entity for "
                "it, or leave it out of source.kafka.topics, then launch the job from its last checkpoint"
            )
            stop_job(SchemaFrozenError(reason))
        return RecordError("unknown_topic", text)

    def _refuse(
        self,
        entity: str | None,
        place: tuple[str, int, int],
        key: bytes | None,
        payload: bytes | None,
        error: RecordError,
    ) -> None:
        if self._keys_frozen and error.reason == "key_changed":
            reason = f"client {self._client!r}, entity {entity!r}: {error.detail}, and schema_evolution.keys"
            stop_job(SchemaFrozenError(f"{reason} is freeze"))
        if self._transactions is not None and entity is not None and payload is not None:
            self._transactions.refuse(entity, place[0], payload)
        self._letters.append(
            DeadLetter(
                client=self._client,
                entity=entity,
                step="read",
                reason=error.reason,
                detail=error.detail,
                topic=place[0],
                partition=place[1],
                offset=place[2],
                key=key,
                payload=payload,
            )
        )
