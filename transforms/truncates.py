"""Note truncates in a shard's state, so that rows and truncates may come in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tillstream.pipelines.positions import reconcile
from tillstream.pipelines.records import ChangeBatch, Position
from tillstream.transforms.shard_state import Key, Shard

if TYPE_CHECKING:
    from tillstream.transforms.deduplicate import Deduplicated, Entry

__all__ = ["is_before", "note_truncate", "truncated_at"]

_encode = msgspec.msgpack.Encoder().encode


def truncated_at(shard: Shard[Entry], entity: str) -> Position | None:
    """Return the position of an entity's newest truncate within the horizon; None where there is none."""
    known = shard.get(_place(entity))
    return None if known is None else known[1]


def is_before(position: Position, truncated: Position) -> bool:
    """Tell whether a truncate deletes a row whose newest change has this position.

    Changes without a position are taken to be newer, since nothing can be said of their order.
    """
    return bool(position) and position < truncated and reconcile(position, truncated) is None


def note_truncate(batch: ChangeBatch, shard: Shard[Entry], result: Deduplicated, *, knows_rows: bool) -> None:
    """Keep the one truncate of a batch unless it is known, or older than one that is.

    Args:
        batch: of one truncate.
        shard: the shard's state; forgets the rows that the truncate deletes.
        result: gets the truncate, and the keys of rows that it deletes, in an order that is always the same.
        knows_rows: whether the state knows rows by their keys.
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
            result.truncated = _forget(shard, entity, position)


def _forget(shard: Shard[Entry], entity: str, position: Position) -> list[tuple[Any, ...]]:
    """Forget the rows with a lower position; return the keys of those that were there."""
    before: list[tuple[Key, Entry]] = [
        (key, entry)
        for key, entry in shard.index.items()
        if key[0] == entity and is_before(entry[1], position)
    ]
    for key, _ in before:
        shard.delete(key)
    # The order of the index depends on when it was rebuilt.
    return sorted([tuple(key[1:]) for key, (_, _, digest) in before if digest], key=_encode)


def _place(entity: str) -> Key:
    # Neither an entity nor a topic is named so.
    return ("", "truncate:", entity)
