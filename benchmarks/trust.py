"""Measure what trust stages cost a row, in this process, without a broker.

python -m benchmarks.trust
"""

from __future__ import annotations

import gc
import json
import os
import random
import time
from typing import Any

from benchmarks.load import COLUMNS, CUSTOMERS, KEYS, PEOPLE
from benchmarks.tillstream_job import TRUST
from tillstream.configs import ClientConfig
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.transform_changes import TransformChanges

__all__ = ["measure"]

_BATCHES, _ROWS, _ROUNDS, _SHARDS = 100, 1000, 6, 16
_STATUSES = ("placed", "paid", "packed", "shipped", "delivered")
_SALT = "BENCH_SALT"
# Those of the SDK harness.
_GC_THRESHOLDS = (500_000, 50, 100)


def _config(*, trust: bool) -> ClientConfig:
    contract = {name: kind for name, (kind, _) in {**COLUMNS, **PEOPLE}.items()}
    entity = {"topic": "t", "key": ["order_id"], "contract": contract, "sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "bench",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": {"orders": {**entity, **(TRUST if trust else {})}},
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {"salt": f"${{{_SALT}}}"},
        }
    )


def _frames(customers: int) -> list[bytes]:
    chance, version, frames = random.Random(1), 0, []  # noqa: S311  (repeatable on purpose)
    for number in range(_BATCHES):
        records = []
        for _ in range(_ROWS):
            version, order = version + 1, chance.randrange(KEYS)
            row = {
                "order_id": order,
                "customer_id": order % customers,
                "status": _STATUSES[version % len(_STATUSES)],
                "total": f"{version % 1000}.{version % 100:02d}",
                "version": version,
                "email": f"customer{order % customers}@example.com",
                "phone": f"+49170{order % customers:08d}",
            }
            after = json.dumps(row).encode()
            records.append(
                ChangeRecord(version, Operation.UPDATE, (order,), (version,), version, None, after)
            )
        batch = ChangeBatch("bench", "orders", number % _SHARDS, "t", 0, ("order_id",), tuple(records))
        frames.append(batch.encode())
    return frames


def _seconds(frames: list[bytes], *, trust: bool) -> list[float]:
    stage = TransformChanges(_config(trust=trust), generation=1)
    stage.setup()
    cells: list[list[Any]] = [
        [cell for state in (FakeState(), FakeState()) for cell in (state.cell, state.bag)]
        for _ in range(_SHARDS)
    ]
    seconds = []
    for number, frame in enumerate(frames):
        shard = number % _SHARDS
        start_s = time.process_time()
        for _ in stage.process((b"s%d" % shard, frame), *cells[shard]):
            pass
        seconds.append(time.process_time() - start_s)
    return seconds


def measure() -> dict[str, float]:
    """Return processor time of TransformChanges in microseconds a row, of two masked columns.

    `trust` has 9,973 customers, as the load of the other measurements; `trust_many` one for each key.
    Rounds take turns, and of each batch the best one counts: so what others do on the machine is left out.
    """
    os.environ.setdefault(_SALT, "salt of the benchmark")
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    few, many = _frames(CUSTOMERS), _frames(KEYS)
    rounds: dict[str, list[list[float]]] = {"plain": [], "trust": [], "trust_many": []}
    for _ in range(_ROUNDS):
        for name, found in rounds.items():
            found.append(_seconds(many if name == "trust_many" else few, trust=name != "plain"))
    return {
        name: sum(map(min, zip(*found, strict=True))) / (_BATCHES * _ROWS) * 1e6
        for name, found in rounds.items()
    }


if __name__ == "__main__":
    print(measure())
