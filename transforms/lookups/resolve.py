"""Know the current row of each looked-up key, and tell it to the shards that asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import apache_beam as beam
import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.sharding import shard_key
from tillstream.transforms.lookups.forms import Form
from tillstream.transforms.lookups.messages import (
    JoinFrame,
    KeyValues,
    ReferenceChange,
    ReferenceRow,
    ResolveFrame,
    Subscription,
)
from tillstream.transforms.shard_state import FOREVER_US, Shard, ShardMemory, shared_memory, specs

__all__ = ["Reference", "ResolveRows", "Resolver"]

# Never past a horizon; the version and commit time of a row's change, and the row. Subscribers have the same
# form: their last element holds the version of each shard's subscription, by shard.
Reference: TypeAlias = tuple[int, int, int, bytes | None]

_ROWS_MAX = 1000
_ROW, _SUBSCRIBERS = "row", "subscribers"
_SUBSCRIBERS_FORM: Form[dict[int, int]] = Form("subscribers", dict[int, int])


class Resolver:
    """Answer subscriptions out of a shard's state, and publish what changes.

    Args:
        ordered: whether messages of one sender come in the order in which it sent them. Where they do not,
            rows that were deleted are remembered, so that an older change does not bring them back.
    """

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered

    def take(self, frame: ResolveFrame, state: Shard[Reference]) -> dict[int, list[ReferenceRow]]:
        """Return the rows that go to each shard of events; the caller commits the state."""
        rows: dict[int, list[ReferenceRow]] = {}
        for change in self._each(frame, state):
            if self._store(change, state):
                for shard, since in _subscribers(state, change.entity, change.key).items():
                    rows.setdefault(shard, []).append(
                        ReferenceRow(
                            change.entity, change.key, since, change.version, change.time_us, change.row
                        )
                    )
        for each in frame.subscriptions:
            if self._subscribe(each, state):
                _, version, time_us, row = state.index.get((_ROW, each.entity, *each.key)) or (0, 0, 0, None)
                rows.setdefault(each.shard, []).append(
                    ReferenceRow(each.entity, each.key, each.version, version, time_us, row)
                )
        return rows

    def _each(self, frame: ResolveFrame, state: Shard[Reference]) -> Iterator[ReferenceChange]:
        """Yield the changes of rows; a truncate is one of each row that is older."""
        for change in frame.changes:
            if change.key:
                yield change
                continue
            for place, (_, _, time_us, row) in list(state.index.items()):
                if place[:2] == (_ROW, change.entity) and row is not None and time_us < change.time_us:
                    yield msgspec.structs.replace(change, key=tuple(place[2:]))

    def _store(self, change: ReferenceChange, state: Shard[Reference]) -> bool:
        """Keep a row if it is newer than the known one."""
        place = (_ROW, change.entity, *change.key)
        known = state.index.get(place)
        if known is not None and known[1] >= change.version:
            return False
        if change.row is None and self._ordered:
            state.delete(place)
        else:
            state.update({place: (FOREVER_US, change.version, change.time_us, change.row)})
        return True

    def _subscribe(self, asked: Subscription, state: Shard[Reference]) -> bool:
        """Note who wants a key; return whether it wants the row now."""
        subscribers = _subscribers(state, asked.entity, asked.key)
        known = subscribers.get(asked.shard)
        if asked.wanted and (known is None or known < asked.version):
            subscribers[asked.shard] = asked.version
        elif not asked.wanted and known is not None and known < asked.version:
            del subscribers[asked.shard]
        else:
            return asked.wanted
        place = (_SUBSCRIBERS, asked.entity, *asked.key)
        if subscribers:
            state.update({place: (FOREVER_US, 0, 0, _SUBSCRIBERS_FORM.encode(subscribers))})
        else:
            state.delete(place)
        return asked.wanted


def _subscribers(state: Shard[Reference], entity: str, key: KeyValues) -> dict[int, int]:
    known = state.index.get((_SUBSCRIBERS, entity, *key))
    return {} if known is None else _SUBSCRIBERS_FORM.decode(known[3] or b"")


class ResolveRows(beam.DoFn):
    """Bring the rows of looked-up entities together with the shards that want them.

    Input: (shard key of looked-up keys, ResolveFrame). Output: (shard key of events, JoinFrame).

    Delivery guarantees:
        Exactly-once within the job: rows and subscribers lie in the checkpoint that holds the read offsets.
        Rows of one key go to a shard in the order of their changes. State: each looked-up entity's current
        rows, and for each key that is asked for some bytes a shard that asks.

    Args:
        config: the client's.
        ordered: as of `Resolver`.
    """

    HEAD, LOG = specs("references")

    def __init__(self, config: ClientConfig, *, ordered: bool) -> None:
        self._config = config
        self._resolver = Resolver(ordered=ordered)

    def setup(self) -> None:
        """Join the process's memory."""
        self._memory: ShardMemory[Reference] = shared_memory(
            f"{self._config.client}/references", None, Reference
        )

    def process(
        self,
        element: tuple[bytes, bytes],
        head: Any = beam.DoFn.StateParam(HEAD),
        log: Any = beam.DoFn.StateParam(LOG),
    ) -> Iterator[tuple[bytes, bytes]]:
        """Take one frame."""
        key, frame = element
        state = self._memory.open(key, head, log)
        rows = self._resolver.take(ResolveFrame.decode(frame), state)
        state.commit()
        flink = self._config.flink
        for shard, found in rows.items():
            to = shard_key(shard, flink.shards, flink.max_parallelism)
            for start in range(0, len(found), _ROWS_MAX):
                yield to, JoinFrame(shard, rows=tuple(found[start : start + _ROWS_MAX])).encode()
