"""Stand in for the exchanges between the stages of lookups, with a say in what arrives when."""

from __future__ import annotations

import copy
import json
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    Mutation,
    MutationBatch,
    Operation,
)
from tillstream.pipelines.sharding import shard_key, shard_of
from tillstream.transforms.api import Lookup, transform
from tillstream.transforms.fake_state import FakeState
from tillstream.transforms.flows import flows_of, registry_of, using
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.lookups.join import JoinRows
from tillstream.transforms.lookups.resolve import ResolveRows
from tillstream.transforms.lookups.routers import EVENTS
from tillstream.transforms.registry import Registry
from tillstream.transforms.routing import Launch
from tillstream.transforms.shard_state import ShardMemory
from tillstream.transforms.stages import routers_of

SHARDS = 3


@transform("shop.sales_named@1.0.0")
class SalesNamed(beam.DoFn):
    """Put the names of buyer and payer, who are both people, and of the place to a sale."""

    def process(
        self,
        event: ChangeEvent,
        buyer: Any = Lookup("people", on="buyer"),
        payer: Any = Lookup("people", on="payer"),
        place: Any = Lookup("places", on=("country", "town")),
    ) -> Iterator[Mutation]:
        """Yield the sale with the names."""
        if event.after is None:
            yield event.delete()
            return
        names = {"buyer": buyer, "payer": payer, "place": place}
        if buyer is not None and buyer["name"] == "boom":
            raise ValueError("boom")
        row = {"id": event.after["id"], "v": event.after["v"]}
        yield event.upsert({**row, **{key: each and each["name"] for key, each in names.items()}})


def config(version: str = "1.0.0", **changes: Any) -> ClientConfig:
    """Return the client shop, whose sales_named are made of sales, people and places."""
    entity = {"sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "entities": {
                "people": {"topic": "people", "key": ["id"], **entity},
                "places": {"topic": "places", "key": ["country", "town"], **entity},
                "sales": {"topic": "sales", "key": ["id"], **entity},
                "sales_named": {
                    "from": "sales",
                    "key": ["id"],
                    "transform": f"shop.sales_named@{version}",
                    **entity,
                },
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "flink": {"shards": SHARDS},
            **changes,
        }
    )


@contextmanager
def transforms(*classes: type[Any]) -> Iterator[None]:
    """Let these be the transforms that the client may name."""
    registry = Registry()
    for each in classes or (SalesNamed,):
        registry.add(each)
    with using(registry):
        yield


class Network:
    """Run the three stages over all shards; messages wait in channels until `deliver` takes them.

    Args:
        bounded: as in a run that ends: messages of one channel may be taken in any order.
    """

    def __init__(self, *, bounded: bool = False, client: ClientConfig | None = None) -> None:
        self.config = client or config()
        self.bounded = bounded
        launch = Launch(1, bounded)
        self._routers = routers_of(self.config, flows_of(self.config, registry_of(self.config)), launch)
        self._memory: ShardMemory[StateEntry] = ShardMemory(None, StateEntry)
        self.resolve = ResolveRows(self.config, ordered=not bounded)
        self.join = JoinRows(self.config, launch)
        self.resolve.setup()
        self.join.setup()
        self.states = {
            (stage, n): FakeState() for stage in ("route", "resolve", "join") for n in range(SHARDS)
        }
        self.channels: dict[tuple[str, int, str, int], deque[bytes]] = {}
        self.offset = 0
        self.sink: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.mutations: list[tuple[Any, ...]] = []
        self.numbers: dict[int, int] = {}
        self.letters: list[DeadLetter] = []

    def change(
        self, entity: str, row: dict[str, Any], *, delete: bool = False, at_us: int | None = None
    ) -> None:
        """Let the source change a row, and the first stage send on what comes of it."""
        key_columns = tuple(self.config.entities[entity].key)
        key = tuple(row[column] for column in key_columns)
        shard = shard_of(entity, key, SHARDS)
        self.offset += 1
        time_us = self.offset if at_us is None else at_us
        text = json.dumps(row).encode()
        operation = Operation.DELETE if delete else Operation.UPDATE
        before, after = (text, None) if delete else (None, text)
        record = ChangeRecord(self.offset, operation, key, (self.offset,), time_us, before, after)
        batch = ChangeBatch("shop", entity, shard, entity, 0, key_columns, (record,))
        fake = self.states["route", shard]
        state = self._memory.open(self._key(shard), fake.cell, fake.bag)
        for router in self._routers[entity]:
            messages, letters = router.route(batch, state)
            self.letters += letters
            for message in messages:
                to = "join" if message.tag == EVENTS else "resolve"
                self._send(("route", shard), to, message.key, message.frame)
        state.commit()

    def deliver(self, choose: Random | None = None, *, by: str = "", to: str = "") -> bool:
        """Take one message, of those between two stages if they are named; return whether there was one."""
        waiting = sorted(
            name for name, frames in self.channels.items() if frames and by in name[0] and to in name[2]
        )
        if not waiting:
            return False
        name = waiting[0] if choose is None else choose.choice(waiting)
        frames = self.channels[name]
        if self.bounded and choose is not None:
            frames.rotate(choose.randrange(len(frames)))
        self._take(name[2], name[3], frames.popleft())
        return True

    def overtake(self) -> None:
        """Deliver all there is but the events: what they ask for arrives before them."""
        for sender, to in (("route", "resolve"), ("resolve", "join")):
            for name in [each for each in sorted(self.channels) if each[:3:2] == (sender, to)]:
                while self.channels[name]:
                    self._take(name[2], name[3], self.channels[name].popleft())

    def settle(self, choose: Random | None = None) -> None:
        """Deliver all there is, in any order."""
        while self.deliver(choose):
            pass

    def snapshot(self) -> Any:
        """Return what a checkpoint holds: state, what is under way, and what sinks have of it."""
        states = {name: state.snapshot() for name, state in self.states.items()}
        return copy.deepcopy((states, self.channels, self.offset, self.sink, self.numbers))

    def restore(self, snapshot: Any, *, sink: bool = True) -> None:
        """Go back to a checkpoint; without the sink, as a launch from an older savepoint does."""
        states, self.channels, self.offset, found, numbers = copy.deepcopy(snapshot)
        for name, state in states.items():
            self.states[name].restore(state)
        self.numbers = numbers
        if sink:
            self.sink = found

    def entries(self, stage: str) -> dict[Any, Any]:
        """Return what the state of a stage holds, all shards together."""
        memory: ShardMemory[Any] = ShardMemory(None, tuple[Any, ...])
        found: dict[Any, Any] = {}
        for shard in range(SHARDS):
            fake = self.states[stage, shard]
            found.update(memory.open(b"", fake.cell, fake.bag).index)
        return found

    def _key(self, shard: int) -> bytes:
        return shard_key(shard, SHARDS, self.config.flink.max_parallelism)

    def _send(self, sender: tuple[str, int], to: str, key: bytes, frame: bytes) -> None:
        number = int(key[1:].split(b"#")[0])
        self.channels.setdefault((*sender, to, number), deque()).append(frame)

    def _take(self, stage: str, shard: int, frame: bytes) -> None:
        fake = self.states[stage, shard]
        dofn = self.resolve if stage == "resolve" else self.join
        for output in dofn.process((self._key(shard), frame), fake.cell, fake.bag):
            if isinstance(output, TaggedOutput):
                self.letters += DeadLetterBatch.decode(output.value).letters
            elif stage == "resolve":
                self._send((stage, shard), "join", *output)
            else:
                self._write(MutationBatch.decode(output[1]))

    def _write(self, batch: MutationBatch) -> None:
        assert batch.derived
        assert batch.sequence == self.numbers.get(batch.shard, 0) + 1
        self.numbers[batch.shard] = batch.sequence
        for each in batch.records:
            self.mutations.append((batch.topic, each.offset, each.index, each.source_time_us))
            if each.values is None:
                self.sink.pop(each.key, None)
            else:
                self.sink[each.key] = dict(zip(batch.columns, each.values, strict=True))
