"""Decode Debezium's envelope in Avro that names its schema by an id in a registry.

A message begins with a zero byte and the schema's id, four bytes; the Avro body follows. Each is read as it
was written, by its own schema, so schemas may change within a topic.

Source: Confluent documentation, "Wire format" of "Formats, Serializers, and Deserializers"; Debezium
documentation, "Avro serialization".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from tillstream.configs import Column
from tillstream.configs.events import Events
from tillstream.io.codecs.avro import EnvelopeCodec
from tillstream.io.codecs.avro_schema import parse_schema
from tillstream.io.codecs.base import DEFAULT_EVENTS
from tillstream.io.codecs.schema_registry import HEAD_SIZE, RegistryClient

if TYPE_CHECKING:
    from tillstream.io.codecs.avro_envelope import EnvelopePlan, KeyPlan
    from tillstream.io.codecs.avro_schema import Node

__all__ = ["DebeziumAvroCodec"]


class DebeziumAvroCodec(EnvelopeCodec):
    """Turn one entity's messages into change records, and tell their shard.

    Args:
        entity: as of `Codec`.
        key_columns: as of `Codec`.
        shards: as of `Codec`.
        columns: as of `Codec`.
        events: as of `Codec`; name the registry.
    """

    head_size: ClassVar[int] = HEAD_SIZE

    def __init__(
        self,
        entity: str,
        key_columns: tuple[str, ...],
        shards: int,
        columns: Sequence[Column] = (),
        events: Events = DEFAULT_EVENTS,
    ) -> None:
        super().__init__(entity, key_columns, shards, columns, events)
        assert events.schema_registry is not None  # the config's checks
        self._model = events.schema_registry
        self._client = ""

    def bind(self, client: str) -> None:
        """Say whose secret the registry's password is, as `Codec.bind` does."""
        self._client = client

    def envelope(self, head: bytes) -> EnvelopePlan:
        """Return what reads messages of the schema with this id."""
        return self.envelope_of(self._schema(head))

    def key(self, head: bytes) -> KeyPlan:
        """Return what reads keys of the schema with this id."""
        return self.key_of(self._schema(head))

    def _schema(self, head: bytes) -> Callable[[], Node]:
        found = RegistryClient.shared(self._model, self._client).named_by(head)
        return lambda: parse_schema(found.text, found.references)
