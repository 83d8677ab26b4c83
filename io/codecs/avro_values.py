"""Read whole messages as JSON, whatever their schema: those that are no change of a row.

Source: Confluent documentation, "Wire format".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tillstream.configs import ClientConfig, SchemaRegistry
from tillstream.io.codecs.avro_numbers import UNREADABLE
from tillstream.io.codecs.avro_reader import CodeWriter
from tillstream.io.codecs.avro_schema import SchemaError, parse_schema
from tillstream.io.codecs.schema_registry import HEAD_SIZE, RegistryClient
from tillstream.pipelines.errors import RecordError

__all__ = ["AvroValues", "json_of"]

_READERS_MAX = 1000
_encode = msgspec.json.Encoder().encode


def json_of(config: ClientConfig) -> Callable[[bytes], bytes]:
    """Return what gives the JSON of a message that is no change of a row, as a client's are written."""
    events = config.source.events
    if events.format != "debezium_avro" or events.schema_registry is None:
        return bytes
    return AvroValues(events.schema_registry, config.client).json


class AvroValues:
    """Turn messages in Avro into JSON; bytes become base64.

    Args:
        model: the registry of their schemas.
        client: whose secrets it needs.
    """

    def __init__(self, model: SchemaRegistry, client: str) -> None:
        self._model = model
        self._client = client
        self._readers: dict[bytes, Callable[[bytes, int], Any]] = {}

    def json(self, value: bytes) -> bytes:
        """Return a message's JSON.

        Raises:
            RecordError: `malformed`, `unknown_schema`, `unsupported_schema`.
            UnavailableError: where the schema cannot be had for now.
        """
        head = value[:HEAD_SIZE]
        read = self._readers.get(head) or self._compiled(head)
        try:
            return _encode(read(value, HEAD_SIZE))
        except UNREADABLE as error:
            raise RecordError(
                "malformed", f"found {error!r:.200}, expected a body as its schema says"
            ) from error

    def _compiled(self, head: bytes) -> Callable[[bytes, int], Any]:
        found = RegistryClient.shared(self._model, self._client).named_by(head)
        code = CodeWriter()
        try:
            read = code.function(code.read(parse_schema(found.text, found.references)))
        except SchemaError as error:
            raise RecordError("unsupported_schema", str(error)) from error
        if len(self._readers) >= _READERS_MAX:
            self._readers.clear()
        self._readers[head] = read
        return read
