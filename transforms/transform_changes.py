"""Turn change batches into mutation batches: the client's DoFn, then the contract."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.io.controls import CONTROLS
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
)
from tillstream.pipelines.transactions import GATHERED
from tillstream.transforms.contracts.compiled import CompiledContract, Values
from tillstream.transforms.contracts.unavailable import ANYTHING
from tillstream.transforms.copies import CopyBook, with_key_columns
from tillstream.transforms.deduplicate import REASONS, Deduplicator, Entry
from tillstream.transforms.flow_runner import FlowRunner, letter_of
from tillstream.transforms.flows import Flow, flows_of, registry_of
from tillstream.transforms.keyed_state import StateEntry, horizon_us
from tillstream.transforms.output import contracts_of, numbered, row_stages
from tillstream.transforms.packing import MutationPacker, encodable
from tillstream.transforms.replays.again import FlowsAgain
from tillstream.transforms.replays.holding import HoldBook, Holds, Sieve
from tillstream.transforms.replays.replaying import GivenBack, Replayer, held_letter
from tillstream.transforms.resyncs import Resyncs, passed_from
from tillstream.transforms.routing import Launch
from tillstream.transforms.shard_state import Shard, ShardMemory, shared_memory, specs
from tillstream.transforms.stages import routers_of
from tillstream.transforms.transactions.sharing import ShareMaker
from tillstream.transforms.truncates import keeping_of, without_truncated
from tillstream.transforms.truncating import Truncator
from tillstream.transforms.writers import keys_of

__all__ = ["TransformChanges"]

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode
_UPSERT = MutationKind.UPSERT


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
        bounded: whether the run ends.
        gathers: whether rows wait for their transactions; then the output is (GATHERED, Share frame), and
            batches get their numbers where they are let go.
    """

    HEAD, LOG = specs("shard")
    CLIENT_HEAD, CLIENT_LOG = specs("client")
    HELD_HEAD, HELD_LOG = specs("held")

    def __init__(
        self,
        config: ClientConfig,
        generation: int | None = None,
        *,
        bounded: bool = False,
        gathers: bool = False,
    ) -> None:
        self._config = config
        self._gathers = gathers
        self._generation = generation
        self._bounded = bounded
        self._failed = Metrics.counter("tillstream", "events_refused")
        self._dropped = {reason: Metrics.counter("tillstream", f"events_{reason}") for reason in REASONS}

    def setup(self) -> None:
        """Compile the contracts and set up the client's DoFns."""
        config = self._config
        self._shares = ShareMaker(config) if self._gathers else None
        self._contracts = contracts_of(config)
        flows = flows_of(config, registry_of(config))
        self._packer = MutationPacker(self._contracts, keys_of(config, flows, "copy"), row_stages(config))
        self._flows = flows
        launch = Launch(self._generation, self._bounded)
        self._routers = routers_of(config, flows, launch)
        self._runners = {
            flow.target: FlowRunner(flow, self._packer, config.limits)
            for each in flows.values()
            for flow in each
            if flow.kind == "record"
        }
        for runner in self._runners.values():
            runner.setup()
        dedup = config.dedup
        self._keeping = {} if dedup.by == "none" else keeping_of(config, flows)
        self._deduplicator = (
            None if dedup.by == "none" else Deduplicator(dedup.by, dedup.horizon_us, self._keeping)
        )
        self._holds = HoldBook(config)
        self._copies = CopyBook(config)
        self._keyless = {name for name, each in config.entities.items() if each.keyless is not None}
        self._again = FlowsAgain(config, self._runners, self._packer, launch, self._pass)
        self._replayer = Replayer(flows, self._packer, self._deduplicator)
        self._resyncs = Resyncs(config, flows)
        self._truncator = Truncator(config, flows, self._runners, self._packer, self._contracts, self._pass)
        self._memory: ShardMemory[Entry] = shared_memory(config.client, dedup.horizon_us, Entry)
        states = {
            f"{target}/{name}": state
            for target, runner in self._runners.items()
            for name, state in runner.flow.parameters.states.items()
        }
        self._states: ShardMemory[StateEntry] | None = None
        if states or any(self._routers.values()) or self._copies.entities:
            name = f"{config.client}/state"
            # Routers remember rows for longer than any cell of state asks for.
            horizon = None if any(self._routers.values()) else horizon_us(states)
            self._states = shared_memory(name, horizon, StateEntry)

    def start_bundle(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.start_bundle()

    def process(  # noqa: PLR0917  (Beam gives each cell as a parameter)
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
        client_head: Any = beam.DoFn.StateParam(CLIENT_HEAD),
        client_log: Any = beam.DoFn.StateParam(CLIENT_LOG),
        held_head: Any = beam.DoFn.StateParam(HELD_HEAD),
        held_log: Any = beam.DoFn.StateParam(HELD_LOG),
    ) -> Iterator[Any]:
        """Transform one batch."""
        shard_key, frame = element
        batch = ChangeBatch.decode(frame)
        shard = self._memory.open(shard_key, head, log)
        state = None if self._states is None else self._states.open(shard_key, client_head, client_log)
        is_replay = batch.replay is not None
        holds = self._holds.open(shard_key, shard.counters, held_head, held_log, replays=is_replay)
        if not is_replay:
            made = self._take(batch, frame, shard, state, holds)
        elif batch.replay is not None and batch.replay.action in CONTROLS:
            made = GivenBack()
            swept = self._resyncs.settle(batch, shard)
            if swept is not None:
                made = self._take(swept, frame, shard, state, holds)
                made.mutations = self._resyncs.sifted(made.mutations)
        else:
            made = self._replayer.give_back(batch, shard, holds, partial(self._again.apply, state=state))
        mutations = made.mutations
        outputs = self._outputs(shard_key, batch, mutations, shard)
        shard.commit()
        if state is not None:
            state.commit()
        if holds is not None:
            holds.commit()
        for message in made.messages:
            yield TaggedOutput(message.tag, (message.key, message.frame))
        yield from outputs
        if made.letters:
            self._failed.inc(sum(letter.status == "open" for letter in made.letters))
            yield TaggedOutput(DEAD_LETTERS, DeadLetterBatch(tuple(made.letters)).encode())

    def finish_bundle(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.finish_bundle()

    def teardown(self) -> None:
        """Tell the client's DoFns."""
        for runner in self._runners.values():
            runner.teardown()
        self._again.teardown()

    def _outputs(
        self, shard_key: bytes, batch: ChangeBatch, mutations: list[MutationBatch], shard: Shard[Entry]
    ) -> list[tuple[bytes, bytes]]:
        """Return what goes on of a batch as it was read, numbered where nothing waits for more."""
        if self._shares is not None:
            share = self._shares.share(batch, mutations)
            return [] if share is None else [(GATHERED, share.encode())]
        if self._generation is not None:
            mutations = [numbered(each, shard.counters, self._generation) for each in mutations]
        return [(shard_key, each.encode()) for each in mutations]

    def _take(
        self,
        batch: ChangeBatch,
        frame: bytes,
        shard: Shard[Entry],
        state: Shard[StateEntry] | None,
        holds: Holds | None,
    ) -> GivenBack:
        """Apply all flows to a batch as it was read."""
        read = batch
        truncated: list[tuple[Any, ...]] = []
        if self._deduplicator is not None:
            batch, truncated = self._without_repeated(batch, shard, self._deduplicator)
        if batch.entity in self._copies.entities and batch.records:
            assert state is not None  # kept for them
            batch, truncated = self._copies.apply(batch, state, passed_from(shard, batch.entity))
        flows, made = self._flows[batch.entity], GivenBack()
        again = partial(self._again.apply, state=state)
        if holds is not None:
            self._replayer.let_go(flows, holds, again, made)
        if batch.records and batch.records[0].operation is Operation.TRUNCATE:
            shards = (shard, state, holds)
            self._truncator.apply(batch, truncated, shards, self._routers[batch.entity], made)
            flows = ()
        keeping = self._keeping.get(batch.entity, frozenset())
        standing = without_truncated(batch, shard) if keeping else batch
        for flow in flows:
            own = batch if flow.target in keeping else standing
            sieve = None
            if holds is not None and flow.target in holds.limits:
                sieve = Sieve(holds, flow.target, own, partial(self._replayer.is_solved, shard))
            made.letters += self._apply(own, frame, flow, state, sieve)
            if sieve is not None:
                made.letters += [held_letter(own, record, flow) for record in sieve.full]
        for router in self._routers[batch.entity] if flows else ():
            assert state is not None  # kept for whoever has routers
            messages, refused = router.route(standing, state)
            made.messages += messages
            made.letters += refused
        mutations, refused = self._packer.flush(batch)
        made.mutations += mutations
        made.letters += refused
        if holds is not None and read.records:
            self._replayer.give_back_due(read, shard, holds, again, made)
        return made

    def _apply(
        self,
        batch: ChangeBatch,
        frame: bytes,
        flow: Flow,
        state: Shard[StateEntry] | None,
        sieve: Sieve | None = None,
    ) -> list[DeadLetter]:
        if flow.kind == "record":
            return self._runners[flow.target].run(batch, state, sieve)
        if flow.kind != "copy":
            return []
        whole = sieve is None or not sieve.active
        return [] if whole and self._pass_all(batch, frame, flow) else self._pass(batch, flow, sieve)

    def _without_repeated(
        self, batch: ChangeBatch, shard: Shard[Entry], deduplicator: Deduplicator
    ) -> tuple[ChangeBatch, list[tuple[Any, ...]]]:
        """Return what is kept of a batch, and keys of rows that a truncate has deleted."""
        result = deduplicator.keep(batch, shard)
        for reason, count in result.dropped.items():
            self._dropped[reason].inc(count)
        return msgspec.structs.replace(batch, records=tuple(result.records)), result.truncated

    def _pass_all(self, batch: ChangeBatch, frame: bytes, flow: Flow) -> bool:
        """Check all rows in one go; pass none of them, and return False, where one may be refused."""
        contract = self._contracts[flow.target]
        if contract is None or contract.unavailable.may_be_in(frame):
            return False
        contract.declare(batch.schema)
        if flow.target in self._keyless:
            batch = with_key_columns(batch)
        records = batch.records
        decoded = contract.decode_many([record.after for record in records if record.after is not None])
        if decoded is None:
            return False
        rows, key_of = iter(decoded), contract.key_of
        try:
            packed = [
                MutationRecord(
                    _UPSERT,
                    key_of(row := next(rows)),
                    row,
                    each.position,
                    each.source_time_us,
                    each.offset,
                    each.index,
                )
                if each.after is not None
                else _checked(batch, each, contract)[1]
                for each in records
            ]
        except RecordError:
            return False
        if packed:
            self._packer.extend(flow.target, contract.shape, packed, contract.evolved)
        return True

    def _pass(self, batch: ChangeBatch, flow: Flow, sieve: Sieve | None = None) -> list[DeadLetter]:
        """Check rows in one pass: without a DoFn nobody wants to see them as dicts."""
        letters: list[DeadLetter] = []
        contract = self._contracts[flow.target]
        append = self._packer.append_evolved
        if contract is not None:
            contract.declare(batch.schema)
        if flow.target in self._keyless:
            batch = with_key_columns(batch)
        for record in batch.records:
            if sieve is not None and sieve.keeps_back(record):
                continue
            try:
                columns, packed, unknown = _checked(batch, record, contract)
            except RecordError as error:
                letter = letter_of(batch, record, error, flow)
                if sieve is None or sieve.refused(record, letter):
                    letters.append(letter)
            else:
                evolved = contract.evolved if contract and columns else ()
                append(flow.target, columns, packed, evolved, unknown)
        return letters


def _checked(
    batch: ChangeBatch, record: ChangeRecord, contract: CompiledContract | None
) -> tuple[tuple[str, ...], MutationRecord, tuple[str, ...]]:
    """Return the columns of a change's mutation, the mutation, and columns that were not sent."""
    kind, key = MutationKind.UPSERT, record.key
    columns: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    values: Values | None = None
    if record.after is None:
        kind = MutationKind.DELETE
        if contract is not None:
            key = contract.convert_key(dict(zip(batch.key_columns, key, strict=True)))
    elif contract is not None:
        row, unknown = contract.unavailable.settle(record)
        values = contract.decode_without(row, unknown) if unknown else contract.decode(row)
        columns = contract.shape  # which a row may have changed
        key = contract.key_of(values)
    else:
        found = _decode_row(ANYTHING.whole(record).after or b"")
        columns, values = tuple(found), encodable(tuple(found.values()))
    place = (record.position, record.source_time_us, record.offset, record.index)
    return columns, MutationRecord(kind, key, values, *place), unknown


def _decode_row(row: bytes) -> dict[str, Any]:
    try:
        return _decode_json(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected a row") from error
