"""Define what is kept of records that could not be delivered, and how they come back."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tillstream.pipelines.framing import Framed

__all__ = ["DeadLetter", "DeadLetterBatch", "Position", "Replay"]

# Where a change stands in its source's own order; compared element by element, per connector.
Position: TypeAlias = tuple[int | str, ...]


class Replay(msgspec.Struct, frozen=True, array_like=True):
    """Say, of the one change in a batch, that a person gives it back to the job, or gives it up.

    Attributes:
        letter: identity of the dead letter that it became.
        action: replay or discard.
        entity: of the letter; what is written of the change is written there. Empty for all of its flows.
        step: that made the letter.
        index: of the mutation that the letter is of.
        sink: of the letter; empty where it did not get that far.
        transform: name and version to apply in place of the job's own; empty for that.
        attempt: when the person asked for it, microseconds since 1970 UTC.
        seen: attempt that the letter had come out of when they did; 0 for the first reading.
        topic: through which it came back.
        partition: of that topic.
        offset: in that partition.
    """

    letter: str
    action: str
    entity: str
    step: str
    index: int
    sink: str
    transform: str
    attempt: int
    seen: int
    topic: str
    partition: int
    offset: int


class DeadLetter(Framed, frozen=True, array_like=True):
    """Keep a record that could not be delivered, and why.

    Attributes:
        client: whose record it is.
        entity: the entity's name, or None where it could not be told.
        step: the step that refused it: read, transform or write.
        reason: the rule it broke, a short stable name.
        detail: the rule in a sentence: what was found, what was expected.
        topic: where it was read from.
        partition: of that topic.
        offset: in that partition.
        index: number of the mutation among those of its change; 0 before the transform.
        key: the record's key as it was read, or None.
        payload: the record's value as it was read, or as near to it as the step still had, or None.
        transform: name and version of the transform, or None.
        traceback: of the transform's exception, or None.
        sink: name of the sink that refused it, or None where it did not get that far. Each of an entity's
            sinks may refuse the same mutation, for reasons of its own.
        position: place of the change in the source's own order; empty where it is not known.
        source_time_us: commit time in the source, microseconds since 1970 UTC; 0 where it is not known.
        source_entity: whose change it was, where `entity` is another one that is made of it; None where it
            could not be told or is the same.
        attempt: when a person gave the record back to the job and it was refused again, microseconds since
            1970 UTC; 0 for its first reading.
        status: open, or what became of it: replayed, superseded or discarded. A letter that is not open
            says so of the one with the same identity, and carries no payload of its own.
    """

    client: str
    entity: str | None
    step: str
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    index: int = 0
    key: bytes | None = None
    payload: bytes | None = None
    transform: str | None = None
    traceback: str | None = None
    sink: str | None = None
    position: Position = ()
    source_time_us: int = 0
    source_entity: str | None = None
    attempt: int = 0
    status: str = "open"


class DeadLetterBatch(Framed, frozen=True, array_like=True):
    """Carry the dead letters of one bundle.

    Attributes:
        letters: in the order in which they were found.
    """

    letters: tuple[DeadLetter, ...]
