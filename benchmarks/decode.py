"""Time what a record costs in Python, decoding and packing: the figures of docs/decisions/0001.

python -m benchmarks.decode [--records 20000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from benchmarks.load import COLUMNS, events_of
from tillstream.configs.models import Entity
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.records import ChangeBatch
from tillstream.transforms.contracts.compiled import CompiledContract

__all__ = ["measure"]

_BATCH = 1000
_ENTITY = Entity.model_validate(
    {
        "topic": "bench.public.orders",
        "key": ["order_id"],
        "contract": {column: kind for column, (kind, _) in COLUMNS.items()},
        "sinks": ["any"],
    }
)


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


def _seconds(way: Callable[[], Any]) -> float:
    start_s = time.perf_counter()
    way()
    return time.perf_counter() - start_s


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for name, cost_us in measure(options.records, options.rounds).items():
        print(f"{cost_us:6.2f} us  {name}")


if __name__ == "__main__":
    main()
