"""Define what travels between the stages of lookups, and its binary form.

Frames are those of `pipelines/records.py`: a version byte, then MessagePack. Versions inside of them are
numbers that TransformChanges gives out, rising within a shard: of two messages of one key, the later one has
the greater version, and a launch from a savepoint goes on with them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import msgspec

from tillstream.pipelines.records import ChangeRecord, Framed

__all__ = [
    "EventChange",
    "JoinFrame",
    "KeyValues",
    "Need",
    "ReferenceChange",
    "ReferenceRow",
    "ResolveFrame",
    "Subscription",
]

KeyValues: TypeAlias = tuple[Any, ...]


class Need(NamedTuple):
    """Say which row a lookup of an event asks for.

    Attributes:
        parameter: name of the lookup; versions of a transform may have others.
        entity: the looked-up one.
        key: its values, in the config's order; None where a column of it is null.
        since: version since which the event's shard is subscribed to it; 0 for a null key.
    """

    parameter: str
    entity: str
    key: KeyValues | None
    since: int


class ReferenceChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hold the new row of a looked-up entity.

    Attributes:
        entity: the looked-up one.
        key: its values, in the config's order; none where all rows of the shard are gone whose commit was
            before `time_us`: a truncate, behind the deletes of those rows that were known.
        version: of the change.
        time_us: its commit time in the source, microseconds since 1970 UTC.
        row: as JSON; None where it was deleted.
    """

    entity: str
    key: KeyValues
    version: int
    time_us: int
    row: bytes | None


class Subscription(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Say that a shard wants the rows of a key from now on, or no longer.

    Attributes:
        entity: the looked-up one.
        key: its values, in the config's order.
        shard: that of the events.
        version: of the event that began or ended it.
        wanted: whether it began.
    """

    entity: str
    key: KeyValues
    shard: int
    version: int
    wanted: bool


class ResolveFrame(Framed, frozen=True, array_like=True):
    """Carry what Resolve needs to know, to one shard of looked-up keys.

    Attributes:
        changes: of looked-up rows, in order.
        subscriptions: in order.
    """

    changes: tuple[ReferenceChange, ...] = ()
    subscriptions: tuple[Subscription, ...] = ()


class EventChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hold a change whose event asks for rows.

    Attributes:
        target: entity whose rows are made of it.
        version: of the change.
        record: the change; without the row before it, unless it is a delete.
        needs: what each lookup of the transform asks for.
        forget: the event is past the lookups' horizon: drop it, and call nobody.
        attempt: when a person gave the change back to the job, microseconds since 1970 UTC; else 0.
    """

    target: str
    version: int
    record: ChangeRecord
    needs: tuple[Need, ...]
    forget: bool = False
    attempt: int = 0


class ReferenceRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Hold the current row of a looked-up key, for one shard of events.

    Attributes:
        entity: the looked-up one.
        key: its values, in the config's order.
        since: version of the subscription that it answers.
        version: of the row's change; 0 where there has been none.
        time_us: of that change, microseconds since 1970 UTC; 0 where there has been none.
        row: as JSON; None where there is none.
    """

    entity: str
    key: KeyValues
    since: int
    version: int
    time_us: int
    row: bytes | None


class JoinFrame(Framed, frozen=True, array_like=True):
    """Carry what Join needs to know, to one shard of events.

    Attributes:
        shard: its number.
        topic: where the changes were read from; empty where there are none.
        partition: of that topic.
        changes: of events, in order.
        rows: of looked-up entities, in order.
    """

    shard: int
    topic: str = ""
    partition: int = 0
    changes: tuple[EventChange, ...] = ()
    rows: tuple[ReferenceRow, ...] = ()
