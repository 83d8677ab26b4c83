"""Keep the ledger of a Kafka sink in a compacted topic.

A record is either an entry, `client/sink/entity/shard`, or an announcement,
`client/sink/@<transactional id>`: every writer announces itself before it writes anything else, so that one
of another layout finds it and fences it. Entries lie in the partition of their shard, and announcements in
the last one, so that a reader waits for the open transactions of its own shards only.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from tillstream.io.sinks.base import Writer
from tillstream.io.sinks.kafka_topics import end_offsets
from tillstream.io.sinks.ledger import Entry, Stream, decode_entry, encode_entry
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.sharding import shard_subtask

__all__ = ["Layout", "LedgerRecord", "LedgerTopic", "partitions_for"]

_PARTITIONS_MAX = 32
_RECORDS_MAX = 10_000
_WAIT_S = 0.2


class Layout(NamedTuple):
    """Name the writers of a sink: one for each subtask of one way to spread the shards.

    Attributes:
        client: whose sink it is.
        sink: its name.
        topic: of its ledger: two sinks of the same names on one cluster must not fence each other.
        shards: how many the job has.
        parallelism: how many subtasks.
        max_parallelism: how many key groups.
    """

    client: str
    sink: str
    topic: str
    shards: int
    parallelism: int
    max_parallelism: int

    @classmethod
    def of(cls, client: str, sink: str, topic: str, writer: Writer) -> Layout:
        """Return the layout of a job."""
        return cls(client, sink, topic, writer.shards, writer.parallelism, writer.max_parallelism)

    def subtask(self, shard: int) -> int:
        """Return the subtask that writes a shard."""
        return shard_subtask(shard, self.shards, self.max_parallelism, self.parallelism)

    def shards_of(self, subtask: int) -> list[int]:
        """Return the shards that a subtask writes."""
        return [shard for shard in range(self.shards) if self.subtask(shard) == subtask]

    @property
    def prefix(self) -> str:
        """Return what all its transactional ids begin with."""
        spread = f"p{self.parallelism}k{self.max_parallelism}s{self.shards}"
        return f"tillstream-{self.client}-{self.sink}-{zlib.crc32(self.topic.encode()):08x}-{spread}-"

    def transactional_id(self, subtask: int) -> str:
        """Return the transactional id of a subtask's writer."""
        return f"{self.prefix}{subtask}"


class LedgerRecord(msgspec.Struct, frozen=True):
    """Hold the value of a record.

    Attributes:
        writer: the transactional id that wrote it.
        entry: how far a stream has come, as JSON; None in an announcement.
        partitions: how many the topic had.
    """

    writer: str
    entry: str | None
    partitions: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerRecord).decode


def partitions_for(shards: int) -> int:
    """Return how many partitions a new ledger topic gets: one more than its shards share."""
    return min(shards, _PARTITIONS_MAX) + 1


class LedgerTopic:
    """Read the ledger of one sink, and spell its records.

    Args:
        partitions: how many it has.
        layout: whose entries they are.
        settings: of librdkafka, to connect.
    """

    def __init__(self, partitions: int, layout: Layout, settings: dict[str, Any]) -> None:
        self.topic = layout.topic
        self._partitions = partitions
        self._layout = layout
        self._settings = settings
        self._owner = f"{layout.client}/{layout.sink}/"

    @property
    def shards(self) -> int:
        """Return how many shards the job has."""
        return self._layout.shards

    def partition(self, shard: int) -> int:
        """Return the partition of a shard's entries."""
        return shard * max(self._partitions - 1, 1) // self._layout.shards

    def announcement(self, writer: str) -> tuple[int, bytes, bytes]:
        """Return partition, key and value of a writer's announcement."""
        value = _encode(LedgerRecord(writer, None, self._partitions))
        return self._partitions - 1, f"{self._owner}@{writer}".encode(), value

    def record(self, stream: Stream, entry: Entry, writer: str) -> tuple[int, bytes, bytes]:
        """Return partition, key and value of an entry."""
        key = f"{self._owner}{stream.entity}/{stream.shard}".encode()
        return (
            self.partition(stream.shard),
            key,
            _encode(LedgerRecord(writer, encode_entry(entry).decode(), self._partitions)),
        )

    def entries(self, shards: Iterable[int], timeout_s: float) -> dict[Stream, Entry]:
        """Read the entries of some shards, after all that began to write them has ended."""
        found = {}
        for key, record in self._read({self.partition(shard) for shard in shards}, timeout_s).items():
            entity, _, shard = key.removeprefix(self._owner).partition("/")
            if record.entry is not None:
                found[Stream(entity, int(shard))] = decode_entry(record.entry)
        return found

    def others(self, timeout_s: float) -> list[str]:
        """Read which writers of other layouts there ever were."""
        records = self._read({self._partitions - 1}, timeout_s).values()
        writers = {record.writer for record in records if record.entry is None}
        return sorted(writer for writer in writers if not writer.startswith(self._layout.prefix))

    def _read(self, partitions: set[int], timeout_s: float) -> dict[str, LedgerRecord]:
        """Read partitions to their end as it is now.

        Raises:
            KafkaException: if that takes longer than `timeout_s`: the cluster does not answer, or somebody's
                transaction stays open.
            SinkError: if a record cannot be read.
        """
        deadline_s = time.monotonic() + timeout_s
        ends = dict(end_offsets(AdminClient(self._settings), self.topic, partitions, timeout_s))
        consumer = Consumer(
            {
                **self._settings,
                "group.id": f"tillstream-{self._layout.client}-ledger",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
            }
        )
        try:
            consumer.assign([TopicPartition(self.topic, partition, 0) for partition in partitions])
            return self._gather(consumer, {place for place in ends.items() if place[1] > 0}, deadline_s)
        finally:
            consumer.close()

    def _gather(
        self, consumer: Consumer, ends: set[tuple[int, int]], deadline_s: float
    ) -> dict[str, LedgerRecord]:
        waiting = dict(ends)
        found: dict[str, LedgerRecord] = {}
        while waiting:
            if time.monotonic() > deadline_s:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, f"reading {self.topic} to its end")  # noqa: SLF001
                )
            # `consume` alone waits until it has as many as it may take.
            first = consumer.poll(_WAIT_S)
            for message in [] if first is None else [first, *consumer.consume(_RECORDS_MAX, 0)]:
                error = message.error()
                if error is None:
                    self._note(found, message)
                    end = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    end = message.offset()
                else:
                    raise KafkaException(error)
                if end >= waiting.get(message.partition(), end + 1):
                    del waiting[message.partition()]
        return found

    def _note(self, found: dict[str, LedgerRecord], message: Any) -> None:
        key = message.key().decode()
        if not key.startswith(self._owner):
            return
        if message.value() is None:
            found.pop(key, None)
            return
        try:
            record = _decode(message.value())
        except msgspec.MsgspecError as error:
            raise SinkError(
                f"{self.topic}[{message.partition()}], offset {message.offset()}: found {error}, "
                "expected a ledger entry: was it written by a newer release?"
            ) from error
        if record.partitions != self._partitions:
            raise SinkError(
                f"topic {self.topic}: found {self._partitions} partitions, expected {record.partitions}, "
                "with which it was written: entries would not be found again; write to a new ledger_topic"
            )
        found[key] = record
