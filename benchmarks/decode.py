"""Time what a record costs in Python, decoding and packing: the figures of docs/decisions/0001 and 0012.

python -m benchmarks.decode [--records 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from benchmarks.avro_events import AvroBench, in_avro
from benchmarks.load import COLUMNS, events_of
from tillstream.configs.events import Events
from tillstream.configs.models import Entity
from tillstream.io.codecs.base import Codec
from tillstream.io.codecs.cloudevents import CloudEventsCodec
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.io.codecs.flattened import FlattenedCodec
from tillstream.pipelines.records import ChangeBatch
from tillstream.transforms.contracts.compiled import CompiledContract

__all__ = ["formats", "measure"]

_BATCH = 1000
_ENTITY = Entity.model_validate(
    {
        "topic": "bench.public.orders",
        "key": ["order_id"],
        "contract": {column: kind for column, (kind, _) in COLUMNS.items()},
        "sinks": ["any"],
    }
)
Messages = list[tuple[bytes, bytes]]
_CONNECT_TYPES = {"int64": "int64", "string": "string", "decimal(12,2)": "string"}
_DECIMAL = {"type": "bytes", "optional": True, "name": "org.apache.kafka.connect.data.Decimal", "version": 1}


def measure(records: int = 20_000, rounds: int = 5) -> dict[str, float]:
    """Return microseconds a record of each way, the best of some rounds."""
    messages = [(key, value) for _, key, value in events_of(records)]
    codec = DebeziumJsonCodec("orders", ("order_id",), 16)
    contract = CompiledContract("orders", _ENTITY.columns(), _ENTITY.key)
    changes = [codec.decode(key, value, place)[1] for place, (key, value) in enumerate(messages)]
    rows = [change.after or b"" for change in changes]
    batches = [
        ChangeBatch("bench", "orders", 0, _ENTITY.topic, 0, ("order_id",), tuple(changes[at : at + _BATCH]))
        for at in range(0, len(changes), _BATCH)
    ]
    decode_any = msgspec.json.Decoder().decode
    ways: dict[str, Callable[[], Any]] = {
        "envelope, key, shard and position; rows stay bytes": lambda: [
            codec.decode(k, v, 0) for k, v in messages
        ],
        "one row, into its contract": lambda: [contract.decode(row) for row in rows],
        "whole message at once, msgspec": lambda: [decode_any(value) for _, value in messages],
        "whole message at once, orjson": lambda: [orjson.loads(value) for _, value in messages],
        "batch, encode and decode": lambda: [ChangeBatch.decode(batch.encode()) for batch in batches],
    }
    return {name: min(_seconds(way) for _ in range(rounds)) / records * 1e6 for name, way in ways.items()}


def formats(records: int = 20_000, rounds: int = 5) -> dict[str, dict[str, float]]:
    """Return for each format events a second of CPU time, and bytes of one event; the best of some rounds.

    The events hold the same rows. Time is that of the process, because a machine is shared.
    """
    found = {}
    for name, (codec, messages) in _formats(records).items():

        def decode(codec: Codec = codec, messages: Messages = messages) -> None:
            for key, value in messages:
                codec.decode(key, value, 0)

        cost_s = min(_cpu_seconds(decode) for _ in range(rounds)) / records
        size = sum(len(key) + len(value) for key, value in messages) / records
        found[name] = {"events_per_s": 1 / cost_s, "bytes": size}
    return found


def _formats(records: int) -> dict[str, tuple[Codec, Messages]]:
    plain = [(key, value) for _, key, value in events_of(records)]
    precise = Events.model_validate(
        {"decimal_handling_mode": "precise", "columns": {"orders": {"total": {"scale": 2}}}}
    )
    rewritten = Events.model_validate({"format": "flattened", "delete_tombstone_handling_mode": "rewrite"})
    of = ("orders", ("order_id",), 16)
    return {
        "debezium_json": (DebeziumJsonCodec(*of), plain),
        "debezium_json, precise decimals": (
            DebeziumJsonCodec(*of, _ENTITY.columns(), precise),
            [(key, _envelope(value, is_precise=True)) for key, value in plain],
        ),
        "debezium_json with schema": (
            DebeziumJsonCodec(*of),
            [(_wrapped_key(key), _wrapped(value, is_precise=False)) for key, value in plain],
        ),
        "debezium_json with schema, precise decimals": (
            DebeziumJsonCodec(*of),
            [(_wrapped_key(key), _wrapped(value, is_precise=True)) for key, value in plain],
        ),
        "debezium_avro": (AvroBench(*of), [in_avro(*each, is_precise=False) for each in plain]),
        "debezium_avro, precise decimals": (
            AvroBench(*of),
            [in_avro(*each, is_precise=True) for each in plain],
        ),
        "flattened": (FlattenedCodec(*of, (), rewritten), [(key, _flat(value)) for key, value in plain]),
        "cloudevents": (CloudEventsCodec(*of), [(key, _cloud_event(value)) for key, value in plain]),
    }


def _text(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _envelope(value: bytes, *, is_precise: bool) -> bytes:
    if not is_precise:
        return value
    found = json.loads(value)
    # 12.34 as the bytes of 1234, whatever the row's own.
    found["after"]["total"] = "BNI="
    return _text(found)


def _wrapped(value: bytes, *, is_precise: bool) -> bytes:
    names = json.loads(value)["after"]
    columns = [
        {
            "type": _CONNECT_TYPES.get(COLUMNS.get(name, ("string",))[0], "string"),
            "optional": True,
            "field": name,
        }
        for name in names
    ]
    if is_precise:
        parameters = {"scale": "2", "connect.decimal.precision": "12"}
        columns = [
            {**_DECIMAL, "parameters": parameters, "field": "total"} if each["field"] == "total" else each
            for each in columns
        ]
    row = {"type": "struct", "fields": columns, "optional": True, "name": "bench.public.orders.Value"}
    source = [{"type": "string", "optional": True, "field": f"field_{number}"} for number in range(14)]
    fields = [
        {**row, "field": "before"},
        {**row, "field": "after"},
        {
            "type": "struct",
            "fields": source,
            "name": "io.debezium.connector.postgresql.Source",
            "field": "source",
        },
        {"type": "string", "optional": False, "field": "op"},
    ]
    schema = {"type": "struct", "fields": fields, "name": "bench.public.orders.Envelope", "version": 2}
    return b'{"schema":%b,"payload":%b}' % (_text(schema), _envelope(value, is_precise=is_precise))


def _wrapped_key(key: bytes) -> bytes:
    schema = {"type": "struct", "fields": [{"type": "int64", "optional": False, "field": "order_id"}]}
    return b'{"schema":%b,"payload":%b}' % (_text(schema), key)


def _flat(value: bytes) -> bytes:
    found = json.loads(value)
    source = found["source"]
    about = {"__op": found["op"], "__sequence": source["sequence"], "__source_ts_ms": source["ts_ms"]}
    return _text({**found["after"], **about, "__deleted": "false"})


def _cloud_event(value: bytes) -> bytes:
    found = json.loads(value)
    names = {"iodebezium" + name.replace("_", ""): str(each) for name, each in found["source"].items()}
    about = {
        "id": "1",
        "source": "/debezium/postgresql/bench",
        "specversion": "1.0",
        "iodebeziumop": found["op"],
    }
    return _text({**about, **names, "data": {"before": None, "after": found["after"]}})


def _seconds(way: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    way()
    return time.perf_counter() - start_s


def _cpu_seconds(way: Callable[[], Any]) -> float:
    start_s = time.process_time()
    way()
    return time.process_time() - start_s


def main() -> None:
    """Print a line for each way, and for each format."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name, cost_us in measure(options.records, options.rounds).items():
        print(f"{cost_us:6.2f} us  {name}")
    for name, figures in formats(options.records, options.rounds).items():
        print(f"{figures['events_per_s']:9,.0f} events/s of CPU  {figures['bytes']:5.0f} bytes  {name}")


if __name__ == "__main__":
    main()
