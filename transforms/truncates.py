"""Note truncates in a shard's state, so that rows and truncates may come in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.positions import reconcile
from tillstream.pipelines.records import ChangeBatch, Position
from tillstream.transforms.shard_state import Key, Shard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tillstream.transforms.deduplicate import Deduplicated, Entry
    from tillstream.transforms.flows import Flow

__all__ = ["is_before", "keeping_of", "note_truncate", "truncated_at", "without_truncated"]

_encode = msgspec.msgpack.Encoder().encode


def keeping_of(config: ClientConfig, flows: Mapping[str, Sequence[Flow]]) -> Mapping[str, frozenset[str]]:
    """Return, of entities that have any, the targets whose rows stay where a truncate has overtaken them.

    Later stages are told that rows are gone whatever their config says, so they need none that come late. Of
    rows that are told by all their values the counts begin anew with a truncate.
    """
    found = {
        source: frozenset(
            flow.target
            for flow in each
            if flow.kind in ("copy", "record") and config.entities[flow.target].on_truncate == "keep"
        )
        for source, each in flows.items()
        if config.entities[source].keyless != "full_row"
    }
    return {source: targets for source, targets in found.items() if targets}


def truncated_at(shard: Shard[Entry], entity: str) -> Position | None:
    """Return the position of an entity's newest truncate within the horizon; None where there is none."""
    known = shard.get(_place(entity))
    return None if known is None else known[1]


def is_before(position: Position, truncated: Position) -> bool:
    """Tell whether a truncate deletes a row whose newest change has this position.

    Changes without a position are taken to be newer, since nothing can be said of their order.
    """
    return bool(position) and position < truncated and reconcile(position, truncated) is None


def without_truncated(batch: ChangeBatch, shard: Shard[Entry]) -> ChangeBatch:
    """Return a batch without changes that a truncate has overtaken; nearly always there is none.

    What is newer though its position compares lower gets one that does not, because a sink's sweep for
    another shard knows no more than that.
    """
    truncated = truncated_at(shard, batch.entity)
    if truncated is None:
        return batch
    # Later on all are newer, and one comparison tells.
    if not any([each.position <= truncated for each in batch.records]):  # noqa: C419  (a call a record)
        return batch
    records = []
    for each in batch.records:
        position = each.position
        if not position or position >= truncated:
            records.append(each)
        elif (better := reconcile(position, truncated)) is not None:
            records.append(msgspec.structs.replace(each, position=better))
    return msgspec.structs.replace(batch, records=tuple(records))


def note_truncate(
    batch: ChangeBatch, shard: Shard[Entry], result: Deduplicated, *, knows_rows: bool, forgets: bool
) -> None:
    """Keep the one truncate of a batch unless it is known, or older than one that is.

    Args:
        batch: of one truncate.
        shard: the shard's state; forgets the rows that the truncate deletes.
        result: gets the truncate, and the keys of rows that it deletes, in an order that is always the same.
        knows_rows: whether the state knows rows by their keys.
        forgets: whether it forgets those that the truncate deletes; where some targets keep them, repeats of
            their changes must be told as before.
    """
    (record,) = batch.records
    position, entity = record.position, batch.entity
    known = truncated_at(shard, entity)
    if known is not None and position and position <= known:
        result.drop("duplicate" if position == known else "stale")
        return
    result.records.append(record)
    if position:
        newest_us = max(record.source_time_us, shard.newest_us or record.source_time_us)
        shard.update({_place(entity): (newest_us, position, 0)})
        if knows_rows:
            earlier = None if forgets else known
            result.truncated = _rows_before(shard, entity, position, earlier, forgets=forgets)


def _rows_before(
    shard: Shard[Entry], entity: str, position: Position, earlier: Position | None, *, forgets: bool
) -> list[tuple[Any, ...]]:
    """Return the keys of rows that were there, from before a truncate and not from before an earlier one."""
    before: list[tuple[Key, Entry]] = [
        (key, entry)
        for key, entry in shard.index.items()
        if key[0] == entity
        and is_before(entry[1], position)
        and not (earlier and is_before(entry[1], earlier))
    ]
    for key, _ in before if forgets else ():
        shard.delete(key)
    # The order of the index depends on when it was rebuilt.
    return sorted([tuple(key[1:]) for key, (_, _, digest) in before if digest], key=_encode)


def _place(entity: str) -> Key:
    # Neither an entity nor a topic is named so.
    return ("", "truncate:", entity)
