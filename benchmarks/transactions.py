"""Measure what it costs that transactions arrive whole, beside row by row, in one process.

Run it with `python -m benchmarks.transactions`. Decoding, TransformChanges, the gatherer and the decoding
of what the writer gets are measured, in processor time; Kafka, Beam and the sink are left out. The two modes
take turns, and the best round of each counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import ChangeCollector
from tillstream.pipelines.records import MutationBatch
from tillstream.pipelines.transactions import GATHERED, MutationUnit
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.transactions.gather import GatherTransactions
from tillstream.transforms.transform_changes import TransformChanges

__all__ = ["measure"]

_EVENTS, _POLL, _PARTITIONS, _KEYS, _ROUNDS = 40_000, 5_000, 2, 5_000, 3
_TABLES = ("orders", "items")
_MODES = ("row", "transaction")


class _Message:
    """Be a message as Kafka's client hands it out."""

    def __init__(self, value: bytes, offset: int) -> None:
        self._value = value
        self._offset = offset

    def key(self) -> None:
        """Return none: it is taken from the row."""

    def value(self) -> bytes:
        """Return the event."""
        return self._value

    def offset(self) -> int:
        """Return its place."""
        return self._offset

    def headers(self) -> None:
        """Return none."""


class _Timer:
    """Be Beam's timer."""

    def set(self, at: Any) -> None:
        """Never fire."""


def _config(atomicity: str) -> ClientConfig:
    contract = {"id": "int64", "customer": "string", "total": "decimal(12,2)", "status": "string"}
    entities = {
        table: {"topic": f"shop.public.{table}", "key": ["id"], "contract": contract, "sinks": ["out"]}
        for table in _TABLES
    }
    return ClientConfig.model_validate(
        {
            "client": f"bench_{atomicity}",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": entities,
            "sinks": {"out": {"type": "postgres", "host": "h", "database": "d", "user": "u"}},
            "delivery": {"atomicity": atomicity},
        }
    )


def _log(size: int) -> Iterator[tuple[str, int, list[_Message]]]:
    """Yield polls of all partitions in turns: transactions of so many events, half of them of each table."""
    partitions: dict[tuple[str, int], list[_Message]] = {
        (f"shop.public.{table}", n): [] for table in _TABLES for n in range(_PARTITIONS)
    }
    ends: list[_Message] = []
    for number in range(_EVENTS // size):
        counts = dict.fromkeys(_TABLES, 0)
        for order in range(size):
            event = number * size + order
            table, key = _TABLES[order % len(_TABLES)], event * 7919 % _KEYS
            counts[table] += 1
            row = {"id": key, "customer": f"customer {key}", "total": f"{event}.25", "status": "placed"}
            source = {"connector": "postgresql", "ts_us": event, "sequence": f'["{event}","{event + 1}"]'}
            block = {"id": f"{number}:{event}", "total_order": order + 1, "data_collection_order": 1}
            value = {"before": None, "after": row, "source": source, "transaction": block, "op": "u"}
            messages = partitions[f"shop.public.{table}", key // len(_TABLES) % _PARTITIONS]
            messages.append(_Message(json.dumps(value).encode(), len(messages)))
        listed = [{"data_collection": f"public.{name}", "event_count": n} for name, n in counts.items() if n]
        end = {"status": "END", "id": f"{number}:0", "data_collections": listed}
        ends.append(_Message(json.dumps(end).encode(), len(ends)))
    polls = -(-max(map(len, partitions.values())) // _POLL)
    for poll in range(polls):
        for (topic, partition), messages in partitions.items():
            yield topic, partition, messages[poll * _POLL : (poll + 1) * _POLL]
        share = -(-len(ends) // polls)
        yield "shop.transaction", 0, ends[poll * share : (poll + 1) * share]


def _run(mode: str, log: list[tuple[str, int, list[_Message]]]) -> tuple[float, int]:
    """Return the processor time of the stages, seconds, and how many rows came to the writer."""
    config, whole = _config(mode), mode == "transaction"
    collector = ChangeCollector(config)
    transform = TransformChanges(config, 1, gathers=whole)
    gather = GatherTransactions(config, 1)
    transform.setup()
    gather.setup()
    shards: dict[bytes, list[Any]] = {}
    gathered = [each for state in (FakeState(), FakeState()) for each in (state.cell, state.bag)]
    rows = 0

    def written(outputs: Any) -> int:
        found = 0
        for key, frame in outputs:
            if whole and key == GATHERED:
                units = gather.process((key, frame), *gathered, _Timer())
                found += sum(len(b.records) for _, unit in units for b in MutationUnit.decode(unit).batches)
            else:
                found += len(MutationBatch.decode(frame).records)
        return found

    start_s = time.process_time()
    for topic, partition, messages in log:
        if topic == "shop.transaction" and not whole:
            continue
        collector.add(topic, partition, messages)
        for output in list(collector.flush()):
            if isinstance(output, TaggedOutput):
                rows += written([output.value])
                continue
            states = shards.get(output[0])
            if states is None:
                cells = [FakeState() for _ in range(3)]
                states = shards[output[0]] = [each for state in cells for each in (state.cell, state.bag)]
            rows += written(transform.process(output, *states))
    return time.process_time() - start_s, rows


def measure() -> dict[str, Any]:
    """Return microseconds an event of each mode and their ratio, by the size of the transactions."""
    figures: dict[str, Any] = {}
    for size in (2, 10, 1000):
        log = list(_log(size))
        best = dict.fromkeys(_MODES, float("inf"))
        for _ in range(_ROUNDS):
            for mode in _MODES:
                took_s, rows = _run(mode, log)
                assert rows == _EVENTS, (mode, rows)
                best[mode] = min(best[mode], took_s)
        figures[f"{size}_events"] = {f"{mode}_us": best[mode] * 1e6 / _EVENTS for mode in _MODES}
        figures[f"{size}_events"]["ratio"] = best["transaction"] / best["row"]
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
