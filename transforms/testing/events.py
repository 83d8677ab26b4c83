"""Build change events in one line each, and put them into the order of one log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import ChangeEvent, Operation, Position

__all__ = [
    "EPOCH_US",
    "Columns",
    "Table",
    "When",
    "created",
    "deleted",
    "is_placed",
    "micros",
    "place",
    "snapshot",
    "stream",
    "truncated",
    "updated",
]

Columns: TypeAlias = str | Sequence[str]
When: TypeAlias = dt.datetime | str | int

# The first event's time, 2026-01-01T00:00:00Z; each one after it is a second later. No clock is read, so a
# test gives the same events every time.
EPOCH_US = 1_767_225_600_000_000
STEP_US = 1_000_000
# Offsets of events that no log has placed yet: `place` gives them one, and a time too where they have none.
_UNPLACED, _UNPLACED_AT = -1, -2
_replace = msgspec.structs.replace


def created(entity: str, row: Mapping[str, Any], *, key: Columns, **place: Any) -> ChangeEvent:
    """Return the event of a new row.

        created("orders", {"order_id": 1, "total": "9.90"}, key="order_id")

    Args:
        entity: name of the entity.
        row: after the change, as Debezium would send it; Decimal, datetime and such become text on the way.
        key: name of the key's column, or several.
        place: `at`, the event's time (datetime, ISO 8601 text, or microseconds since 1970 UTC), and `offset`,
            `partition` and `position` in the log. Without them a list of events is one log, in order, with a
            second between events, from 2026-01-01 on.

    Raises:
        UserError: if the row lacks a column of the key.
    """
    return _event(Operation.CREATE, entity, key, None, row, **place)


def updated(
    entity: str,
    row: Mapping[str, Any],
    *,
    key: Columns,
    before: Mapping[str, Any] | None = None,
    **place: Any,
) -> ChangeEvent:
    """Return the event of a changed row; arguments are those of `created`.

    Without `before`, the row before the change, `stream` fills in what the event before left, and a single
    event has none, as where the source sends none.
    """
    return _event(Operation.UPDATE, entity, key, before, row, **place)


def deleted(entity: str, before: Mapping[str, Any], *, key: Columns, **place: Any) -> ChangeEvent:
    """Return the event of a deleted row; `before` holds at least the key. Else as `created`."""
    return _event(Operation.DELETE, entity, key, before, None, **place)


def snapshot(entity: str, row: Mapping[str, Any], *, key: Columns, **place: Any) -> ChangeEvent:
    """Return the event of a row that a snapshot read; arguments are those of `created`."""
    return _event(Operation.SNAPSHOT, entity, key, None, row, **place)


def truncated(entity: str, **place: Any) -> ChangeEvent:
    """Return the event of a table that was emptied at once; a transform sees the rows go that are known.

    Args:
        entity: name of the entity.
        place: as of `created`; the position defaults to the next one, as there.
    """
    return _placed(Operation.TRUNCATE, entity, {}, None, None, **place)


@dataclass(frozen=True)
class Table:
    """Build the events of one entity without naming it and its key each time.

        orders = Table("orders", key="order_id")
        events = stream(orders.created({"order_id": 1}), orders.deleted({"order_id": 1}))

    Attributes:
        entity: its name.
        key: name of its key's column, or several.
    """

    entity: str
    key: Columns

    def created(self, row: Mapping[str, Any], **place: Any) -> ChangeEvent:
        """Return what `created` does."""
        return created(self.entity, row, key=self.key, **place)

    def updated(
        self, row: Mapping[str, Any], before: Mapping[str, Any] | None = None, **place: Any
    ) -> ChangeEvent:
        """Return what `updated` does."""
        return updated(self.entity, row, key=self.key, before=before, **place)

    def deleted(self, before: Mapping[str, Any], **place: Any) -> ChangeEvent:
        """Return what `deleted` does."""
        return deleted(self.entity, before, key=self.key, **place)

    def snapshot(self, row: Mapping[str, Any], **place: Any) -> ChangeEvent:
        """Return what `snapshot` does."""
        return snapshot(self.entity, row, key=self.key, **place)

    def truncated(self, **place: Any) -> ChangeEvent:
        """Return what `truncated` does."""
        return truncated(self.entity, **place)


def stream(*events: ChangeEvent) -> list[ChangeEvent]:
    """Return events as one log: in order, placed, and with the row before each change.

    A `before` that was given stays; one that was not is the row that the log's last change of that key left.
    """
    last: dict[tuple[Any, ...], dict[str, Any] | None] = {}
    whole = []
    for event in events:
        if event.operation is Operation.TRUNCATE:
            last = {key: row for key, row in last.items() if key[0] != event.entity}
        key = (event.entity, *event.key.values())
        known = last.get(key)
        if event.operation in (Operation.UPDATE, Operation.DELETE) and known is not None:
            given = event.before or {}
            if event.operation is Operation.DELETE or not given:
                event = _replace(event, before={**known, **given})  # noqa: PLW2901  (the same one, whole)
        last[key] = event.after
        whole.append(event)
    return place(whole)


def place(events: Iterable[ChangeEvent]) -> list[ChangeEvent]:
    """Give events that have no place in a log the next one, and a time; others stay as they are.

    The place is an offset of the entity's topic and a position in Postgres's order; the time a second after
    the event before.
    """
    placed = []
    offsets: dict[str, int] = {}
    time_us, place_ = EPOCH_US - STEP_US, 0
    for event in events:
        place_ = max(place_, *[each for each in event.position[1:2] if isinstance(each, int)], 0) + 1
        if event.offset < 0:
            event = _replace(  # noqa: PLW2901  (the same one, placed)
                event,
                offset=offsets.get(event.entity, -1) + 1,
                position=event.position or _position(place_, event.operation),
                source_time_us=time_us + STEP_US if event.offset == _UNPLACED else event.source_time_us,
            )
        offsets[event.entity] = max(event.offset, offsets.get(event.entity, -1))
        time_us = event.source_time_us
        placed.append(event)
    return placed


def is_placed(event: ChangeEvent) -> bool:
    """Tell whether an event has its place in a log."""
    return event.offset >= 0


def micros(when: When) -> int:
    """Return an instant in microseconds since 1970 UTC.

    Raises:
        UserError: for text that is no ISO 8601, or an instant without zone.
    """
    if isinstance(when, int):
        return when
    try:
        instant = dt.datetime.fromisoformat(when.replace("Z", "+00:00")) if isinstance(when, str) else when
    except ValueError as error:
        raise UserError(f"at: found {when!r}, expected an instant such as 2026-01-01T00:00:00Z") from error
    if instant.tzinfo is None:
        raise UserError(f"at: found {when!r} without a zone, expected one such as 2026-01-01T00:00:00Z")
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)) // dt.timedelta(microseconds=1)


def _position(place_: int, operation: Operation) -> Position:
    """Return a Postgres position, as `tillstream.pipelines.positions` does."""
    return (0, place_, 0 if operation is Operation.SNAPSHOT else 1, place_)


def _event(
    operation: Operation,
    entity: str,
    key: Columns,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    **place: Any,
) -> ChangeEvent:
    row = before if after is None else after
    columns = (key,) if isinstance(key, str) else tuple(key)
    missing = [column for column in columns if row is None or row.get(column) is None]
    if missing:
        raise UserError(
            f"event of {entity!r}: found no {', '.join(missing)} in {dict(row or {})}, expected its key"
        )
    assert row is not None  # it has a key
    return _placed(operation, entity, {column: row[column] for column in columns}, before, after, **place)


def _placed(
    operation: Operation,
    entity: str,
    key: dict[str, Any],
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    at: When | None = None,
    offset: int | None = None,
    partition: int = 0,
    position: Position = (),
) -> ChangeEvent:
    if offset is None:
        offset = _UNPLACED if at is None else _UNPLACED_AT
    return ChangeEvent(
        "test",
        entity,
        operation,
        key,
        None if before is None else dict(before),
        None if after is None else dict(after),
        position,
        EPOCH_US if at is None else micros(at),
        f"test.public.{entity}",
        partition,
        offset,
    )
