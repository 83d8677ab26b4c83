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
from tillstream.transforms.flow_runner import FlowRunner
from tillstream.transforms.flows import Flow
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.replays.replaying import GivenBack
from tillstream.transforms.routing import Router
from tillstream.transforms.shard_state import Shard

__all__ = ["Truncator", "swept_by"]

# Of keys: a table may have many, and what is made of them goes on in batches.
_PART_MAX = 5000
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
        self._swept = swept_by(flows)
        self._keys = {name: tuple(entity.key) for name, entity in config.entities.items()}
        self._columns = {name: () if each is None else each.columns for name, each in contracts.items()}
        # Sinks that keep a log: who reads it may know nothing of truncates, or not in what order rows came.
        self._logs = {
            name: tuple(sink for sink in entity.sinks if not keeps_positions(config.sinks[sink].type))
            for name, entity in config.entities.items()
        }

    def apply(
        self,
        batch: ChangeBatch,
        keys: Sequence[tuple[Any, ...]],
        state: Shard[StateEntry] | None,
        routers: Sequence[Router],
        made: GivenBack,
    ) -> None:
        """Apply one truncate.

        Args:
            batch: of the truncate alone.
            keys: of the rows that the shard knows and that it deletes.
            state: the shard's state of clients' transforms; None where none of them asks for any.
            routers: of the entity.
            made: takes what comes of it: deletes first, the truncates of whole entities last.
        """
        (record,) = batch.records
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
        for name in self._swept[batch.entity]:
            made.mutations.append(self._truncate(batch, name, record, next(numbers)))

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
        elif flow.kind == "copy" and self._logs[flow.target]:
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
