"""Read topic-partitions from Kafka at offsets that the caller keeps.

One consumer serves all partitions that one worker process reads. It is assigned, never subscribed: which
offset comes next is the caller's checkpointed state, not the broker's consumer group. Offsets are
committed to the group all the same, for lag tools to show; nothing here ever reads them back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tillstream.configs.launching import current_launch
from tillstream.io.kafka_client import connection_settings
from tillstream.pipelines.errors import MissingToolError, UnavailableError

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

    from tillstream.configs import KafkaSource

__all__ = ["KafkaReader", "Partition"]

Partition: TypeAlias = tuple[str, int]

_log = logging.getLogger(__name__)

# Measured: with librdkafka's defaults one consumer reads 168,000 records/s, with these 837,000.
_FETCH = {
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 200_000,
    "queued.max.messages.kbytes": 65_536,
}
# How long the broker holds a fetch that has less than these bytes, and so how often a reader asks that has
# little to read: one that takes what there is at intervals need not be sent each record by itself. What is
# assigned meanwhile waits for it too.
_FETCH_WAIT_MS_MAX = 500
_FETCH_BYTES = 65_536
_NOWHERE = -1
# librdkafka takes no larger request.
_CONSUME_MAX = 1_000_000
_REQUEST_TIMEOUT_S = 10.0
_COMMIT_INTERVAL_S = 1.0
# How much may wait in memory for partitions whose turn has not come, in polls.
_BUFFERED_POLLS_MAX = 4


class _Left(list[Any]):
    """Be the buffer of a partition that nobody takes from any more."""

    def append(self, _: Any) -> None:
        """Take nothing."""


def _client_settings(source: KafkaSource, client: str) -> dict[str, Any]:
    """Return librdkafka's connection settings; secrets are resolved here, in the process that uses them."""
    return {
        **connection_settings(source, client),
        "topic.metadata.refresh.interval.ms": source.discovery_interval_s * 1000,
    }


class KafkaReader:
    """Poll partitions of one cluster for one client; safe for several threads.

    Delivery guarantees:
        Each call to `take` returns messages in offset order from exactly the offset asked for, so what is
        read follows the caller's state alone: exactly-once when that state is checkpointed together with
        what is made of the messages. It breaks where the broker no longer has the offset (retention):
        then `take` raises instead of skipping.

    Args:
        source: where and how to read.
        client: whose stream it is.
        group_id: consumer group whose offsets lag tools look at.

    Raises:
        MissingToolError: if the Kafka client is not installed.
    """

    def __init__(self, source: KafkaSource, client: str, group_id: str) -> None:
        try:
            from confluent_kafka import Consumer
        except ModuleNotFoundError as error:
            raise MissingToolError(
                f"a Kafka source needs the package {error.name}: pip install 'tillstream[kafka]'"
            ) from error

        self._poll_records_max = source.poll_records_max
        self._consumer: Consumer = Consumer(
            {
                **_client_settings(source, client),
                **_FETCH,
                "fetch.wait.max.ms": min(source.poll_interval_ms, _FETCH_WAIT_MS_MAX),
                "fetch.min.bytes": _FETCH_BYTES,
                "group.id": group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                # A lost offset must not turn into silently skipped records.
                "auto.offset.reset": "error",
            },
            logger=_log,
        )
        self._lock = threading.Lock()
        self._buffers: dict[Partition, list[Message]] = {}
        self._positions: dict[Partition, int] = {}
        self._ends: dict[Partition, int] = {}
        self._taken_s: dict[Partition, float] = {}
        self._committed: dict[Partition, int] = {}
        self._next_commit_s = 0.0
        launch = current_launch()
        self._generation = 0 if launch is None else launch.generation

    def topics(self) -> dict[str, int]:
        """Return every topic of the cluster with its number of partitions; empty when it cannot be asked."""
        from confluent_kafka import KafkaException

        with self._lock:
            try:
                metadata = self._consumer.list_topics(timeout=_REQUEST_TIMEOUT_S)
            except KafkaException as error:
                _log.warning("cannot list topics, will try again: %s", error)
                return {}
        return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}

    def offset_for(self, partition: Partition, time_ms: int | None) -> int | None:
        """Return the first offset at or after a time, or the first of all; None when it cannot be asked.

        Args:
            partition: topic and partition.
            time_ms: milliseconds since 1970 UTC by the messages' own timestamps, or None for the first.
        """
        from confluent_kafka import KafkaException, TopicPartition

        with self._lock:
            try:
                bounds = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=_REQUEST_TIMEOUT_S
                )
                if bounds is None or time_ms is None:
                    return None if bounds is None else int(bounds[0])
                asked = [TopicPartition(*partition, time_ms)]
                found = self._consumer.offsets_for_times(asked, timeout=_REQUEST_TIMEOUT_S)[0].offset
            except KafkaException as error:
                _log.warning("cannot find a start in %s[%d], will try again: %s", *partition, error)
                return None
        return int(found) if found >= 0 else int(bounds[1])

    def end_offset(self, partition: Partition) -> int:
        """Return the offset after the last message.

        Raises:
            UnavailableError: if the broker does not answer.
        """
        from confluent_kafka import KafkaException, TopicPartition

        with self._lock:
            try:
                bounds = self._consumer.get_watermark_offsets(
                    TopicPartition(*partition), timeout=_REQUEST_TIMEOUT_S
                )
            except KafkaException as error:
                raise UnavailableError(f"cannot ask for the end of {partition}: {error}") from error
        return int(bounds[1])

    def take(
        self, partition: Partition, offset: int, wait_s: float, limit: int | None = None
    ) -> list[Message]:
        """Return the next messages of a partition from an offset on, possibly none.

        Args:
            partition: topic and partition.
            offset: first offset wanted.
            wait_s: how long to wait for messages when none are buffered, seconds.
            limit: most messages wanted; the source's `poll_records_max` bounds it too.

        Raises:
            UnavailableError: if the broker no longer has the offset.
        """
        most = self._poll_records_max if limit is None else min(limit, self._poll_records_max)
        with self._lock:
            self._taken_s[partition] = time.monotonic()
            if self._positions.get(partition) != offset:
                self._seek(partition, offset)
            if not self._buffers[partition]:
                self._fill(wait_s)
            buffered = self._buffers[partition]
            taken, self._buffers[partition] = buffered[:most], buffered[most:]
            if taken:
                self._positions[partition] = taken[-1].offset() + 1
            return taken

    def is_drained(self, partition: Partition, since_s: float) -> bool:
        """Tell whether a partition has nothing to take now; False if it was not taken from since some time.

        Args:
            partition: topic and partition.
            since_s: by the monotonic clock. What was taken before may have been at another offset.

        Raises:
            UnavailableError: as of `take`.
        """
        with self._lock:
            if self._taken_s.get(partition, 0.0) <= since_s:
                return False
            if not self._buffers[partition]:
                self._fill(0.0)
            return not self._buffers[partition]

    def read_up_to(self, partition: Partition) -> int:
        """Return the offset up to which nothing is left to take; markers of transactions count as taken."""
        with self._lock:
            if self._buffers.get(partition):
                return self._positions[partition]
            return max(self._positions.get(partition, 0), self._ends.get(partition, 0))

    def leave(self, partition: Partition) -> None:
        """Stop fetching a partition, and forget what was fetched of it."""
        from confluent_kafka import TopicPartition

        with self._lock:
            if self._positions.pop(partition, None) is not None:
                self._consumer.incremental_unassign([TopicPartition(*partition)])
            # What is on its way still arrives.
            self._buffers[partition] = _Left()
            self._ends.pop(partition, None)

    def publish(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets to the consumer group, at most once a second, for lag tools.

        Each has the launch's generation as its metadata: who waits for a job that reads something again must
        not take another one's offset for it.
        """
        from confluent_kafka import KafkaException, TopicPartition

        with self._lock:
            self._committed.update(offsets)
            now_s = time.monotonic()
            if now_s < self._next_commit_s or not self._committed:
                return
            self._next_commit_s = now_s + _COMMIT_INTERVAL_S
            wanted = [
                TopicPartition(*partition, offset, str(self._generation))
                for partition, offset in self._committed.items()
            ]
            try:
                self._consumer.commit(offsets=wanted, asynchronous=True)
            except KafkaException as error:
                _log.warning("cannot publish offsets for lag tools: %s", error)
                return
            self._committed.clear()

    def close(self) -> None:
        """Leave the cluster."""
        with self._lock:
            self._consumer.close()

    def _seek(self, partition: Partition, offset: int) -> None:
        from confluent_kafka import TopicPartition

        if partition in self._positions:
            self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.incremental_assign([TopicPartition(*partition, offset)])
        self._positions[partition] = offset
        self._buffers[partition] = []
        self._ends.pop(partition, None)

    def _fill(self, wait_s: float) -> None:
        # As much as fits for all partitions at once: their batches are then as large as the poll allows.
        room = _BUFFERED_POLLS_MAX * self._poll_records_max - sum(map(len, self._buffers.values()))
        if room <= 0:
            return
        failed: list[tuple[Message, Any]] = []
        for message in self._consumer.consume(min(room, _CONSUME_MAX), wait_s):
            error = message.error()
            if error is None:
                self._buffers[message.topic(), message.partition()].append(message)
            else:
                failed.append((message, error))
        # Only now: an error of one partition must not cost the others what came beside it.
        for message, error in failed:
            self._note(message, error)

    def _note(self, message: Message, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            self._ends[message.topic(), message.partition()] = message.offset()
            return
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            # Forgotten, so that the next try assigns it anew.
            self._positions[message.topic(), message.partition()] = _NOWHERE
            raise UnavailableError(
                f"{message.topic()}[{message.partition()}]: offset {message.offset()} is gone "
                f"({error}): deleted before it was read; start the job anew"
            )
        _log.warning("%s[%s]: %s; will try again", message.topic(), message.partition(), error)
