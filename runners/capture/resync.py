"""Read tables again while job and connector go on, and repair what the warehouse has of them.

1. A message is written into the source's log, in a transaction. When the connector has sent it, all that it
   reads from now on is newer than the log's end before the message: that is the resync's position.
2. The job is told (`io/controls.py`), and each of its shards lets snapshot reads from there on through.
3. The connector is asked for an incremental snapshot (Debezium 3.3, "Read-only incremental snapshots").
4. When the job has read all of it, it is told to sweep rows that are older than the position.

A change that is committed meanwhile is newer than the snapshot read of its row, and wins. Nothing is swept
unless every row was read.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tillstream.io.controls import ControlMessage
from tillstream.pipelines.errors import StackError, UserError
from tillstream.pipelines.positions import postgres_position
from tillstream.runners.capture import source
from tillstream.runners.capture.choosing import choose, table_of
from tillstream.runners.capture.connector import HEARTBEAT_PREFIX
from tillstream.runners.capture.following import JobFollower
from tillstream.runners.capture.manage import rest_of
from tillstream.runners.capture.progress import Progress, Tail, last_progress, notice_of
from tillstream.runners.capture.sending import Sender
from tillstream.runners.capture.spec import Capture, Place
from tillstream.runners.capture.topics import create_topics

if TYPE_CHECKING:
    import psycopg

    from tillstream.configs import ClientConfig
    from tillstream.pipelines.records import Position

__all__ = ["Resynced", "resync"]

Say = Callable[[str], None]

_POLL_S = 0.2
_SHOW_EVERY_S = 5.0
# The connector looks for signals once a second, and reads the first rows at once.
_SIGNAL_DEADLINE_S = 60.0
_READ = frozenset({"SUCCEEDED", "EMPTY"})
_BEGIN = """
select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint,
       (extract(epoch from clock_timestamp()) * 1000000)::bigint
"""


@dataclass(frozen=True)
class Resynced:
    """Tell what a resync did.

    Attributes:
        rows: read of each entity's table.
        took_s: from the first step to the last, in seconds.
    """

    rows: Mapping[str, int]
    took_s: float

    def __str__(self) -> str:
        """Return it in a line."""
        return (
            f"resynced: {', '.join(self.rows)}; {sum(self.rows.values()):,} rows read and written again in "
            f"{self.took_s:.1f} s; the job was told to sweep older ones (metric resync_sweeps_skipped counts "
            "shards that could not)"
        )


def resync(
    config: ClientConfig,
    capture: Capture,
    place: Place,
    entities: Sequence[str],
    *,
    say: Say,
    deadline_s: float,
    leaves_out: bool = False,
) -> Resynced:
    """Read the tables of entities again, and repair what was changed, deleted or invented in the warehouse.

    Args:
        config: the client's; its job runs.
        capture: of the client.
        place: where that is.
        entities: each has a topic.
        say: takes a line for each step.
        deadline_s: how long all of it may take, in seconds.
        leaves_out: whether entities that cannot be read again are left out, which is said; else they are
            refused.

    Raises:
        StackError: if connector or job does not do its part in time.
        UnavailableError: if the database, Kafka, Connect or Flink does not answer.
        UserError: for what must be mended first.
    """
    with ExitStack() as open_things:
        connection = open_things.enter_context(source.opened(place.login))
        work = _Resync(config, capture, place, connection, say)
        open_things.callback(work.close)
        chosen = choose(config, capture, connection, entities, say, leaves_out=leaves_out)
        return work.run(chosen, time.monotonic() + deadline_s)


class _Resync:
    def __init__(
        self,
        config: ClientConfig,
        capture: Capture,
        place: Place,
        connection: psycopg.Connection[Any],
        say: Say,
    ) -> None:
        self._config, self._capture, self._place = config, capture, place
        self._connection, self._say = connection, say
        self._id = uuid.uuid4().hex
        self._job = JobFollower(config, place.kafka)
        self._sender = Sender(place.kafka)

    def close(self) -> None:
        self._job.close()

    def run(self, entities: Sequence[str], until_s: float) -> Resynced:
        began_s = time.monotonic()
        tables = {name: table_of(self._config, self._capture, name) for name in entities}
        self._check()
        create_topics(self._capture, self._place)
        position, time_us = self._begin(until_s)
        zeros = {name: [0] * len(self._ends(name)) for name in entities}
        self._tell("resync", position, time_us, zeros, until_s)
        self._say("the job lets the rows that are read through")
        starts = {name: self._ends(name) for name in entities}
        rows = self._read(tables, until_s)
        for name in entities:
            topic = self._topic(name)
            self._job.await_read(self._job.ends(topic), until_s, self._beat)
        self._say("the job has read them")
        self._tell("sweep", position, time_us, starts, until_s)
        # Sinks write what lies in a checkpoint when it is complete, which the next one shows.
        self._job.await_checkpoint(until_s, self._beat)
        return Resynced({name: rows[tables[name]] for name in entities}, time.monotonic() - began_s)

    def _check(self) -> None:
        client = self._capture.client
        config = rest_of(self._capture, self._place, 10.0).config()
        if config is None or config.get("signal.kafka.topic") != self._capture.signals_topic:
            found = "no connector" if config is None else "a connector without signals"
            raise UserError(
                f"client {client}: found {found}, expected one that takes them: "
                f"'tillstream capture create {client}'"
            )
        rest_of(self._capture, self._place, 30.0).wait_until_running()
        locked = self._connection.execute(
            "select pg_try_advisory_lock(hashtext(%s))", (f"tillstream resync {client}",)
        ).fetchone()
        if not (locked and locked[0]):
            raise UserError(f"client {client}: another resync of it runs, expected none: wait for its end")

    def _begin(self, until_s: float) -> tuple[Position, int]:
        """Return the resync's position, and the source's time, when the connector has passed them."""
        prefix = f"tillstream.resync.{self._id}"
        with closing(Tail(self._place, self._capture.messages_topic)) as tail:
            with self._connection.transaction():
                row = self._connection.execute(_BEGIN).fetchone()
                assert row is not None  # an expression has a value
                # In a transaction: whatever commits behind it comes behind it in the stream.
                self._connection.execute("select pg_logical_emit_message(true, %s, '')", (prefix,))
            while not any(prefix.encode() in value for value in tail.poll(_POLL_S)):
                if time.monotonic() > until_s:
                    raise StackError(
                        f"connector {self._capture.connector} did not send what was written into the "
                        f"source's log: see 'tillstream capture status {self._capture.client}'"
                    )
        lsn, time_us = row
        return postgres_position(None, lsn, "true"), time_us

    def _tell(
        self,
        control: Any,
        position: Position,
        time_us: int,
        starts: Mapping[str, Sequence[int]],
        until_s: float,
    ) -> None:
        """Send a message for each entity, and wait until every shard has settled it."""
        topic = self._config.replay_topic
        for name, offsets in starts.items():
            message = ControlMessage(control, name, self._id, position, time_us, tuple(offsets))
            self._sender.send(topic, message.encode(), name.encode())
        self._job.await_read(self._job.ends(topic), until_s, self._beat)
        self._job.await_checkpoint(until_s, self._beat)

    def _read(self, tables: Mapping[str, str], until_s: float) -> dict[str, int]:
        """Have the connector read tables; return the rows of each."""
        last = last_progress(self._capture, self._place)
        if last is not None and last.kind == "incremental" and last.state == "running":
            self._signal("stop-snapshot", tables)
        progress, left = Progress("incremental"), set(tables.values())
        with closing(Tail(self._place, self._capture.notifications_topic)) as tail:
            self._signal("execute-snapshot", tables)
            first_s, next_s = time.monotonic() + _SIGNAL_DEADLINE_S, time.monotonic() + _SHOW_EVERY_S
            while left:
                self._beat()
                for notice in filter(None, map(notice_of, tail.poll(_POLL_S))):
                    if notice.identity != self._id:
                        continue
                    first_s = until_s
                    progress.note(notice)
                    if notice.event == "TABLE_SCAN_COMPLETED":
                        self._completed(progress.table, notice.data.get("status", ""))
                        left.discard(progress.table)
                    elif notice.event in {"ABORTED", "COMPLETED"} and left:
                        self._give_up(f"{notice.event.lower()} without {', '.join(sorted(left))}")
                if time.monotonic() > next_s:
                    self._say(str(progress))
                    next_s += _SHOW_EVERY_S
                if time.monotonic() > min(first_s, until_s):
                    self._give_up(
                        "told nothing of it in time" if first_s < until_s else "was not done in time"
                    )
        self._say(str(progress))
        return progress.rows

    def _completed(self, table: str, status: str) -> None:
        if status not in _READ:
            self._give_up(f"could not read {table}: {status}")

    def _give_up(self, why: str) -> None:
        raise StackError(
            f"connector {self._capture.connector}: the snapshot {why}: see the log of connect and "
            f"'tillstream capture status {self._capture.client}'; rows that were read are repaired, nothing "
            "is swept; run resync again"
        )

    def _signal(self, kind: str, tables: Mapping[str, str]) -> None:
        """Send a signal (Debezium 3.3, "Sending signals to a Debezium connector", Kafka channel)."""
        import json

        collections = [table.replace(".", r"\.") for table in tables.values()]
        data = {"data-collections": collections, "type": "incremental"}
        body = {"id": self._id, "type": kind, "data": data}
        key = self._capture.topic_prefix.encode()
        self._sender.send(self._capture.signals_topic, json.dumps(body).encode(), key)

    def _beat(self) -> None:
        """Write into the log: the connector ends each part of a snapshot at a change behind it."""
        self._connection.execute("select pg_logical_emit_message(true, %s, '')", (HEARTBEAT_PREFIX,))

    def _ends(self, entity: str) -> list[int]:
        return list(self._job.ends(self._topic(entity)).values())

    def _topic(self, entity: str) -> str:
        found = self._config.entities[entity].topic
        assert found is not None  # as its caller has seen to
        return found
