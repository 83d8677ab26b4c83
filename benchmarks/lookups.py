"""Measure what lookups cost: orders of acme with their customers and stores, in one process and one shard.

Run it with `python -m benchmarks.lookups`. Only the three stages' own work is measured, in processor time;
readers, sinks and Beam are left out. State is that after a compaction.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tillstream import configs
from tillstream.configs import ClientConfig, load
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, Operation
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.lookups.join import JoinRows
from tillstream.transforms.lookups.resolve import ResolveRows
from tillstream.transforms.lookups.routers import EVENTS
from tillstream.transforms.resolving import resolve
from tillstream.transforms.routing import Launch
from tillstream.transforms.shard_state import ShardMemory
from tillstream.transforms.stages import routers_of

_ORDERS, _CUSTOMERS, _STORES, _BATCH = 20_000, 5_000, 20, 2_000
_KEY = b"s0"
_ENTITIES = ("customers", "stores", "orders", "orders_enriched")


class Stages:
    """Run one shard's stages one after the other.

    Attributes:
        seconds: what each has taken so far.
    """

    def __init__(self) -> None:
        self._config = _acme()
        flows = flows_of(self._config, registry_of(self._config))
        launch = Launch(1, bounded=False)
        self._routers = routers_of(self._config, flows, launch)
        self._memory: ShardMemory[Any] = ShardMemory(None)
        self._resolve, self._join = ResolveRows(self._config, ordered=True), JoinRows(self._config, launch)
        self._resolve.setup()
        self._join.setup()
        self.states = {name: FakeState() for name in ("route", "resolve", "join")}
        self.seconds = dict.fromkeys(self.states, 0.0)
        self._offset = 0

    def take(self, entity: str, rows: list[dict[str, Any]]) -> None:
        """Take changes of rows, a batch."""
        columns = tuple(self._config.entities[entity].key)
        records = []
        for row in rows:
            self._offset += 1
            key, text = tuple(row[each] for each in columns), json.dumps(row).encode()
            place = (self._offset,)
            records.append(ChangeRecord(self._offset, Operation.UPDATE, key, place, self._offset, None, text))
        batch = ChangeBatch("acme", entity, 0, entity, 0, columns, tuple(records))
        for tag, frame in self._timed("route", self._route, batch):
            name, dofn = ("join", self._join) if tag == EVENTS else ("resolve", self._resolve)
            found = self._timed(name, self._process, name, dofn, frame)
            if name == "resolve":
                for _, joined in found:
                    self._timed("join", self._process, "join", self._join, joined)

    def bytes_of(self, name: str) -> int:
        """Return how many bytes of state a stage holds once its log is compacted."""
        fake = self.states[name]
        shard = ShardMemory[Any](None).open(_KEY, fake.cell, fake.bag)
        shard.compact()
        shard.commit()
        return fake.size_bytes()

    def _route(self, batch: ChangeBatch) -> list[tuple[str, bytes]]:
        fake = self.states["route"]
        state = self._memory.open(_KEY, fake.cell, fake.bag)
        found = []
        for router in self._routers[batch.entity]:
            found += [(message.tag, message.frame) for message in router.route(batch, state)[0]]
        state.commit()
        return found

    def _process(self, name: str, dofn: Any, frame: bytes) -> list[Any]:
        fake = self.states[name]
        return list(dofn.process((_KEY, frame), fake.cell, fake.bag))

    def _timed(self, name: str, call: Any, *arguments: Any) -> Any:
        start_s = time.process_time()
        found = call(*arguments)
        self.seconds[name] += time.process_time() - start_s
        return found


def _acme() -> ClientConfig:
    acme = load(Path(configs.__file__).parent / "clients" / "acme.yaml", {})
    sinks = {"out": {"type": "files", "path": "/nowhere"}}
    entities = {
        name: acme.entities[name].model_dump(by_alias=True, exclude_unset=True) | {"sinks": ["out"]}
        for name in _ENTITIES
    }
    source = {"files": {"paths": ["none.jsonl"]}}
    model = {"client": "acme", "source": source, "entities": entities, "sinks": sinks, "flink": {"shards": 1}}
    return resolve(ClientConfig.model_validate(model))


def _order(key: int, status: str) -> dict[str, Any]:
    row = {"order_id": key, "reference": f"00000000-0000-0000-0000-{key:012}", "status": status}
    row |= {"customer_id": key % _CUSTOMERS, "store_id": key % _STORES, "total": "12.50", "note": None}
    return {**row, "ordered_at": "2026-03-01T08:15:00Z"}


def _customer(key: int) -> dict[str, Any]:
    row = {"customer_id": key, "email": f"ann{key}@mail.example", "full_name": f"Ann Example {key}"}
    row |= {"birth_date": None, "is_member": True, "preferences": "{}"}
    return {**row, "registered_at": "2026-01-01T00:00:00Z"}


def _store(key: int, city: str) -> dict[str, Any]:
    row = {"store_id": key, "name": f"Store {key}", "city": city, "opened_on": "2020-01-01"}
    return {**row, "is_open": True, "area_m2": 250.5}


def main() -> None:
    """Print microseconds and bytes."""
    stages = Stages()
    stages.take("customers", [_customer(key) for key in range(_CUSTOMERS)])
    stages.take("stores", [_store(key, "Oslo") for key in range(_STORES)])
    rows = stages.bytes_of("resolve")
    size = len(json.dumps(_customer(1)))
    print(f"a row that is looked up, of {size} bytes: {rows // _CUSTOMERS} bytes in resolve")
    for status in ("new", "paid"):
        stages.seconds = dict.fromkeys(stages.seconds, 0.0)
        for start in range(0, _ORDERS, _BATCH):
            stages.take("orders", [_order(key, status) for key in range(start, start + _BATCH)])
        each = ", ".join(f"{name} {s / _ORDERS * 1e6:.0f} µs" for name, s in stages.seconds.items())
        print(f"an order, {status}: {each}")
    for name in ("route", "join"):
        kept = stages.bytes_of(name) / _ORDERS
        print(f"an order of {len(json.dumps(_order(1, 'new')))} bytes: {kept:.0f} bytes in {name}")
    stages.seconds = dict.fromkeys(stages.seconds, 0.0)
    stages.take("stores", [_store(key, "Bergen") for key in range(_STORES)])
    print(f"an order made anew: {sum(stages.seconds.values()) / _ORDERS * 1e6:.0f} µs")


if __name__ == "__main__":
    main()
