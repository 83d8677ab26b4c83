"""Tell how a capture is: connector, slot, snapshot, streaming, and what is wrong with it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any

from tillstream.runners.capture import source
from tillstream.runners.capture.manage import rest_of
from tillstream.runners.capture.progress import Progress, last_progress
from tillstream.runners.capture.slots import Slot, slot_of
from tillstream.runners.capture.spec import Capture, Place

__all__ = ["Status", "alerts_of", "look", "states_of"]

_MB = 1 << 20
# Restarts and elections take this long.
_IDLE_ALERT_S = 60.0
_PAUSED = frozenset({"PAUSED", "STOPPED"})


@dataclass(frozen=True)
class Status:
    """Hold what is known of a capture.

    Attributes:
        client: whose it is.
        connector: RUNNING, PAUSED, STOPPED, FAILED, ... or MISSING.
        task: the same of its task.
        failure: first line of what the connector or task says, or empty.
        slot: what the server says of it; None where there is none.
        snapshot: the latest that the connector has told of; None where it has told of none.
        last_event_at: when the last change that was sent was committed; None before the first.
        position: up to which the log has been sent; None before the first.
        alerts: what is wrong, each with what to do.
    """

    client: str
    connector: str
    task: str
    failure: str
    slot: Slot | None
    snapshot: Progress | None
    last_event_at: dt.datetime | None
    position: int | None
    alerts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the status for programs."""
        at = self.last_event_at
        return {**asdict(self), "last_event_at": None if at is None else at.isoformat()}

    def lines(self) -> list[str]:
        """Return the status for people."""
        slot, snapshot = self.slot, self.snapshot
        lines = [f"connector  {self.connector}, task {self.task}"]
        if slot is None:
            lines.append("slot       none")
        else:
            cap = "no cap" if slot.cap_bytes < 0 else f"cap {slot.cap_bytes // _MB} MB"
            read = "active" if slot.is_active else "not read by anybody"
            lines += [
                f"slot       {read}, {slot.wal_status}, keeps {slot.retained_bytes / _MB:.1f} MB ({cap})",
                f"lag        {slot.lag_bytes:,} bytes, {slot.lag_s:.1f} s",
            ]
        if snapshot is not None:
            lines.append(f"snapshot   {snapshot}")
        if self.last_event_at is not None:
            lines.append(f"streaming  last change of {self.last_event_at:%Y-%m-%d %H:%M:%S} UTC")
        return [*lines, *(f"ALERT      {alert}" for alert in self.alerts)]


def look(capture: Capture, place: Place, *, was_idle: bool = True) -> Status:
    """Return how a capture is.

    Args:
        capture: which.
        place: where.
        was_idle: as of `alerts_of`.

    Raises:
        UnavailableError: if the database or Connect does not answer.
        UserError: if one of them refuses the login.
    """
    rest = rest_of(capture, place, deadline_s=5.0)
    found = rest.status()
    offset = {} if found is None else rest.offset()
    with source.opened(place.login) as connection:
        slot = slot_of(connection, capture.slot)
    connector, task, failure = states_of(found)
    stamp_us = offset.get("ts_usec")
    return Status(
        capture.client,
        connector,
        task,
        failure,
        slot,
        last_progress(capture, place),
        None if not stamp_us else dt.datetime.fromtimestamp(stamp_us / 1e6, dt.timezone.utc),
        offset.get("lsn"),
        tuple(alerts_of(capture, place, (connector, task, failure), slot, was_idle=was_idle)),
    )


def states_of(found: dict[str, Any] | None) -> tuple[str, str, str]:
    """Return the states of connector and task out of Connect's answer, and the first line of a failure."""
    if found is None:
        return "MISSING", "MISSING", ""
    tasks = found["tasks"]
    failure = ""
    for part in [found["connector"], *tasks]:
        trace = str(part.get("trace") or "").strip()
        if trace:
            failure = _cause(trace)
    return str(found["connector"]["state"]), str(tasks[0]["state"]) if tasks else "NONE", failure


def _cause(trace: str) -> str:
    """Return the first line of the innermost cause of a Java stack trace."""
    causes = [line for line in trace.splitlines() if line.startswith("Caused by: ")]
    return (causes[-1] if causes else trace.splitlines()[0]).removeprefix("Caused by: ").strip()


def alerts_of(
    capture: Capture,
    place: Place,
    states: tuple[str, str, str],
    slot: Slot | None,
    *,
    was_idle: bool = True,
) -> list[str]:
    """Return what is wrong with a capture, each with what to do.

    Args:
        capture: which.
        place: tells how much log is too much.
        states: as of `states_of`.
        slot: None where there is none.
        was_idle: whether nobody read it at the look before either, or there was none. Servers before Postgres
            17 do not tell for how long.
    """
    connector, task, failure = states
    client = capture.client
    alerts = []
    if connector == "MISSING":
        alerts.append(f"there is no connector {capture.connector}: tillstream capture create {client}")
    elif "FAILED" in {connector, task}:
        alerts.append(
            f"the connector failed: {failure}: mend that (the log of connect tells more), then 'tillstream "
            f"capture resume {client}'"
        )
    again = (
        f"'tillstream capture create {client}', then 'tillstream resync {client} --all', repair all tables "
        "that have a primary key"
    )
    if slot is None and connector != "MISSING":
        alerts.append(f"there is no replication slot {capture.slot}, so changes are lost: {again}")
    elif slot is not None and slot.is_lost:
        alerts.append(f"replication slot {capture.slot} is lost, and changes with it: {again}")
    elif slot is not None:
        if slot.retained_bytes > place.slot_alert_bytes:
            alerts.append(
                f"the slot keeps {slot.retained_bytes // _MB} MB of log, more than "
                f"{place.slot_alert_bytes // _MB}: resume the connector, or delete the capture"
            )
        since = _idle_since(slot, connector, was_idle=was_idle)
        if since:
            alerts.append(
                f"nobody has read the slot {since}, and it keeps the server's log: see the log of connect, "
                "or delete the capture"
            )
    return alerts


def _idle_since(slot: Slot, connector: str, *, was_idle: bool) -> str:
    """Return for how long nobody has read a slot that somebody should; empty where that is no alert."""
    if slot.is_active or connector in _PAUSED:
        return ""
    if slot.inactive_s is None:
        return "though the connector runs" if connector == "RUNNING" and was_idle else ""
    return f"for {slot.inactive_s:.0f} s" if slot.inactive_s > _IDLE_ALERT_S else ""
