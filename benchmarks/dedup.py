"""Measure deduplication alone: events a second in one process, and bytes of state and memory a live key.

python -m benchmarks.dedup [--events 500000] [--keys 50000] [--shards 16] [--batch 1000]

Prints one JSON object. Batches are decoded from their frames, judged, and the state written to cells that
only count bytes; a twentieth of the events are repeats.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import tracemalloc

from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
from tillstream.transforms.deduplicate import By, Deduplicator, Entry
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.shard_state import ShardMemory

__all__ = ["measure"]

_SEED = 20_260_101
_HORIZON_US = 3_600_000_000
_START_US = 1_760_000_000_000_000
_ROW = b'{"order_id":%d,"customer_id":%d,"status":"shipped","total":"%d.99","version":%d}'
_REPEATS = 20


def _frames(events: int, keys: int, shards: int, batch: int) -> list[tuple[bytes, bytes]]:
    """Return (shard key, ChangeBatch frame) pairs as the reader makes them."""
    chance = random.Random(_SEED)  # noqa: S311  (repeatable on purpose)
    waiting: list[list[ChangeRecord]] = [[] for _ in range(shards)]
    found: list[tuple[bytes, bytes]] = []

    def flush(shard: int) -> None:
        records, waiting[shard] = tuple(waiting[shard]), []
        if records:
            change = ChangeBatch("bench", "orders", shard, "bench.public.orders", 0, ("order_id",), records)
            found.append((b"s%d" % shard, change.encode()))

    last: dict[int, ChangeRecord] = {}
    for version in range(events):
        order = chance.randrange(keys)
        shard = order % shards
        if version % _REPEATS == 0 and order in last:
            record = last[order]
        else:
            lsn = 24_000_000_000 + version * 64
            row = _ROW % (order, order % 9973, version % 1000, version)
            position = (0, lsn, 1, lsn)
            record = ChangeRecord(
                version, Operation.UPDATE, (order,), position, _START_US + version * 500, None, row
            )
            last[order] = record
        waiting[shard].append(record)
        if len(waiting[shard]) == batch:
            flush(shard)
    for shard in range(shards):
        flush(shard)
    return found


def measure(
    events: int = 500_000, keys: int = 50_000, shards: int = 16, batch: int = 1000, by: By = "position"
) -> dict[str, float]:
    """Return the figures of one run.

    Args:
        events: how many are judged.
        keys: how many rows they change.
        shards: how many share the rows.
        batch: records in a batch.
        by: the way of deduplication.
    """
    frames = _frames(events, keys, shards, batch)
    deduplicator = Deduplicator(by, _HORIZON_US)
    memory: ShardMemory[Entry] = ShardMemory(_HORIZON_US, Entry)
    states = {key: FakeState() for key, _ in frames}
    written_bytes = kept = 0
    decode_s = keep_s = commit_s = 0.0
    state_bytes_max = 0
    for key, frame in frames:
        state = states[key]
        start_s = time.perf_counter()
        change = ChangeBatch.decode(frame)
        decoded_s = time.perf_counter()
        shard = memory.open(key, state.cell, state.bag)
        result = deduplicator.keep(change, shard)
        kept_s = time.perf_counter()
        shard.commit()
        commit_s += time.perf_counter() - kept_s
        keep_s += kept_s - decoded_s
        decode_s += decoded_s - start_s
        kept += len(result.records)
        written_bytes += len(state.bag.values[-1]) + len(state.cell.value or b"")
        state_bytes_max = max(state_bytes_max, state.size_bytes())
    rebuild_start_s = time.perf_counter()
    tracemalloc.start()
    fresh: ShardMemory[Entry] = ShardMemory(_HORIZON_US, Entry)
    opened = [fresh.open(key, state.cell, state.bag) for key, state in states.items()]
    memory_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rebuild_s = time.perf_counter() - rebuild_start_s
    live = sum(len(shard.index) for shard in opened)
    return {
        "events": events,
        "kept": kept,
        "live_keys": live,
        "events_per_s": round(events / (keep_s + commit_s)),
        "events_per_s_with_decoding": round(events / (decode_s + keep_s + commit_s)),
        "state_bytes_per_key": round(sum(state.size_bytes() for state in states.values()) / live, 1),
        "state_bytes_per_key_max": round(state_bytes_max * shards / live, 1),
        "memory_bytes_per_key": round(memory_bytes / live, 1),
        "written_bytes_per_event": round(written_bytes / events, 1),
        "rebuild_s_traced": round(rebuild_s, 3),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--keys", type=int, default=50_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--by", choices=("position", "event_id"), default="position")
    options = parser.parse_args()
    print(json.dumps(measure(options.events, options.keys, options.shards, options.batch, options.by)))


if __name__ == "__main__":
    main()
