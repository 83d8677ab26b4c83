"""Follow what the connector tells of its snapshots (Debezium 3.3, "Receiving Debezium notifications")."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tillstream.runners.capture.spec import Capture, Place

__all__ = ["Notice", "Progress", "Tail", "last_progress", "notice_of"]

_TIMEOUT_S = 10.0
_TAIL_MESSAGES = 500
_decode = msgspec.json.Decoder(dict[str, Any]).decode
# As resync makes it.
_IDENTITY = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
_EVENT = re.compile(rb"STARTED|IN_PROGRESS|TABLE_SCAN_COMPLETED|COMPLETED|ABORTED|PAUSED|RESUMED")
_TOLD = ("scanned_collection", "current_collection_in_progress", "total_rows_scanned", "status")


@dataclass(frozen=True)
class Notice:
    """Be one notification of a snapshot.

    Attributes:
        identity: of the signal that asked for it; the connector's own for an initial one.
        kind: Initial Snapshot or Incremental Snapshot.
        event: STARTED, IN_PROGRESS, TABLE_SCAN_COMPLETED, COMPLETED, ABORTED, SKIPPED, ...
        data: what it says beside.
        at_ms: when, milliseconds since 1970 UTC.
    """

    identity: str
    kind: str
    event: str
    data: dict[str, str]
    at_ms: int


@dataclass
class Progress:
    """Tell how far a snapshot is.

    Attributes:
        kind: initial or incremental.
        state: running, completed, or what else the connector calls it.
        table: that is read, or was read last.
        at_key: of that table, up to which it is read; empty where it is not told.
        rows: of each table that is done.
    """

    kind: str
    state: str = "running"
    table: str = ""
    at_key: str = ""
    rows: dict[str, int] = field(default_factory=dict)

    def note(self, notice: Notice) -> None:
        """Take up one notification."""
        data = notice.data
        table = data.get("scanned_collection") or data.get("current_collection_in_progress") or ""
        self.table = _short(table) or self.table
        if notice.event == "TABLE_SCAN_COMPLETED":
            self.rows[self.table] = int(data.get("total_rows_scanned") or 0)
            self.at_key = ""
        elif notice.event == "IN_PROGRESS":
            done, last = data.get("last_processed_key"), data.get("maximum_key")
            self.at_key = f"{done} of {last}" if done and last else ""
        elif notice.event in {"COMPLETED", "ABORTED", "SKIPPED", "PAUSED"}:
            self.state = notice.event.lower()

    def __str__(self) -> str:
        """Return it in a line."""
        parts = [f"{self.kind}, {self.state}"]
        if self.rows:
            parts.append(f"{sum(self.rows.values()):,} rows of {len(self.rows)} tables read")
        if self.state == "running" and self.table:
            parts.append(f"reading {self.table}" + (f" up to key {self.at_key}" if self.at_key else ""))
        return "; ".join(parts)


def notice_of(value: bytes | None) -> Notice | None:
    """Return a notification, as JSON with its schema or without, or as Avro; None for any other message."""
    try:
        found = _decode(value or b"")
        found = found.get("payload", found)
        kind, event = str(found["aggregate_type"]), str(found["type"])
        if not kind.endswith("Snapshot"):
            return None
        data = {str(name): str(text) for name, text in (found.get("additional_data") or {}).items()}
        return Notice(str(found["id"]), kind, event, data, int(found.get("timestamp") or 0))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _binary_notice(value or b"")
    except (LookupError, TypeError, ValueError, AttributeError):
        return None


def _binary_notice(value: bytes) -> Notice | None:
    """Return a notification of a connector whose converter is Avro's, without asking a registry for schemas.

    Avro writes texts as they are, behind their length: what is looked for here has names of its own.
    """
    identity, event = _IDENTITY.search(value), _EVENT.search(value)
    if identity is None or event is None or b"Incremental Snapshot" not in value:
        return None
    data = {}
    for name in _TOLD:
        _, found, rest = value.partition(name.encode())
        # The length's form is zigzag: twice the number; of these texts it takes one byte.
        if found and rest:
            data[name] = rest[1 : 1 + (rest[0] >> 1)].decode("utf-8", "replace")
    return Notice(identity[0].decode(), "Incremental Snapshot", event[0].decode(), data, 0)


class Tail:
    """Read the newest messages of one topic.

    Args:
        place: whose cluster it is on.
        topic: which; it need not exist yet.
        back: how many messages of each partition before the present end are read too.
    """

    def __init__(self, place: Place, topic: str, back: int = 0) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._topic = topic
        settings = {"group.id": "tillstream-capture", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer({**place.kafka, **settings})
        found = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        starts = []
        self._left: dict[int, int] = {}
        for partition in found.partitions if found.error is None else ():
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_TIMEOUT_S
            )
            start = max(low, high - back)
            starts.append(TopicPartition(topic, partition, start))
            self._left[partition] = high - start
        self._consumer.assign(starts)

    @property
    def is_there(self) -> bool:
        """Tell whether the topic was there when this began."""
        return bool(self._left)

    def poll(self, wait_s: float) -> list[bytes]:
        """Return the values that have come, waiting for the first of them."""
        first = self._consumer.poll(wait_s) if self._left else None
        if first is None:
            return []
        found = [first, *self._consumer.consume(_TAIL_MESSAGES, 0)]
        for each in found:
            self._left[each.partition()] -= 1
        return [each.value() for each in found if each.error() is None and each.value() is not None]

    def backlog(self) -> list[bytes]:
        """Return what lay before the end at the beginning."""
        values: list[bytes] = []
        while any(left > 0 for left in self._left.values()):
            found = self.poll(_TIMEOUT_S)
            if not found:
                break
            values += found
        return values

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()


def last_progress(capture: Capture, place: Place) -> Progress | None:
    """Return how far the latest snapshot is that the connector told of; None where it told of none."""
    from confluent_kafka import KafkaException

    try:
        tail = Tail(place, capture.notifications_topic, _TAIL_MESSAGES)
        try:
            values = tail.backlog()
        finally:
            tail.close()
    except KafkaException:
        return None
    progress: Progress | None = None
    identity = ""
    for notice in filter(None, map(notice_of, values)):
        if progress is not None and notice.event == "SKIPPED":
            continue  # a restart took no new one
        if progress is None or notice.identity != identity or notice.event == "STARTED":
            if progress is not None and notice.kind.startswith("Initial") and notice.event != "STARTED":
                progress.note(notice)
                continue
            progress, identity = Progress(notice.kind.split()[0].lower()), notice.identity
        progress.note(notice)
    return progress


def _short(table: str) -> str:
    """Return `schema.table` of `database.schema.table`."""
    return ".".join(table.split(".")[-2:])
