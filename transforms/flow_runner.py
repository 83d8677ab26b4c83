"""Apply a client's DoFn to the changes of a batch, record by record."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import apache_beam as beam
import msgspec

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.guard import ClientRaised, RecordGuard
from tillstream.pipelines.isolation.steps import run_step
from tillstream.pipelines.records import ChangeBatch, ChangeEvent, ChangeRecord, DeadLetter, Mutation
from tillstream.transforms.contracts.evolving import contract_for
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.contracts.unavailable import ANYTHING
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateCells, StateEntry
from tillstream.transforms.lifecycle import naming
from tillstream.transforms.packing import HALF, MutationPacker
from tillstream.transforms.replays.holding import Sieve
from tillstream.transforms.shard_state import Shard

__all__ = ["EventReader", "FlowRunner", "letter_of", "mutations_of"]


class EventReader:
    """Decode changes into the events that a flow's DoFn sees: typed where it has an input contract.

    Args:
        flow: whose input they are.
    """

    def __init__(self, flow: Flow) -> None:
        self._target = flow.target
        model = None if flow.info is None else flow.info.input
        columns = () if model is None else columns_of_model(model)
        self._contract = contract_for(flow.source, columns, (), flow.evolution) if model else None

    def event(self, batch: ChangeBatch, record: ChangeRecord) -> ChangeEvent:
        """Return the event of one change; raises RecordError where its row breaks the input contract."""
        contract, target = self._contract, self._target
        if contract is None:
            return batch.event(ANYTHING.whole(record), target)
        contract.declare(batch.schema)
        try:
            row = contract.unavailable.known(record)
            after = None if row is None else contract.typed(row)
        except RecordError as error:
            raise RecordError(error.reason, f"the transform's input: {error.detail}") from error
        before = None
        if record.before is not None:
            # Of tables without REPLICA IDENTITY FULL Debezium sends the key with made-up values beside it,
            # such as an empty text for a UUID (PostgreSQL connector, "Replica identity"): that is no row.
            with suppress(RecordError):
                before = contract.typed_loosely(record.before)
        return batch.typed_event(record, before, after, target)


class FlowRunner:
    """Hold one DoFn, and call it.

    Args:
        flow: which DoFn, and what it makes rows of.
        packer: takes the rows.
        limits: the client's.
        stops: whether the job ends with what the DoFn raises outside of records.
    """

    def __init__(
        self, flow: Flow, packer: MutationPacker, limits: Limits | None = None, *, stops: bool = True
    ) -> None:
        assert flow.transform is not None  # copies have none to call
        assert flow.info is not None
        self.flow = flow
        self.stops = stops
        with naming(flow, "its constructor", stops=stops):
            self.dofn: beam.DoFn = flow.transform()
        self._guard = RecordGuard(limits or Limits(), flow.info.name)
        self._packer = packer
        self._reader = EventReader(flow)
        states = flow.parameters.states
        self._cells = StateCells(flow.info.unversioned, states) if states else None

    def run(
        self, batch: ChangeBatch, state: Shard[StateEntry] | None, sieve: Sieve | None = None
    ) -> list[DeadLetter]:
        """Apply the DoFn to all changes of a batch; return the dead letters of those that it refuses.

        Args:
            batch: of the flow's source.
            state: the shard's state of clients' transforms; None where none of them asks for any.
            sieve: keeps changes of held keys back, where the flow holds any.
        """
        letters = []
        self._guard.begin(batch)
        try:
            for record in batch.records:
                if sieve is not None and sieve.keeps_back(record):
                    continue
                letter = self._apply(batch, record, state, {})
                if letter is not None and (sieve is None or sieve.refused(record, letter)):
                    letters.append(letter)
        finally:
            self._guard.end()
        return letters

    def apply(
        self,
        batch: ChangeBatch,
        record: ChangeRecord,
        state: Shard[StateEntry] | None,
        arguments: Mapping[str, Any],
    ) -> DeadLetter | None:
        """Apply the DoFn to one change; return its dead letter where it is refused.

        Args:
            batch: that the change came in.
            record: the change.
            state: as of `run`.
            arguments: for parameters of `process` beside the event and its state.
        """
        self._guard.begin(batch)
        try:
            return self._apply(batch, record, state, arguments)
        finally:
            self._guard.end()

    def remembered(self, entity: str, state: Shard[StateEntry]) -> Iterator[tuple[Any, ...]]:
        """Yield the keys of an entity of which the DoFn keeps state."""
        if self._cells is not None:
            yield from self._cells.keys(state, entity)

    def setup(self) -> None:
        """Set up the DoFn; raises TransformError where it raises."""
        with naming(self.flow, "setup", stops=self.stops):
            self.dofn.setup()

    def start_bundle(self) -> None:
        """Tell the DoFn; raises TransformError where it raises, or takes longer than a record may."""
        with naming(self.flow, "start_bundle", stops=self.stops):
            run_step(self._guard, "start_bundle", self.dofn.start_bundle)

    def finish_bundle(self) -> None:
        """Tell the DoFn; raises TransformError where it raises, or takes longer than a record may."""
        with naming(self.flow, "finish_bundle", stops=self.stops):
            run_step(self._guard, "finish_bundle", self.dofn.finish_bundle)

    def teardown(self) -> None:
        """Tear the DoFn down; raises TransformError where it raises."""
        with naming(self.flow, "teardown", stops=self.stops):
            self.dofn.teardown()

    def _apply(
        self,
        batch: ChangeBatch,
        record: ChangeRecord,
        state: Shard[StateEntry] | None,
        arguments: Mapping[str, Any],
    ) -> DeadLetter | None:
        guard = self._guard
        if guard.condemned is not None and record.offset in guard.condemned:
            strike = guard.condemned[record.offset]
            return letter_of(batch, record, strike.error(), self.flow, strike.trace)
        try:
            event = self._reader.event(batch, record)
            cells = {}
            if self._cells is not None and state is not None:
                cells = self._cells.open(state, batch.entity, record.key)
            # All of an event's mutations or none: half of them would be neither delivered nor lost.
            check = self._packer.check
            # In place of guard.enter and guard.leave: this is the hottest loop of all.
            guard.words[0] = record.offset
            guard.token = record
            try:
                try:
                    found = self.dofn.process(event, **cells, **arguments)
                except RecordError as error:
                    raise ClientRaised from error
                packed = [check(each) for each in mutations_of(found, guard.mutations_max, record.index)]
            finally:
                guard.token = None
                if guard.interrupted:
                    guard.leave()
            if self._cells is not None and state is not None:
                self._cells.keep(state, batch.entity, record.key, cells, record.source_time_us)
        except RecordError as error:
            return letter_of(batch, record, error, self.flow)
        except BaseException as error:  # noqa: BLE001  # a client's code may raise anything; it must not stop the job
            return self._refuse(batch, record, error)
        for each in packed:
            self._packer.append(*each)
        return None

    def _refuse(self, batch: ChangeBatch, record: ChangeRecord, error: BaseException) -> DeadLetter:
        refused, trace = self._guard.judge(error, record.offset)
        return letter_of(batch, record, refused, self.flow, trace)


def mutations_of(found: Any, mutations_max: int, half: int = 0) -> list[Mutation]:
    """Return what `process` returned as mutations, numbered; raises RecordError where it is anything else.

    Args:
        found: what it returned.
        mutations_max: past so many a generator that never ends is not waited for.
        half: number of the change among those that one message is.
    """
    try:
        mutations = [] if found is None else list(itertools.islice(found, mutations_max + 1))
    except RecordError as error:
        raise ClientRaised from error
    if len(mutations) > mutations_max:
        close = getattr(found, "close", None)
        if close is not None:
            # Here, where it is timed; else it would be closed when nobody watches any more.
            close()
        raise RecordError(
            "too_many_mutations",
            f"process made more than {mutations_max} mutations, limits.mutations_per_record_max",
        )
    for place, mutation in enumerate(mutations):
        index = place + half * HALF
        if not isinstance(mutation, Mutation):
            raise RecordError(
                "transform_failed",
                f"found a {type(mutation).__name__} from process, expected event.upsert() or event.delete()",
            )
        if mutation.index != index:
            mutations[place] = msgspec.structs.replace(mutation, index=index)
    return mutations


def letter_of(
    batch: ChangeBatch,
    record: ChangeRecord,
    error: RecordError,
    flow: Flow,
    trace: str | None = None,
) -> DeadLetter:
    """Return the dead letter of a change that a flow refuses."""
    payload = b'{"op":"%b","before":%b,"after":%b}' % (
        record.operation.value.encode(),
        record.before or b"null",
        record.after or b"null",
    )
    return DeadLetter(
        client=batch.client,
        entity=flow.target,
        step="transform",
        reason=error.reason,
        detail=error.detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        index=record.index,
        key=msgspec.json.encode(dict(zip(batch.key_columns, record.key, strict=True))),
        payload=payload,
        transform=flow.name,
        traceback=trace,
        position=record.position,
        source_time_us=record.source_time_us,
        source_entity=None if batch.entity == flow.target else batch.entity,
        attempt=0 if batch.replay is None else batch.replay.attempt,
    )
