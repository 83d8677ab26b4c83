"""Define what the gatherer keeps in its state: versioned as `shard_state` versions its frames.

Fields may be appended with a default; a tag must never change its meaning.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tillstream.pipelines.records import MutationBatch, MutationRecord

__all__ = ["Entry", "Held", "Name", "Numbers", "Opened", "Released", "ReleasedEntry", "Slice"]

# The topic that tells of transactions, and the transaction.
Name: TypeAlias = tuple[str, str]
# Number of an open transaction, index of a header, rows.
Slice: TypeAlias = tuple[int, int, tuple[MutationRecord, ...]]


class Opened(msgspec.Struct, array_like=True, frozen=True, tag="opened"):
    """Be a transaction that is not released.

    Attributes:
        name: of it.
        expected: how many events it has of each entity; None until its end is known.
        lane: of its end.
        place: in the order of ends; 0 until its end is known.
    """

    name: Name
    expected: dict[str, int] | None = None
    lane: int = 0
    place: int = 0


class Held(msgspec.Struct, array_like=True, frozen=True, tag="held"):
    """Be what one share brought of transactions that were open when it had been taken.

    Attributes:
        headers: batches without their records.
        slices: rows in order.
        events: number of an open transaction, entity, numbers of consumed events.
        parts: number of an open transaction, entity, number of the event, number of the part, how many.
    """

    headers: tuple[MutationBatch, ...] = ()
    slices: tuple[Slice, ...] = ()
    events: tuple[tuple[int, str, tuple[int, ...]], ...] = ()
    parts: tuple[tuple[int, str, int, int, int], ...] = ()


class Numbers(msgspec.Struct, array_like=True, frozen=True, tag="numbers"):
    """Be the numbers given out to the batches of one shard, as `numbered` keeps them."""

    counters: dict[str, int]


class Released(msgspec.Struct, array_like=True, frozen=True, tag="released"):
    """Be transactions that were released by one share."""

    names: tuple[Name, ...]


# What the horizon would look at comes first; nothing here grows old.
Entry: TypeAlias = tuple[int, Opened | Held | Numbers]
ReleasedEntry: TypeAlias = tuple[int, Released]
