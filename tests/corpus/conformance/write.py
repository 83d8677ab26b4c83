"""Write the same changes in every format that a codec reads: one file of messages a format.

    python -m tests.corpus.conformance.write

Each file is JSON: `events`, what a config says of the format; `leaves_out`, what its messages do not tell of
a change; `messages`, each with key, value and headers, as text or, where they are bytes, as {"base64": ...}.
What all of them mean is in expected.json. To add a format: a function in FORMATS that returns such a file,
then run this.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.corpus.conformance.columns import COLUMNS, Json
from tests.corpus.conformance.connect_avro import avro_schema, avro_value, body, envelope_schema

__all__ = ["CHANGES", "FORMATS", "files"]

FOLDER = Path(__file__).parent
ENTITY, KEY = "nasty", ["id", "rate", "born"]

FULL: Json = {
    "id": 9007199254740993,
    "rate": "1.50",
    "born": "2026-02-28Z",
    "flag": True,
    "small": -32768,
    "number": 2147483647,
    "big": -9223372036854775808,
    "ratio": 1.5,
    "score": 0.1,
    "total": "-12345678901234567890123456789.000000001",
    "free": "0.000000000000000000000000000000001",
    "name": 'Zoë "quoted" \\ 𝄞\u2028\n\t€',
    "raw": "AP8QgA==",
    "bits": "/w8=",
    "alarm": "23:59:59.999999Z",
    "at": "1969-12-31T23:59:59.000001Z",
    "about": "2026-02-28T12:30:00.5Z",
    "seen": "2026-02-28T12:30:00.123456Z",
    "opens": "09:30:00Z",
    "span": "P1Y2M3DT4H5M6.789S",
    "uid": "8f14e45f-ceea-467f-a0e6-2b1f7d3c9a55",
    "doc": '{"a": [1, 2.50, null], "b": "x"}',
    "page": "<a b='c'>d</a>",
    "mood": "happy",
    "attrs": '{"color":"red","size":null}',
    "tags": ["a", None, 'b"c'],
    "counts": [1, None, -1],
    "days": ["2026-02-28Z", None],
    "place": "AQEAAAAAAAAAAADwPwAAAAAAAABA",
    "address": "192.168.0.0/24",
}
EMPTY: Json = {**dict.fromkeys(COLUMNS), **{name: FULL[name] for name in KEY}}
ODD: Json = {
    **FULL,
    "flag": False,
    "big": 9223372036854775807,
    "ratio": "NaN",
    "score": "-Infinity",
    "total": "0.000000000",
    "free": "1200",
    "name": "",
    "raw": "",
    "alarm": "00:00:00Z",
    "at": "9999-12-31T23:59:59.999999Z",
    "about": "1970-01-01T00:00:00Z",
    "attrs": "{}",
    "tags": [],
    "counts": [],
    "days": [],
}


class Change(NamedTuple):
    """Hold one change as all formats must tell it."""

    op: str
    before: Json | None
    after: Json | None
    sequence: str
    lsn: int
    snapshot: str
    time_us: int
    order: int

    @property
    def source(self) -> Json:
        """Return Debezium's source block."""
        return {
            "version": "3.3.1.Final",
            "connector": "postgresql",
            "name": "acme",
            "ts_ms": self.time_us // 1000,
            "snapshot": self.snapshot,
            "db": "shop",
            "sequence": self.sequence,
            "ts_us": self.time_us,
            "ts_ns": self.time_us * 1000,
            "schema": "public",
            "table": ENTITY,
            "txId": 700,
            "lsn": self.lsn,
            "xmin": None,
        }

    @property
    def transaction(self) -> Json | None:
        """Return the block of that name; snapshot reads have none."""
        if self.snapshot != "false":
            return None
        return {"id": f"700:{self.lsn}", "total_order": self.order, "data_collection_order": self.order}

    @property
    def key(self) -> Json:
        """Return the message's key."""
        row = self.after or self.before or {}
        return {name: row[name] for name in KEY}


_AT_US = 1_772_281_800_123_456
CHANGES = [
    Change("r", None, FULL, '[null,"9000"]', 9000, "first", _AT_US, 0),
    Change("u", EMPTY, ODD, '["9000","9100"]', 9100, "false", _AT_US + 1, 1),
    Change("u", ODD, EMPTY, '["9000","9108"]', 9108, "false", _AT_US + 1, 2),
    Change("d", EMPTY, None, '["9000","9200"]', 9200, "false", _AT_US + 2, 3),
    Change(
        "c",
        None,
        {**FULL, "rate": "-0.05", "born": "0001-01-01Z"},
        '["9200","9300"]',
        9300,
        "false",
        _AT_US,
        1,
    ),
]


def _row(row: Json | None, mode: str) -> Json | None:
    if row is None:
        return None
    forms = {name: getattr(COLUMNS[name], mode) for name in row}
    return {name: None if value is None else forms[name].write(value) for name, value in row.items()}


def _fields(names: list[str], mode: str) -> list[Json]:
    return [{**getattr(COLUMNS[name], mode).schema, "field": name} for name in names]


def _struct(fields: list[Json], **more: Any) -> Json:
    return {"type": "struct", "fields": fields, "optional": False, **more}


def _wrapped(fields: list[Json], payload: Any) -> Json:
    return {"schema": _struct(fields, name="acme.public.nasty.Value"), "payload": payload}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _message(key: Json, value: Any, headers: list[list[str]] | None = None) -> Json:
    return {"key": _text(key), "value": None if value is None else _text(value), "headers": headers or []}


def _file(messages: Iterator[Json], events: Json, leaves_out: tuple[str, ...] = ()) -> Json:
    return {"events": events, "leaves_out": list(leaves_out), "messages": list(messages)}


_HINTS = {
    "rate": {"scale": 2},
    "total": {"scale": 9},
    "alarm": {"fraction_digits": 6},
    "at": {"fraction_digits": 6},
    "about": {"fraction_digits": 3},
    "place": {"geometry": True},
}
_PLACE = {ENTITY: {"place": {"geometry": True}}}
_ADDED = ("op", "connector", "name", "schema", "table", "sequence", "snapshot", "lsn")


def _envelopes(mode: str) -> Iterator[tuple[Change, Json]]:
    for change in CHANGES:
        rows = {"before": _row(change.before, mode), "after": _row(change.after, mode)}
        about = {"source": change.source, "transaction": change.transaction, "op": change.op}
        yield change, {**rows, **about, "ts_ms": change.time_us // 1000 + 5}


def debezium_json(mode: str, **events: Any) -> Json:
    """Write the envelope without a schema."""
    written = (_message(_row(change.key, mode) or {}, value) for change, value in _envelopes(mode))
    return _file(written, {"columns": _PLACE, **events})


def debezium_json_schema(mode: str) -> Json:
    """Write the envelope with its schema."""
    row = _struct(_fields(list(COLUMNS), mode), optional=True, name="acme.public.nasty.Value")
    fields = [{**row, "field": "before"}, {**row, "field": "after"}, {"type": "string", "field": "op"}]

    def messages() -> Iterator[Json]:
        for change, value in _envelopes(mode):
            key = _wrapped(_fields(KEY, mode), _row(change.key, mode))
            yield _message(key, _wrapped(fields, value))

    return _file(messages(), {})


def _about(change: Change) -> Json:
    found = {**change.source, "op": change.op}
    times = {f"__source_ts_{unit}": change.source[f"ts_{unit}"] for unit in ("ms", "us")}
    of_transaction = {f"__transaction_{name}": value for name, value in (change.transaction or {}).items()}
    return {**{f"__{name}": found[name] for name in _ADDED}, **times, **of_transaction}


def flattened() -> Json:
    """Write rows alone, with fields added and deletes rewritten."""

    def messages() -> Iterator[Json]:
        for change in CHANGES:
            row = _row(change.after or change.before, "text") or {}
            about = {**_about(change), "__deleted": "true" if change.op == "d" else "false"}
            yield _message(_row(change.key, "text") or {}, {**row, **about})

    events = {"format": "flattened", "delete_tombstone_handling_mode": "rewrite", "columns": _PLACE}
    return _file(messages(), events, ("before_of_updates",))


def flattened_headers(mode: str, delete: str) -> Json:
    """Write rows, what is told of them in headers, and deletes as tombstones or as nulls."""

    def messages() -> Iterator[Json]:
        for change in CHANGES:
            headers = [[name, str(value)] for name, value in _about(change).items()]
            row, key = _row(change.after, mode), _row(change.key, mode) or {}
            if delete == "delete-to-tombstone":
                value = None if row is None else _wrapped(_fields(list(COLUMNS), mode), row)
                yield _message(_wrapped(_fields(KEY, mode), key), value, headers)
            else:
                yield {**_message(key, row, headers), "value": _text(row)}

    events: Json = {"format": "flattened", "delete_tombstone_handling_mode": delete}
    return _file(messages(), events if delete != "tombstone" else {**events, "columns": _PLACE}, ("before",))


def _attributes(change: Change) -> Json:
    found = {**change.source, "op": change.op}
    found |= {f"tx{name}": value for name, value in (change.transaction or {}).items()}
    written = {
        "iodebezium" + name.replace("_", ""): str(value) if type(value) is int else value
        for name, value in found.items()
        if name != "txId"
    }
    return {
        "id": f"name:acme;lsn:{change.lsn};txId:700",
        "source": "/debezium/postgresql/acme",
        "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent",
        "time": "2026-02-28T12:30:00.123Z",
        "datacontenttype": "application/json",
        **written,
    }


def cloudevents(mode: str, *, has_schema: bool) -> Json:
    """Write structured CloudEvents."""
    row = _struct(_fields(list(COLUMNS), mode), optional=True, name="acme.public.nasty.Value")
    fields = [{**row, "field": "before"}, {**row, "field": "after"}]

    def messages() -> Iterator[Json]:
        for change in CHANGES:
            data: Json = {"before": _row(change.before, mode), "after": _row(change.after, mode)}
            key = _row(change.key, mode) or {}
            if has_schema:
                data, key = _wrapped(fields, data), _wrapped(_fields(KEY, mode), key)
            yield _message(key, {**_attributes(change), "data": data})

    return _file(messages(), {"format": "cloudevents", **({} if has_schema else {"columns": _PLACE})})


def cloudevents_binary() -> Json:
    """Write CloudEvents whose attributes are headers."""

    def messages() -> Iterator[Json]:
        for change in CHANGES:
            found = _attributes(change).items()
            headers = [[f"ce_{name}", str(value)] for name, value in found if value is not None]
            data = {"before": _row(change.before, "text"), "after": _row(change.after, "text")}
            yield _message(_row(change.key, "text") or {}, data, headers)

    return _file(messages(), {"format": "cloudevents", "columns": _PLACE})


def _avro(mode: str) -> tuple[Json, Json]:
    """Return the schemas of keys and of envelopes, as JsonConverter would write them."""
    row = _struct(_fields(list(COLUMNS), mode), name="acme.public.nasty.Value")
    return _struct(_fields(KEY, mode), name="acme.public.nasty.Key"), envelope_schema(row)


def _bytes(schema: Json, value: Json, head: bytes) -> Json:
    written = head + body(avro_schema(schema), avro_value(schema, value))
    return {"base64": base64.b64encode(written).decode()}


def debezium_avro(mode: str) -> Json:
    """Write the envelope in Avro, with the id of its schema."""
    key, envelope = _avro(mode)
    messages = (
        {
            "key": _bytes(key, _row(change.key, mode) or {}, b"\0\0\0\0\7"),
            "value": _bytes(envelope, value, b"\0\0\1\0\0"),
            "headers": [],
        }
        for change, value in _envelopes(mode)
    )
    events = {"format": "debezium_avro", "schema_registry": {"urls": ["http://127.0.0.1:1"]}}
    schemas = {"7": json.dumps(avro_schema(key)), "65536": json.dumps(avro_schema(envelope))}
    return {**_file(messages, events), "schemas": schemas}


def avro(mode: str) -> Json:
    """Write the envelope in Avro, with no more than its body."""
    key, envelope = _avro(mode)
    messages = (
        {
            "key": _bytes(key, _row(change.key, mode) or {}, b""),
            "value": _bytes(envelope, value, b""),
            "headers": [],
        }
        for change, value in _envelopes(mode)
    )
    files = {"avro_schema_file": avro_schema(envelope), "avro_key_schema_file": avro_schema(key)}
    return {**_file(messages, {"format": "avro"}), "files": files}


def expected() -> Json:
    """Return the contract, and what every format means."""
    changes = [
        {
            "op": change.op,
            "key": [change.key[name] for name in KEY],
            "before": change.before,
            "after": change.after,
            "position": [0, change.lsn, int(change.snapshot == "false"), change.lsn],
            "source_time_us": change.time_us,
            # The second number of the id is each event's own.
            "transaction": change.transaction and ["700", change.order],
        }
        for change in CHANGES
    ]
    contract = {name: column.kind for name, column in COLUMNS.items()}
    return {"entity": ENTITY, "key": KEY, "contract": contract, "changes": changes}


_EXACT: Json = {
    "decimal_handling_mode": "precise",
    "hstore_handling_mode": "map",
    "columns": {ENTITY: _HINTS},
}

FORMATS: dict[str, Callable[[], Json]] = {
    "debezium_json": lambda: debezium_json("text"),
    "debezium_json_adaptive": lambda: debezium_json("exact", time_precision_mode="adaptive", **_EXACT),
    "debezium_json_nanoseconds": lambda: debezium_json("nanos", time_precision_mode="nanoseconds", **_EXACT),
    "debezium_json_schema": lambda: debezium_json_schema("exact"),
    "debezium_json_schema_text": lambda: debezium_json_schema("text"),
    "debezium_json_schema_nanoseconds": lambda: debezium_json_schema("nanos"),
    "debezium_avro_schema": lambda: debezium_avro("exact"),
    "debezium_avro_schema_text": lambda: debezium_avro("text"),
    "avro_schema": lambda: avro("exact"),
    "flattened": flattened,
    "flattened_headers": lambda: flattened_headers("exact", "delete-to-tombstone"),
    "flattened_nulls": lambda: flattened_headers("text", "tombstone"),
    "cloudevents": lambda: cloudevents("text", has_schema=False),
    "cloudevents_schema": lambda: cloudevents("exact", has_schema=True),
    "cloudevents_binary": cloudevents_binary,
}


def files() -> dict[str, str]:
    """Return what each file is to hold, by its name."""
    found = {"expected.json": expected(), **{f"{name}.json": write() for name, write in FORMATS.items()}}
    # Surrogates and line separators are escaped, so that every tool shows the same lines.
    return {name: json.dumps(value, indent=1) + "\n" for name, value in found.items()}


if __name__ == "__main__":
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
