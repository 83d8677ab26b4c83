"""Write the events of benchmarks.load in Avro, as AvroConverter does, and read them without a registry."""

from __future__ import annotations

import io
import json
from typing import Any

from fastavro import parse_schema, schemaless_writer

from tillstream.io.codecs.avro import EnvelopeCodec
from tillstream.io.codecs.avro_envelope import EnvelopePlan, KeyPlan
from tillstream.io.codecs.avro_schema import parse_schema as node_of

__all__ = ["AvroBench", "in_avro"]

_HEADS = {False: b"\0\0\0\0\1", True: b"\0\0\0\0\2"}
_KEY_HEAD = b"\0\0\0\0\3"
_LONG, _TEXT = ["null", "long"], ["null", "string"]
_DECIMAL = {
    "type": "bytes",
    "connect.name": "org.apache.kafka.connect.data.Decimal",
    "connect.parameters": {"scale": "2", "connect.decimal.precision": "12"},
}
_SOURCE = {
    "connector": "string",
    "name": "string",
    "ts_ms": "long",
    "snapshot": _TEXT,
    "db": "string",
    "sequence": _TEXT,
    "schema": "string",
    "table": "string",
    "txId": _LONG,
    "lsn": _LONG,
}


def _record(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": key, "type": each} for key, each in fields.items()],
    }


def _envelope(*, is_precise: bool) -> dict[str, Any]:
    row = _record(
        "Value",
        {
            "order_id": "long",
            "customer_id": _LONG,
            "status": _TEXT,
            "total": ["null", _DECIMAL] if is_precise else _TEXT,
            "version": _LONG,
        },
    )
    fields = {"before": ["null", row], "after": ["null", "Value"], "source": _record("Source", _SOURCE)}
    block = _record("block", {"id": "string", "total_order": "long", "data_collection_order": "long"})
    return _record("Envelope", {**fields, "transaction": ["null", block], "op": "string", "ts_ms": _LONG})


_SCHEMAS = {is_precise: _envelope(is_precise=is_precise) for is_precise in (False, True)}
_WRITTEN = {is_precise: parse_schema(schema) for is_precise, schema in _SCHEMAS.items()}
_KEY = _record("Key", {"order_id": "long"})
_WRITTEN_KEY = parse_schema(_KEY)


class AvroBench(EnvelopeCodec):
    """Read messages whose schema is known, as DebeziumAvroCodec does once it has asked for it."""

    head_size = 5

    def envelope(self, head: bytes) -> EnvelopePlan:
        """Return what reads messages."""
        return self.envelope_of(lambda: node_of(json.dumps(_SCHEMAS[head == _HEADS[True]])))

    def key(self, head: bytes) -> KeyPlan:  # noqa: ARG002
        """Return what reads keys."""
        return self.key_of(lambda: node_of(json.dumps(_KEY)))


def in_avro(key: bytes, value: bytes, *, is_precise: bool) -> tuple[bytes, bytes]:
    """Return a message in Avro, given it in JSON."""
    found = json.loads(value)
    if is_precise:
        found["after"]["total"] = round(float(found["after"]["total"]) * 100).to_bytes(5, "big")
    return (
        _KEY_HEAD + _body(_WRITTEN_KEY, json.loads(key)),
        _HEADS[is_precise] + _body(_WRITTEN[is_precise], found),
    )


def _body(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    schemaless_writer(out, schema, value)
    return out.getvalue()
