"""Define what an aggregate remembers of a row, and what it sends to the shard of a group."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from decimal import Context, Decimal
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.isolation.guard import ClientRaised
from tillstream.pipelines.records import Framed
from tillstream.transforms.aggregates import exact_values
from tillstream.transforms.aggregates.aggregate import Contribution
from tillstream.transforms.aggregates.windowing import micros

__all__ = [
    "CONTRIBUTIONS_VERSION",
    "Change",
    "Counted",
    "Difference",
    "Differences",
    "at_most",
    "counted",
    "decode_counted",
    "encode_counted",
]

CONTRIBUTIONS_VERSION = 1
_VERSION = bytes((CONTRIBUTIONS_VERSION,))
# Takes trailing zeros off a decimal of any length, and nothing else.
_WHOLE = Context(prec=100_000)


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """Hold one contribution.

    Attributes:
        group: in the form of `exact_values`.
        time_us: event time, microseconds since 1970 UTC; 0 where the aggregate has no windows.
        values: in the form of `exact_values`.
    """

    group: bytes
    time_us: int
    values: bytes


class Difference(NamedTuple):
    """Add a contribution, or take it back.

    Attributes:
        times: 1 or -1.
        counted: the contribution.
    """

    times: int
    counted: Counted


class Change(msgspec.Struct, frozen=True, array_like=True):
    """Hold what one change makes of the groups of one shard.

    Attributes:
        offset: of the change.
        source_time_us: its commit time in the source, microseconds since 1970 UTC.
        key: of its row, as JSON.
        clock_us: newest event time that the row's shard had seen before, or None.
        moves_clock: whether the change's own event times move the clock.
        differences: what is taken back, then what is added.
        payload: of the dead letter that it becomes where it is late; None where the row's shard does not
            expect it to be, because rows are large and late ones few.
    """

    offset: int
    source_time_us: int
    key: bytes
    clock_us: int | None
    moves_clock: bool
    differences: tuple[Difference, ...]
    payload: bytes | None = None


class Differences(Framed, frozen=True, array_like=True):
    """Carry to one shard of groups what one batch of changes makes of it.

    Attributes:
        target: entity whose rows the aggregate makes.
        shard: number of the groups' shard.
        topic: where the changes were read from.
        partition: of that topic.
        changes: in the order of the batch.
        attempt: when a person gave the one change back to the job, microseconds since 1970 UTC; else 0.
    """

    target: str
    shard: int
    topic: str
    partition: int
    changes: tuple[Change, ...]
    attempt: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(tuple[Counted, ...])


def counted(found: Contribution, *, is_windowed: bool) -> Counted:
    """Return the encoded form of a contribution.

    Raises:
        RecordError: `transform_failed` if it is none that can be counted.
    """
    if not isinstance(found, Contribution):
        raise _wrong(f"found a {type(found).__name__} from contributions", "a Contribution")
    if not isinstance(found.group, tuple):
        raise _wrong(f"found group {found.group!r}", "a tuple")
    time = found.time
    if time is None and is_windowed:
        raise _wrong("found a contribution without a time", "one, because the aggregate has windows")
    if time is not None and (not isinstance(time, dt.datetime) or time.tzinfo is None):
        raise _wrong(f"found time {time!r}", "a datetime with its zone")
    try:
        group = exact_values.encode([_told_apart(each) for each in found.group])
        values = exact_values.encode(dict(found.values))
    except (TypeError, ValueError, RecursionError) as error:
        raise _wrong(f"in a contribution: {error}", "values that can be kept") from error
    return Counted(group, micros(time) if is_windowed and time is not None else 0, values)


def at_most(made: Iterable[Any] | None, limit: int, what: str) -> list[Any]:
    """Return what a client's code made; raises RecordError past a limit, which an endless generator meets.

    Args:
        made: by it; None stands for nothing.
        limit: limits.mutations_per_record_max.
        what: it is, for the message.
    """
    try:
        found = [] if made is None else list(islice(made, limit + 1))
    except RecordError as error:
        raise ClientRaised from error
    if len(found) > limit:
        said = f"found more than {limit} {what}, limits.mutations_per_record_max"
        raise RecordError("too_many_mutations", said)
    return found


def _told_apart(value: Any) -> Any:
    """Return a value of a group in the one form of all that equal it: 1.5 and 1.50 are one group."""
    if not isinstance(value, Decimal) or not value.is_finite():
        return value
    return _WHOLE.normalize(value) if value else Decimal()


def _wrong(found: str, expected: str) -> RecordError:
    return RecordError("transform_failed", f"{found}, expected {expected}")


def encode_counted(contributions: Iterable[Counted]) -> bytes:
    """Return contributions as state keeps them: one version byte, then MessagePack."""
    return _VERSION + _encode(tuple(contributions))


def decode_counted(data: bytes) -> tuple[Counted, ...]:
    """Read what `encode_counted` made.

    Raises:
        ValueError: if it is damaged, or of a version that this release does not read.
    """
    if data[:1] != _VERSION:
        raise ValueError(
            f"contributions of a row: found version {data[:1].hex() or 'none'}, expected 01: "
            "restore them with the release that wrote them"
        )
    try:
        return _decoder.decode(memoryview(data)[1:])
    except msgspec.MsgspecError as error:
        raise ValueError(f"contributions of a row: found damaged state: {error}") from error
