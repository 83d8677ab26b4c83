"""Commit a workload to the source, and write records that were published before once more."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from psycopg import sql

from tillstream.runners.verify.oracle import Oracle

if TYPE_CHECKING:
    import psycopg

    from tillstream.runners.verify.workload import Statement, Transaction, Workload

__all__ = ["Duplicator", "Traffic"]

_BATCH_EVENTS_MAX = 500
_TICK_S = 0.02
_BURST_FACTOR = 5
_BURST_EVERY_S = 8.0
_BURST_S = 1.0
_REMEMBERED = 5_000
_POLL_S = 0.2
_CLOSE_S = 10.0
# A record written again: about one in ten.
_SHARE = 0.1


class Traffic:
    """Commit transactions at a rate, with a burst every few seconds, until it is stopped.

    Args:
        connection: to the source, in autocommit mode; used by nobody else meanwhile.
        schema: of the tables.
        workload: what to commit.
        oracle: told what was committed.
        rate_per_s: row changes a second outside of bursts.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        schema: str,
        workload: Workload,
        oracle: Oracle,
        rate_per_s: float,
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._workload = workload
        self._transactions = workload.transactions()
        self._oracle = oracle
        self._rate_per_s = rate_per_s
        self._halt = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.committed_version = 0

    def fill(self) -> None:
        """Commit the opening rows."""
        self._commit([self._workload.opening()])

    def start(self) -> None:
        """Begin, beside the caller."""
        self._halt.clear()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the batch that is under way; raises what went wrong."""
        self._halt.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            last_s, began_s, due = time.monotonic(), time.monotonic(), 0.0
            while not self._halt.wait(_TICK_S):
                now_s = time.monotonic()
                is_burst = (now_s - began_s) % _BURST_EVERY_S > _BURST_EVERY_S - _BURST_S
                due += (now_s - last_s) * self._rate_per_s * (_BURST_FACTOR if is_burst else 1)
                due, last_s = min(due, _BATCH_EVENTS_MAX), now_s
                batch = []
                while due > 0:
                    batch.append(next(self._transactions))
                    due -= len(batch[-1])
                if batch:
                    self._commit(batch)
        except BaseException as error:  # noqa: BLE001 - raised by stop, in the caller's thread
            self._error = error

    def _commit(self, batch: Sequence[Transaction]) -> None:
        version = self._workload.version
        with self._connection.pipeline(), self._connection.cursor() as cursor:
            for transaction in batch:
                cursor.execute("begin")
                for statement in transaction:
                    cursor.execute(*self._sql(statement))
                cursor.execute("commit")
        for transaction in batch:
            for statement in transaction:
                self._oracle.add(statement.changes())
        self.committed_version = version

    def _sql(self, statement: Statement) -> tuple[sql.Composed, list[Any]]:
        table = statement.table
        name = sql.Identifier(self._schema, table.name)
        match = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(key)) for key in table.key)
        if statement.new is None:
            return sql.SQL("delete from {} where {}").format(name, match), list(statement.old or ())
        columns, values = list(statement.new), list(statement.new.values())
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        places = sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        if statement.old is None:
            return sql.SQL("insert into {} ({}) values ({})").format(name, names, places), values
        query = sql.SQL("update {} set ({}) = row({}) where {}").format(name, names, places, match)
        return query, [*values, *statement.old]


class _Record(NamedTuple):
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None


class Duplicator:
    """Write some of the records that Debezium has published once more, to the same partitions.

    Args:
        bootstrap: the broker.
        topics: of the tables.
        seed: of the choice.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str], seed: int) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._dice = random.Random(seed)  # noqa: S311 - traffic, not secrets
        self._halt = threading.Event()
        self._thread: threading.Thread | None = None
        self._seen: deque[_Record] = deque(maxlen=_REMEMBERED)
        self._consumer: Consumer | None = None
        self.injected = 0

    def start(self) -> None:
        """Begin, beside the caller."""
        self._halt.clear()
        self._thread = threading.Thread(target=self._run, name="duplicates", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, once all that was sent has arrived or failed."""
        self._halt.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def close(self) -> None:
        """Let go of the broker."""
        self.stop()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _run(self) -> None:
        producer = Producer({"bootstrap.servers": self._bootstrap, "log_level": 0})
        while not self._halt.is_set():
            found = self._poll()
            self._seen.extend(found)
            for _ in range(int(len(found) * _SHARE)):
                record = self._dice.choice(self._seen)
                producer.produce(
                    record.topic, record.value, record.key, record.partition, on_delivery=self._count
                )
            producer.poll(0)
        producer.flush(_CLOSE_S)

    def _count(self, error: KafkaError | None, _: object) -> None:
        self.injected += error is None

    def _poll(self) -> list[_Record]:
        """Return what is new; nothing while the broker is away."""
        if self._consumer is None:
            self._consumer = Consumer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "group.id": "tillstream-verify",
                    "enable.auto.commit": False,
                    "log_level": 0,
                }
            )
            known = self._consumer.list_topics(timeout=_CLOSE_S).topics
            self._consumer.assign(
                [TopicPartition(t, p, OFFSET_BEGINNING) for t in self._topics for p in known[t].partitions]
            )
        try:
            messages = self._consumer.consume(_BATCH_EVENTS_MAX, _POLL_S)
        except KafkaException:
            return []
        return [
            _Record(each.topic(), each.partition(), each.key(), each.value())
            for each in messages
            if each.error() is None
        ]
