"""Turn change batches into mutation batches: the client's DoFn, then the contract."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.pipelines.errors import RecordError, TransformError
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    Mutation,
    MutationBatch,
    MutationKind,
    MutationRecord,
)
from tillstream.transforms.clients import bundled_transforms
from tillstream.transforms.contracts import CompiledContract, Values, has_placeholders, refuse_placeholders
from tillstream.transforms.deduplicate import REASONS, Deduplicator, Entry
from tillstream.transforms.packing import MutationPacker, encodable
from tillstream.transforms.shard_state import Shard, ShardMemory, shared_memory, specs

__all__ = ["TransformChanges", "check_dofn"]

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


_GENERATION, _FIRST = "generation:", "first:"
_UPSERT = MutationKind.UPSERT
_LIFECYCLE = ("start_bundle", "finish_bundle")


def check_dofn(name: str, dofn: type[beam.DoFn]) -> None:
    """Refuse a DoFn that needs more of Beam than the batch path gives it.

    Raises:
        TransformError: if `process` takes anything but the change event, such as state or timers, or if
            a bundle's start or end yields, because what it yields would belong to no change.
    """
    parameters = list(inspect.signature(dofn.process).parameters.values())[1:]
    extra = [parameter.name for parameter in parameters[1:]]
    if not parameters or extra:
        found = ", ".join(extra) or "nothing"
        raise TransformError(f"transform {name!r}: process takes {found}, expected the change event alone")
    for method in _LIFECYCLE:
        if inspect.isgeneratorfunction(getattr(dofn, method)):
            raise TransformError(f"transform {name!r}: {method} yields, expected process alone to do so")


class TransformChanges(beam.DoFn):
    """Apply each entity's transform and contract to the changes of a shard.

    Input: (shard key, ChangeBatch frame). Output: (shard key, MutationBatch frame) in the input's order, and
    dead letters for changes that the transform or the contract refuses; the rest of a batch goes on.
    Repeated and overtaken changes are dropped first, as the client's `dedup` says.

    Delivery guarantees:
        Exactly-once within the job: what was seen and the numbers given out lie in the same checkpoint as
        the read offsets. Order within a shard, and so within a key, is kept. State and memory are those of
        `ShardMemory`. What a DoFn keeps outside of Beam's state is lost with its process.

    Args:
        config: the client's.
        generation: of this launch, milliseconds since 1970 UTC; batches then get numbers, for sinks that
            tell them apart.
    """

    HEAD, LOG = specs("shard")

    def __init__(self, config: ClientConfig, generation: int | None = None) -> None:
        self._config = config
        self._generation = generation
        self._failed = Metrics.counter("tillstream", "events_refused")
        self._dropped = {reason: Metrics.counter("tillstream", f"events_{reason}") for reason in REASONS}

    def setup(self) -> None:
        """Compile the contracts and set up the client's DoFns."""
        registry = bundled_transforms()
        self._contracts: dict[str, CompiledContract | None] = {}
        self._transforms: dict[str, beam.DoFn] = {}
        for name, entity in self._config.entities.items():
            columns = entity.columns()
            self._contracts[name] = CompiledContract(name, columns, entity.key) if columns else None
            if entity.transform is not None:
                self._transforms[name] = registry.get(entity.transform)()
                self._transforms[name].setup()
        dedup = self._config.dedup
        self._deduplicator = None if dedup.by == "none" else Deduplicator(dedup.by, dedup.horizon_us)
        self._memory: ShardMemory[Entry] = shared_memory(self._config.client, dedup.horizon_us, Entry)
        keys = {name: tuple(entity.key) for name, entity in self._config.entities.items()}
        self._packer = MutationPacker(self._contracts, keys)

    def start_bundle(self) -> None:
        """Tell the client's DoFns."""
        for dofn in self._transforms.values():
            dofn.start_bundle()

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[Any]:
        """Transform one batch."""
        shard_key, frame = element
        batch = ChangeBatch.decode(frame)
        shard = self._memory.open(shard_key, head, log)
        if self._deduplicator is not None:
            batch = self._without_repeated(batch, shard, self._deduplicator)
        dofn = self._transforms.get(batch.entity)
        if dofn is not None:
            letters = self._transform(batch, dofn)
        elif self._pass_all(batch, frame):
            letters = []
        else:
            letters = self._pass(batch)
        mutations = list(self._packer.flush(batch))
        if self._generation is not None:
            mutations = [_numbered(each, shard.counters, self._generation) for each in mutations]
        shard.commit()
        for each in mutations:
            yield shard_key, each.encode()
        if letters:
            self._failed.inc(len(letters))
            yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(letters)).encode())

    def finish_bundle(self) -> None:
        """Tell the client's DoFns."""
        for dofn in self._transforms.values():
            dofn.finish_bundle()

    def teardown(self) -> None:
        """Tell the client's DoFns."""
        for dofn in self._transforms.values():
            dofn.teardown()

    def _without_repeated(
        self, batch: ChangeBatch, shard: Shard[Entry], deduplicator: Deduplicator
    ) -> ChangeBatch:
        result = deduplicator.keep(batch, shard)
        for reason, count in result.dropped.items():
            self._dropped[reason].inc(count)
        return msgspec.structs.replace(batch, records=tuple(result.records))

    def _transform(self, batch: ChangeBatch, dofn: beam.DoFn) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        name = self._config.entities[batch.entity].transform
        for record in batch.records:
            try:
                refuse_placeholders(record.after)
                # All of an event's mutations or none: half of them would be neither delivered nor lost.
                for packed in [self._packer.check(each) for each in _mutations(dofn, batch.event(record))]:
                    self._packer.append(*packed)
            except RecordError as error:
                letters.append(_letter(batch, record, error, name))
            except MemoryError:
                # The limit of the process is no fault of the record that met it.
                raise
            except Exception as error:  # noqa: BLE001  # a client's code may raise anything; it must not stop the job
                refused = RecordError("transform_failed", f"{type(error).__name__}: {error}")
                letters.append(_letter(batch, record, refused, name, traceback.format_exc()))
        return letters

    def _pass_all(self, batch: ChangeBatch, frame: bytes) -> bool:
        """Check all rows in one go; pass none of them, and return False, where one may be refused."""
        contract = self._contracts[batch.entity]
        if contract is None or has_placeholders(frame):
            return False
        records = batch.records
        decoded = contract.decode_many([record.after for record in records if record.after is not None])
        if decoded is None:
            return False
        rows, key_of = iter(decoded), contract.key_of
        try:
            packed = [
                MutationRecord(
                    _UPSERT, key_of(row := next(rows)), row, each.position, each.source_time_us, each.offset
                )
                if each.after is not None
                else _checked(batch, each, contract)[1]
                for each in records
            ]
        except RecordError:
            return False
        if packed:
            self._packer.extend(batch.entity, contract.columns, packed)
        return True

    def _pass(self, batch: ChangeBatch) -> list[DeadLetter]:
        """Check rows in one pass: without a DoFn nobody wants to see them as dicts."""
        letters: list[DeadLetter] = []
        contract = self._contracts[batch.entity]
        append = self._packer.append
        for record in batch.records:
            try:
                refuse_placeholders(record.after)
                columns, packed = _checked(batch, record, contract)
            except RecordError as error:
                letters.append(_letter(batch, record, error))
            else:
                append(batch.entity, columns, packed)
        return letters


def _numbered(batch: MutationBatch, counters: dict[str, int], generation: int) -> MutationBatch:
    """Give a batch the next number of its entity; names of entities hold no colon."""
    if counters.get(_GENERATION) != generation:
        for name in [each for each in counters if each.startswith(_FIRST)]:
            del counters[name]
        counters[_GENERATION] = generation
    sequence = counters[batch.entity] = counters.get(batch.entity, 0) + 1
    first = counters.setdefault(_FIRST + batch.entity, sequence)
    return msgspec.structs.replace(batch, sequence=sequence, generation=generation, first=first)


def _checked(
    batch: ChangeBatch, record: ChangeRecord, contract: CompiledContract | None
) -> tuple[tuple[str, ...], MutationRecord]:
    kind, key = MutationKind.UPSERT, record.key
    columns: tuple[str, ...] = ()
    values: Values | None = None
    if record.after is None:
        kind = MutationKind.DELETE
        if contract is not None:
            key = contract.convert_key(dict(zip(batch.key_columns, key, strict=True)))
    elif contract is not None:
        columns, values = contract.columns, contract.decode(record.after)
        key = contract.key_of(values)
    else:
        row = _decode_row(record.after)
        columns, values = tuple(row), encodable(tuple(row.values()))
    return columns, MutationRecord(kind, key, values, record.position, record.source_time_us, record.offset)


def _decode_row(row: bytes) -> dict[str, Any]:
    try:
        return _decode_json(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected a row") from error


def _mutations(dofn: beam.DoFn, event: ChangeEvent) -> list[Mutation]:
    found = dofn.process(event)
    mutations = [] if found is None else list(found)
    for index, mutation in enumerate(mutations):
        if not isinstance(mutation, Mutation):
            raise RecordError(
                "transform_failed",
                f"found a {type(mutation).__name__} from process, expected event.upsert() or event.delete()",
            )
        if mutation.index != index:
            mutations[index] = msgspec.structs.replace(mutation, index=index)
    return mutations


def _letter(
    batch: ChangeBatch,
    record: ChangeRecord,
    error: RecordError,
    transform: str | None = None,
    trace: str | None = None,
) -> DeadLetter:
    payload = b'{"op":"%b","before":%b,"after":%b}' % (
        record.operation.value.encode(),
        record.before or b"null",
        record.after or b"null",
    )
    return DeadLetter(
        client=batch.client,
        entity=batch.entity,
        step="transform",
        reason=error.reason,
        detail=error.detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        key=msgspec.json.encode(dict(zip(batch.key_columns, record.key, strict=True))),
        payload=payload,
        transform=transform,
        traceback=trace,
    )
