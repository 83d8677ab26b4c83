"""Schemas and messages of Debezium's envelope in Avro, for tests."""

from __future__ import annotations

from typing import Any

from tests.corpus.conformance.connect_avro import body

__all__ = ["ID", "PLAIN", "SOURCE", "dict_of", "envelope", "event", "message"]


def envelope(row: list[dict[str, Any]], source: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Return the schema of an envelope, given fields of its rows and of its source."""
    postgres = [
        {"name": "connector", "type": "string"},
        {"name": "ts_ms", "type": "long"},
        {"name": "snapshot", "type": ["null", "string"]},
        {"name": "sequence", "type": ["null", "string"]},
        {"name": "ts_us", "type": ["null", "long"]},
        {"name": "lsn", "type": ["null", "long"]},
    ]
    of_source = {"type": "record", "name": "Source", "fields": postgres if source is None else source}
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": "acme.public.orders",
        "fields": [
            {"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": row}]},
            {"name": "after", "type": ["null", "Value"]},
            {"name": "source", "type": of_source},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"]},
        ],
    }


ID = {"name": "id", "type": "long"}
SOURCE = {
    "connector": "postgresql",
    "ts_ms": 5,
    "snapshot": "false",
    "sequence": '["1","2"]',
    "ts_us": 5001,
    "lsn": 2,
}
PLAIN = envelope([ID])


def dict_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the types of a record's fields by name."""
    return {each["name"]: each["type"] for each in schema["fields"]}


def event(**changes: Any) -> dict[str, Any]:
    """Return an event of the schema PLAIN."""
    return {"before": None, "after": {"id": 42}, "source": SOURCE, "op": "c", "ts_ms": 6, **changes}


def message(number: int, schema: Any, value: Any) -> bytes:
    """Return a message with its schema's id."""
    return b"\0" + number.to_bytes(4, "big") + body(schema, value)
