"""Run a client's stages in this process, as a schedule says: bundles, instances, crashes, late messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import apache_beam as beam
import msgspec
from apache_beam.pvalue import TaggedOutput
from apache_beam.utils.windowed_value import WindowedValue

from tillstream.configs import ClientConfig
from tillstream.io.codecs.base import EVERY_SHARD
from tillstream.io.codecs.debezium_json import DebeziumJsonCodec
from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import ChangeBatch, ChangeEvent, ChangeRecord
from tillstream.pipelines.sharding import shard_key
from tillstream.transforms.flows import using
from tillstream.transforms.testing.cells import Cells
from tillstream.transforms.testing.envelopes import record_of
from tillstream.transforms.testing.events import place
from tillstream.transforms.testing.memory import Memory
from tillstream.transforms.testing.plan import LETTERS, MUTATIONS, Plan
from tillstream.transforms.testing.schedules import Schedule
from tillstream.transforms.testing.subjects import Subject

__all__ = ["PARTITIONS", "Delivery", "Executor", "Outcome", "deliveries"]

PARTITIONS = 4
_encode_key = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True)
class Delivery:
    """Hold one event, ready to be put into a batch.

    Attributes:
        event: placed.
        entity: its entity.
        topic: that it is read from.
        partition: of that topic.
        shard: of the client's, or EVERY_SHARD.
        record: its part of a batch.
    """

    event: ChangeEvent
    entity: str
    topic: str
    partition: int
    shard: int
    record: ChangeRecord


@dataclass
class Outcome:
    """Hold what came out, as frames, in order.

    Attributes:
        mutations: MutationBatch frames.
        letters: DeadLetterBatch frames.
        offsets: that events had at first, by topic, partition and the offset of their last delivery, where
            these differ.
    """

    mutations: list[bytes] = field(default_factory=list)
    letters: list[bytes] = field(default_factory=list)
    offsets: dict[tuple[str, int, int], int] = field(default_factory=dict)


def deliveries(
    subject: Subject, events: Iterable[ChangeEvent], *, partitions: int = PARTITIONS
) -> list[Delivery]:
    """Return events ready to be delivered, keys spread over partitions as a producer would.

    Raises:
        UserError: if an event is of an entity that the client does not read, or cannot be read.
    """
    topics = {entity: topic for topic, entity in subject.config.topics.items()}
    codecs: dict[str, DebeziumJsonCodec] = {}
    found = []
    for event in place(events):
        entity = event.entity
        if entity not in topics:
            raise UserError(f"event of {entity!r}: expected an entity that is read: {', '.join(topics)}")
        if entity not in codecs:
            described = subject.config.entities[entity]
            if described.keyless is not None:
                raise UserError(
                    f"event of {entity!r}: found an entity without a key, expected one: the reader gives its "
                    "rows one, and no reader is here; test it with a fixture (`tillstream test CLIENT`)"
                )
            shards, columns = subject.config.flink.shards, described.columns()
            codecs[entity] = DebeziumJsonCodec(entity, tuple(described.key), shards, columns)
        shard, record = record_of(event, topics[entity], codecs[entity])
        # A key keeps to its partition; which one rests on nothing but the key.
        partition = event.partition or crc32(_encode_key(record.key)) % partitions
        found.append(Delivery(event, entity, topics[entity], partition, shard, record))
    return found


class Executor:
    """Run deliveries through a client's stages, any number of times, each from nothing.

    State lies in fakes of Beam's cells, snapshots of which are the checkpoints. A crash brings them and what
    came out back to the checkpoint and makes all instances anew, as an exactly-once sink would have it. Each
    instance has a process of its own, whose modules and classes remember nothing of the others, or of runs
    before.

    Args:
        subject: what is run.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._plan = Plan(subject)
        self._memory = Memory(subject.classes)

    def run(self, delivered: Sequence[Delivery], schedule: Schedule) -> Outcome:
        """Return what comes out; `schedule` counts in `delivered`."""
        with using(self._subject.registry), self._memory as memory:
            memory.forget()
            return _Run(self._subject.config, self._plan, memory, delivered, schedule).run()


def _renumbered(
    sequence: Sequence[Delivery], resent: set[int], offsets: dict[tuple[str, int, int], int]
) -> list[Delivery]:
    """Return deliveries of which some have a new offset, and so have those behind them in their partition.

    Args:
        sequence: as its events are delivered.
        resent: places of what is sent again.
        offsets: gets the first offset of what has another one now.
    """
    tops: dict[tuple[str, int], int] = {}
    moved: set[tuple[str, int]] = set()
    last: dict[int, Delivery] = {}
    found = []
    for place_, each in enumerate(sequence):
        partition = (each.topic, each.partition)
        known = last.get(id(each))
        if known is not None and place_ not in resent:
            found.append(known)
            continue
        if known is not None:
            moved.add(partition)
        first = each.record.offset
        made = each
        if partition in moved:
            offset = max(tops[partition] + 1, first)
            offsets[each.topic, each.partition, offset] = first
            made = replace(each, record=msgspec.structs.replace(each.record, offset=offset))
        tops[partition] = max(tops.get(partition, first), made.record.offset)
        last[id(each)] = made
        found.append(made)
    return found


@dataclass
class _Checkpoint:
    cells: dict[tuple[int, bytes], list[Any]]
    mutations: int
    letters: int


class _Run:
    """Keep what one run needs."""

    def __init__(
        self,
        config: ClientConfig,
        plan: Plan,
        memory: Memory,
        delivered: Sequence[Delivery],
        schedule: Schedule,
    ) -> None:
        self._client = config.client
        self._nodes = plan.nodes
        self._keys = {name: tuple(each.key) for name, each in config.entities.items()}
        self._memory = memory
        order = range(len(delivered)) if schedule.order is None else schedule.order
        offsets: dict[tuple[str, int, int], int] = {}
        self._sequence = [delivered[i] for i in order]
        if schedule.resent:
            self._sequence = _renumbered(self._sequence, set(schedule.resent), offsets)
        self._schedule = schedule
        flink = config.flink
        self._shard_keys = [shard_key(i, flink.shards, flink.max_parallelism) for i in range(flink.shards)]
        self._outcome = Outcome(offsets=offsets)
        self._cells: dict[tuple[int, bytes], Cells] = {}
        self._instances: dict[tuple[int, int], beam.DoFn] = {}
        # By taker, then by the stage and the key that a message came from: from one key it stays in order.
        self._pending: list[dict[tuple[int, bytes], list[Any]]] = [{} for _ in self._nodes]
        self._is_late = False

    def run(self) -> Outcome:
        """Deliver all, and return what came out."""
        schedule, count = self._schedule, len(self._sequence)
        crashes = sorted(schedule.crashes, key=lambda crash: (crash.after, crash.back_to))
        crashes = [crash for crash in crashes if 0 <= crash.back_to < crash.after <= count]
        kept: dict[int, _Checkpoint] = {}
        stops = sorted({*schedule.bundles, *schedule.restarts, *[crash.after for crash in crashes]})
        restarts, holds = set(schedule.restarts), set(schedule.holds)
        again_until, again_size, done = 0, 1, 0
        while True:
            if any(crash.back_to == done for crash in crashes):
                self._drain()
                kept[done] = self._checkpoint()
            if done == count:
                break
            if done < again_until:
                end = min(done + again_size, again_until)
            else:
                end = next((stop for stop in stops if stop > done), count)
            end = min(end, *[c.back_to for c in crashes if c.back_to > done], count)
            self._deliver(self._sequence[done:end])
            done = end
            crash = next((each for each in crashes if each.after == done), None)
            if crash is not None:
                crashes.remove(crash)
                self._instances = {}
                self._memory.forget()
                self._restore(kept[crash.back_to])
                again_until, again_size, done = max(again_until, done), crash.bundle, crash.back_to
                continue
            self._drain(late=done if done in holds and done >= again_until else None)
            if done in restarts and done >= again_until:
                self._tear_down()
                self._memory.forget()
        self._drain()
        self._tear_down()
        return self._outcome

    def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Pack one bundle into batches of one entity, partition and shard, as the reader does, and run it."""
        found: dict[tuple[str, int, int], list[Delivery]] = {}
        batches: list[list[Delivery]] = []
        last = None
        for each in deliveries:
            if each.shard == EVERY_SHARD:
                # Alone in its batch, as the reader has it, and behind what came before in each shard.
                found.clear()
                batches += [[replace(each, shard=shard)] for shard in range(len(self._shard_keys))]
                last = None
                continue
            group = (each.entity, each.partition, each.shard)
            if group != last and not self._schedule.grouped:
                found.pop(group, None)
            if group not in found:
                found[group] = []
                batches.append(found[group])
            found[group].append(each)
            last = group
        elements = []
        for batch in batches:
            first = batch[0]
            records = tuple([each.record for each in batch])
            frame = ChangeBatch(
                self._client,
                first.entity,
                first.shard,
                first.topic,
                first.partition,
                self._keys[first.entity],
                records,
            ).encode()
            elements.append((self._shard_keys[first.shard], frame))
        self._bundle(0, elements)

    def _drain(self, *, late: int | None = None) -> None:
        """Hand on what waits between the stages, and what that gives in turn.

        Args:
            late: where a number is given, stages get nothing yet whose own number is odd and it even, or the
                other way round. What was kept back then comes last in, first out by where it came from.
        """
        for number in range(1, len(self._nodes)):
            waiting = self._pending[number]
            if waiting and (late is None or (number + late) % 2 == 0):
                self._pending[number] = {}
                sources = reversed(waiting) if self._is_late else iter(waiting)
                self._bundle(number, [element for source in sources for element in waiting[source]])
        self._is_late = late is not None

    def _bundle(self, number: int, elements: Sequence[Any]) -> None:
        """Run one bundle of one stage: each of its instances takes the keys that are its own."""
        parts: dict[int, list[Any]] = {}
        for element in elements:
            parts.setdefault(self._instance_of(element), []).append(element)
        node = self._nodes[number]
        for i, part in parts.items():
            self._memory.switch(i)
            dofn = self._instances.get((number, i))
            if dofn is None:
                dofn = self._instances[number, i] = node.instance()
                dofn.setup()
            dofn.start_bundle()
            for element in part:
                if node.states:
                    cells = self._cells.get((number, element[0]))
                    if cells is None:
                        cells = self._cells[number, element[0]] = Cells(node.states)
                    self._emit(number, element, dofn.process(element, **cells.arguments))
                else:
                    self._emit(number, element, dofn.process(element))
            self._emit(number, part[-1], dofn.finish_bundle())

    def _emit(self, number: int, element: Any, results: Iterable[Any] | None) -> None:
        outputs, outcome = self._nodes[number].outputs, self._outcome
        source = element[0] if isinstance(element, tuple) else b""
        for result in results or ():
            tag = None
            if isinstance(result, TaggedOutput):
                tag, result = result.tag, result.value  # noqa: PLW2901  (the same one, unwrapped)
            if isinstance(result, WindowedValue):
                result = result.value  # noqa: PLW2901
            for taker in outputs.get(tag, ()):
                if taker == MUTATIONS:
                    outcome.mutations.append(result[1])
                elif taker == LETTERS:
                    outcome.letters.append(result)
                else:
                    self._pending[taker].setdefault((number, source), []).append(result)

    def _instance_of(self, element: Any) -> int:
        count = self._schedule.instances
        if count == 1 or not isinstance(element, tuple) or not isinstance(element[0], bytes):
            return 0
        return crc32(element[0]) % count

    def _checkpoint(self) -> _Checkpoint:
        return _Checkpoint(
            {owner: cells.snapshot() for owner, cells in self._cells.items()},
            len(self._outcome.mutations),
            len(self._outcome.letters),
        )

    def _restore(self, kept: _Checkpoint) -> None:
        cells, self._cells = self._cells, {}
        for owner, snapshot in kept.cells.items():
            self._cells[owner] = cells[owner]
            cells[owner].restore(snapshot)
        self._pending = [{} for _ in self._nodes]
        del self._outcome.mutations[kept.mutations :]
        del self._outcome.letters[kept.letters :]

    def _tear_down(self) -> None:
        for (_, i), dofn in self._instances.items():
            self._memory.switch(i)
            dofn.teardown()
        self._instances = {}
