"""Run DoFns that want Beam's own state, timers or other parameters: one element a change, the slow path.

Beam's Python state costs about half a millisecond a cell and element, so such a DoFn sees some thousand
changes a second. It gets the same ChangeEvent as on the fast path, keyed by the entity's key; what its
`process` and its timers yield are mutations. There is no watermark: timers of processing time fire, those of
event time do not.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import apache_beam as beam
import msgspec
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.io.sinks.letters import row_json
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.guard import ClientRaised, RecordGuard
from tillstream.pipelines.isolation.steps import run_step
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, DeadLetterBatch, Mutation
from tillstream.pipelines.sharding import shard_key
from tillstream.transforms.flow_runner import EventReader, letter_of, mutations_of
from tillstream.transforms.flows import Flow, Kind, flows_of, registry_of
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.lifecycle import naming
from tillstream.transforms.output import contracts_of, numbered, row_stages
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.routing import MAIN, Launch, Message, Outputs, Router, typed
from tillstream.transforms.shard_state import Shard, ShardMemory, shared_memory, specs
from tillstream.transforms.writers import keys_of

__all__ = ["BEAM_STAGE", "BeamFlow"]

_encode = msgspec.msgpack.Encoder().encode
_KEYED = beam.typehints.Tuple[bytes, bytes]
_LETTERS = "letters"
_Made = TypeVar("_Made", Mutation, DeadLetter)


def _tag_of(flow: Flow) -> str:
    return f"beam_{flow.target}"


class _Router:
    """Send each change on its own, keyed by the entity's key."""

    def __init__(self, flow: Flow) -> None:
        self._tag = _tag_of(flow)

    def route(
        self,
        batch: ChangeBatch,
        state: Shard[StateEntry],  # noqa: ARG002  (the DoFn keeps its own)
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Return one message for each change, a batch of one."""
        replace = msgspec.structs.replace
        return [
            Message(self._tag, _encode(record.key), replace(batch, records=(record,)).encode())
            for record in batch.records
        ], ()

    def remembered(
        self,
        entity: str,  # noqa: ARG002  (as of `Router`)
        state: Shard[StateEntry],  # noqa: ARG002
    ) -> Sequence[tuple[Any, ...]]:
        """Return nothing: nobody can look into the DoFn's own state."""
        return ()

    def truncate(
        self,
        batch: ChangeBatch,  # noqa: ARG002
        state: Shard[StateEntry],  # noqa: ARG002
    ) -> Sequence[Message]:
        """Return nothing: the DoFn gets changes of rows."""
        return ()


class _KeyByShard(beam.DoFn):
    """Key mutations by the shard of the row's key, in the one spelling that its contract gives it."""

    def __init__(self, config: ClientConfig, flow: Flow) -> None:
        self._config = config
        self._target = flow.target
        self._seed = zlib.crc32(flow.target.encode())

    def setup(self) -> None:
        """Compile the contracts."""
        flows = flows_of(self._config, registry_of(self._config))
        keys = keys_of(self._config, flows, "beam", self._target)
        self._packer = MutationPacker(contracts_of(self._config), keys, {})

    def process(self, mutation: Mutation) -> Iterator[tuple[bytes, bytes]]:
        """Emit (shard key, Mutation frame)."""
        try:
            key = self._packer.check(mutation)[-1].key
        except RecordError:
            # Refused again where it is packed, and made a letter there.
            key = ()
        flink = self._config.flink
        shard = zlib.crc32(_encode(key), self._seed) % flink.shards
        yield shard_key(shard, flink.shards, flink.max_parallelism), mutation.encode()


class _Pack(beam.DoFn):
    """Check, pack and number the mutations of a shard."""

    HEAD, LOG = specs("packed")

    def __init__(self, config: ClientConfig, flow: Flow, generation: int | None) -> None:
        self._config = config
        self._flow = flow
        self._generation = generation

    def setup(self) -> None:
        """Compile the contracts."""
        flows = flows_of(self._config, registry_of(self._config))
        keys = keys_of(self._config, flows, "beam", self._flow.target)
        self._packer = MutationPacker(contracts_of(self._config), keys, row_stages(self._config))
        name = f"{self._config.client}/beam/{self._flow.target}"
        self._memory: ShardMemory[StateEntry] = shared_memory(name, None, StateEntry)

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[Any]:
        """Turn one mutation into a batch."""
        shard_key_, frame = element
        mutation = Mutation.decode(frame)
        shard = self._memory.open(shard_key_, head, log)
        number = int(shard_key_[1:].split(b"#", 1)[0])
        client, source = self._config.client, self._flow.source
        batch = ChangeBatch(client, source, number, mutation.topic, mutation.partition, (), ())
        letters: list[DeadLetter] = []
        try:
            self._packer.append(*self._packer.check(mutation))
        except RecordError as error:
            letters.append(_refused(client, mutation, error, self._flow))
        batches, more = self._packer.flush(batch)
        for each in batches:
            made = each if self._generation is None else numbered(each, shard.counters, self._generation)
            yield shard_key_, made.encode()
        shard.commit()
        if letters or more:
            refused = tuple(_of_attempt([*letters, *more], mutation.attempt))
            yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(refused).encode())


class BeamFlow(beam.PTransform):
    """Apply a flow's DoFn to (key, ChangeBatch frame of one change) pairs.

    Output: as of TransformChanges, (shard key, MutationBatch frame) under `MAIN`, and dead letters.

    Delivery guarantees:
        Exactly-once within the job: the DoFn's state and timers lie in the checkpoint that holds the read
        offsets. The order of a key's changes is kept. What a timer raises stops the job, because there is no
        record that a dead letter could keep. State is what the DoFn keeps, without a bound of ours.
    """

    def __init__(self, config: ClientConfig, flow: Flow, generation: int | None) -> None:
        super().__init__()
        self._config = config
        self._flow = flow
        self._generation = generation

    def expand(self, changes: beam.PCollection) -> dict[str, beam.PCollection]:
        """Add the client's DoFn, and what packs its mutations."""
        flow = self._flow
        made = changes | "Apply" >> beam.ParDo(_caught(self._config, flow.target)).with_outputs(
            _LETTERS, main=MAIN
        )
        made[_LETTERS].element_type = bytes
        packed = typed(
            made[MAIN]
            | "KeyByShard" >> beam.ParDo(_KeyByShard(self._config, flow)).with_output_types(_KEYED)
            | "Pack"
            >> beam.ParDo(_Pack(self._config, flow, self._generation)).with_outputs(DEAD_LETTERS, main=MAIN)
        )
        letters = (made[_LETTERS], packed[DEAD_LETTERS]) | "Letters" >> beam.Flatten()
        return {MAIN: packed[MAIN], DEAD_LETTERS: letters}


class _BeamStage:
    """Take the changes of flows whose DoFns ask for parameters of Beam's."""

    kind: Kind = "beam"

    def routers(
        self,
        config: ClientConfig,  # noqa: ARG002  (as of `Stage`)
        flows: Sequence[Flow],
        launch: Launch,  # noqa: ARG002
    ) -> Mapping[str, Sequence[Router]]:
        found: dict[str, list[Router]] = {}
        for flow in flows:
            found.setdefault(flow.source, []).append(_Router(flow))
        return found

    def tags(self, flows: Sequence[Flow]) -> Sequence[str]:
        return [_tag_of(flow) for flow in flows]

    def add(
        self, config: ClientConfig, flows: Sequence[Flow], transformed: Outputs, launch: Launch
    ) -> Iterator[Outputs]:
        for flow in flows:
            label = f"BeamFlow_{flow.target}"
            yield transformed[_tag_of(flow)] | label >> BeamFlow(config, flow, launch.generation)


BEAM_STAGE = _BeamStage()


class _Named(beam.DoFn):
    """Name the DoFn that comes after it in the order of classes, and bound what it does between records."""

    _tillstream_flow: Flow
    _tillstream_guard: RecordGuard

    def setup(self) -> None:
        with naming(self._tillstream_flow, "setup"):
            super().setup()

    def start_bundle(self) -> None:
        with naming(self._tillstream_flow, "start_bundle"):
            run_step(self._tillstream_guard, "start_bundle", super().start_bundle)

    def finish_bundle(self) -> Any:
        def finish() -> list[Any]:
            # Rows of a generator are made while it is watched.
            return list(finish_base() or ())

        finish_base = super().finish_bundle
        with naming(self._tillstream_flow, "finish_bundle"):
            return run_step(self._tillstream_guard, "finish_bundle", finish)

    def teardown(self) -> None:
        with naming(self._tillstream_flow, "teardown"):
            super().teardown()


def _caught(config: ClientConfig, target: str) -> beam.DoFn:
    """Return the client's DoFn, reading events out of frames, and with what it raises made dead letters."""
    flows = flows_of(config, registry_of(config))
    (flow,) = (each for found in flows.values() for each in found if each.target == target)
    assert flow.transform is not None  # copies have nothing to apply
    assert flow.info is not None
    name = flow.info.name
    base: type[beam.DoFn] = flow.transform

    class Caught(_Named, base):
        _tillstream_flow = flow

        def setup(self) -> None:
            self._tillstream_reader = EventReader(flow)
            self._tillstream_guard = RecordGuard(config.limits, name)
            super().setup()

        # Beam looks at the signature for the parameters that it must give.
        @functools.wraps(base.process)
        def process(self, element: tuple[bytes, bytes], *args: Any, **kwargs: Any) -> Iterable[Any]:
            batch = ChangeBatch.decode(element[1])
            (record,) = batch.records
            trace, guard = None, self._tillstream_guard
            guard.begin(batch)
            if guard.condemned is not None and record.offset in guard.condemned:
                strike = guard.condemned[record.offset]
                return [_letter(batch, record, strike.error(), flow, strike.trace)]
            try:
                event = self._tillstream_reader.event(batch, record)
                guard.enter(record)
                try:
                    try:
                        found = super().process(event, *args, **kwargs)
                    except RecordError as error:
                        raise ClientRaised from error
                    made = mutations_of(found, guard.mutations_max)
                    return made if batch.replay is None else _of_attempt(made, batch.replay.attempt)
                finally:
                    guard.leave()
                    guard.end()
            except RecordError as error:
                refused = error
            except BaseException as error:  # noqa: BLE001  # a client's code may raise anything
                refused, trace = guard.judge(error, record.offset)
            return [_letter(batch, record, refused, flow, trace)]

        def __reduce__(self) -> tuple[Any, ...]:
            # By name: the class is made here, and its module is found only where the config says.
            return _caught, (config, target)

    return Caught()


def _letter(
    batch: ChangeBatch, record: ChangeRecord, error: RecordError, flow: Flow, trace: str | None
) -> TaggedOutput:
    letter = letter_of(batch, record, error, flow, trace)
    return TaggedOutput(_LETTERS, DeadLetterBatch((letter,)).encode())


def _of_attempt(made: Iterable[_Made], attempt: int) -> list[_Made]:
    """Return what was made of a change that was given back then, so that it opens its letter anew."""
    return [msgspec.structs.replace(each, attempt=attempt) for each in made]


def _refused(client: str, mutation: Mutation, error: RecordError, flow: Flow) -> DeadLetter:
    row = mutation.row or {}
    return DeadLetter(
        client=client,
        entity=mutation.entity,
        step="transform",
        reason=error.reason,
        detail=error.detail,
        topic=mutation.topic,
        partition=mutation.partition,
        offset=mutation.offset,
        index=mutation.index,
        key=row_json(tuple(mutation.key), tuple(mutation.key.values())),
        payload=row_json(tuple(row), tuple(row.values())) if row else None,
        transform=flow.name,
    )
