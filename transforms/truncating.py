"""Make of a truncate what each flow of its entity makes of deleted rows, and one mutation for all others.

The rows that a shard knows go through the flows as deletes, so that what remembers rows (a DoFn's state,
aggregates, lookups) lets them go. Those that it no longer knows are deleted by the sinks, by the positions of
their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import msgspec
from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.io.sinks import keeps_positions
from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeRecord,
    DeadLetter,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
)
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.deduplicate import Entry
from tillstream.transforms.flow_runner import FlowRunner
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.replays.holding import Holds
from tillstream.transforms.replays.replaying import GivenBack
from tillstream.transforms.routing import Router
from tillstream.transforms.shard_state import Shard

__all__ = ["Truncator", "swept_by"]

# Of keys: a table may have many, and what is made of them goes on in batches.
_PART_MAX = 5000
_encode = msgspec.msgpack.Encoder().encode
_replace = msgspec.structs.replace


def swept_by(flows: Mapping[str, Sequence[Flow]]) -> Mapping[str, Sequence[str]]:
    """Return the entities whose rows a truncate of each entity deletes, whether the rows are known or not.

    They are those that are made of its changes alone, row by row: of others nobody knows which rows are its.
    """
    sources: dict[str, set[str]] = {}
    later: set[str] = set()
    for flow in [flow for each in flows.values() for flow in each]:
        outputs = () if flow.info is None else flow.info.outputs
        for name in {flow.target, *(each for each in outputs if each is not None)}:
            sources.setdefault(name, set()).add(flow.source)
            if flow.kind not in ("copy", "record"):
                later.add(name)
    return {
        source: sorted(name for name, found in sources.items() if found == {source} and name not in later)
        for source in flows
    }


class Truncator:
    """Apply truncates to all flows of an entity.

    Args:
        config: the client's.
        flows: its flows.
        runners: of record flows, by target.
        packer: that runners and `copy` append to; empty.
        contracts: of each entity.
        copy: passes the changes of a batch as they are.
    """

    def __init__(  # noqa: PLR0917  (as TransformChanges has them)
        self,
        config: ClientConfig,
        flows: Mapping[str, Sequence[Flow]],
        runners: Mapping[str, FlowRunner],
        packer: MutationPacker,
        contracts: Mapping[str, CompiledContract | None],
        copy: Callable[[ChangeBatch, Flow], list[DeadLetter]],
    ) -> None:
        self._flows = flows
        self._runners = runners
        self._packer = packer
        self._copy = copy
        self._shards = config.flink.shards
        # Of these the counts tell all rows that there are, by keys that deduplication does not know.
        self._counted = {name for name, entity in config.entities.items() if entity.keyless == "full_row"}
        self._knows_rows = config.dedup.by == "position"
        self._stale = Metrics.counter("tillstream", "events_stale")
        kept = {name for name, entity in config.entities.items() if entity.on_truncate == "keep"}
        swept = swept_by(flows).items()
        self._swept = {source: [name for name in names if name not in kept] for source, names in swept}
        self._keys = {name: tuple(entity.key) for name, entity in config.entities.items()}
        self._columns = {name: () if each is None else each.columns for name, each in contracts.items()}
        # Sinks that keep a log: who reads it may know nothing of truncates, or not in what order rows came.
        self._logs = {
            name: tuple(sink for sink in entity.sinks if not keeps_positions(config.sinks[sink].type))
            for name, entity in config.entities.items()
            if name not in kept
        }

    def apply(
        self,
        batch: ChangeBatch,
        keys: Sequence[tuple[Any, ...]],
        shards: tuple[Shard[Entry], Shard[StateEntry] | None, Holds | None],
        routers: Sequence[Router],
        made: GivenBack,
    ) -> None:
        """Apply one truncate.

        Args:
            batch: of the truncate alone.
            keys: of the rows that the shard knows and that it deletes.
            shards: what the shard has seen, the state of clients' transforms where any asks for such, and
                its held keys where there may be any.
            routers: of the entity.
            made: takes what comes of it: deletes first, the truncates of whole entities last.
        """
        (record,) = batch.records
        shard, state, holds = shards
        # Of one behind the horizon nobody knows whether what is remembered came before it.
        is_late = shard.floor_us is not None and record.source_time_us < shard.floor_us
        if self._knows_rows and not is_late:
            if state is not None and batch.entity not in self._counted:
                keys = self._with_remembered(batch.entity, keys, shard, state, routers)
            if holds is not None:
                self._let_go(batch.entity, keys, shard, holds)
        # For all that shards make of one event: each has an identity of its own, and they rise.
        numbers = count(batch.shard, self._shards)
        for part in _deletes(batch, keys):
            for flow in self._flows[batch.entity]:
                self._delete(part, flow, state, numbers, made)
            for router in routers:
                assert state is not None  # kept for whoever has routers
                messages, refused = router.route(part, state)
                made.messages += messages
                made.letters += _numbered(refused, numbers)
        for router in routers:
            assert state is not None  # as above
            made.messages += router.truncate(batch, state)
        for name in self._swept[batch.entity]:
            made.mutations.append(self._truncate(batch, name, record, next(numbers)))

    def _with_remembered(
        self,
        entity: str,
        keys: Sequence[tuple[Any, ...]],
        shard: Shard[Entry],
        state: Shard[StateEntry],
        routers: Sequence[Router],
    ) -> Sequence[tuple[Any, ...]]:
        """Add the keys that flows remember for longer than the horizon; those known now are newer."""
        runners = [self._runners[flow.target] for flow in self._flows[entity] if flow.kind == "record"]
        found = {key for each in runners for key in each.remembered(entity, state)}
        found.update(key for each in routers for key in each.remembered(entity, state))
        older = [key for key in found.difference(keys) if (entity, *key) not in shard.index]
        return sorted([*keys, *older], key=_encode) if older else keys

    def _let_go(
        self, entity: str, keys: Sequence[tuple[Any, ...]], shard: Shard[Entry], holds: Holds
    ) -> None:
        """Let the held keys go whose changes are all older, and drop what was kept back of them."""
        deleted = frozenset(keys)
        for flow in self._flows[entity]:
            for key in holds.keys(flow.target):
                unknown = entity not in self._counted and (entity, *key) not in shard.index
                if unknown or key in deleted:
                    self._stale.inc(len(holds.take(flow.target, key)))

    def _delete(
        self,
        part: ChangeBatch,
        flow: Flow,
        state: Shard[StateEntry] | None,
        numbers: Iterator[int],
        made: GivenBack,
    ) -> None:
        only: tuple[str, ...] = ()
        if flow.kind == "record":
            made.letters += _numbered(self._runners[flow.target].run(part, state), numbers)
        elif flow.kind == "copy" and self._logs.get(flow.target):
            only = self._logs[flow.target]
            made.letters += _numbered(self._copy(part, flow), numbers)
        mutations, refused = self._packer.flush(part)
        made.letters += _numbered(refused, numbers)
        for each in mutations:
            records = tuple([_replace(one, index=next(numbers)) for one in each.records])
            made.mutations.append(_replace(each, records=records, only_sinks=only))

    def _truncate(self, batch: ChangeBatch, name: str, record: ChangeRecord, number: int) -> MutationBatch:
        truncate = MutationRecord(
            MutationKind.TRUNCATE, (), None, record.position, record.source_time_us, record.offset, number
        )
        return MutationBatch(
            batch.client,
            name,
            batch.shard,
            batch.topic,
            batch.partition,
            self._columns[name],
            self._keys[name],
            (truncate,),
        )


def _deletes(batch: ChangeBatch, keys: Sequence[tuple[Any, ...]]) -> Iterator[ChangeBatch]:
    """Yield the truncate's deletes of some rows, in parts."""
    (record,) = batch.records
    for start in range(0, len(keys), _PART_MAX):
        part = keys[start : start + _PART_MAX]
        deletes = [_replace(record, operation=Operation.DELETE, key=key) for key in part]
        yield _replace(batch, records=tuple(deletes))


def _numbered(letters: Sequence[DeadLetter], numbers: Iterator[int]) -> list[DeadLetter]:
    return [_replace(letter, index=next(numbers)) for letter in letters]
