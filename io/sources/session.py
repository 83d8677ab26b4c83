"""Share one Kafka reader among the stages of a client's job in one worker process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, ClassVar

from tillstream.io.sources.kafka import KafkaReader, Partition
from tillstream.io.sources.pace import Pace

if TYPE_CHECKING:
    from confluent_kafka import Message

    from tillstream.configs import ClientConfig

__all__ = ["KafkaSession", "RateLimiter"]


# How long a bounded run waits for its rate to allow more.
_RATE_PAUSE_S = 0.05


class RateLimiter:
    """Grant records at a steady rate, with at most one second's worth saved up.

    Args:
        per_s: records a second.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._saved = 0.0
        self._seen_s = time.monotonic()
        self._lock = threading.Lock()

    def available(self) -> int:
        """Return how many records may be read now."""
        with self._lock:
            now_s = time.monotonic()
            self._saved = min(self._per_s, self._saved + (now_s - self._seen_s) * self._per_s)
            self._seen_s = now_s
            return int(self._saved)

    def spend(self, records: int) -> None:
        """Take records off what is saved up."""
        with self._lock:
            self._saved -= records


class KafkaSession:
    """Hold the reader, the start position, the rate and the pace of one client in one process.

    Args:
        config: the client's; its source is Kafka.
    """

    _open: ClassVar[dict[str, tuple[KafkaSession, int]]] = {}
    _open_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, config: ClientConfig) -> None:
        self._source = config.kafka
        self.reader = KafkaReader(self._source, config.client, config.group_id)
        rate = self._source.rate_limit_per_s
        self._limiter = None if rate is None else RateLimiter(rate)
        # Rows wait for those of other partitions only where transactions do.
        self.pace = Pace() if config.delivery.atomicity == "transaction" else None

    @classmethod
    def acquire(cls, config: ClientConfig) -> KafkaSession:
        """Return the process's session for this client, opening it at the first call."""
        with cls._open_lock:
            session, users = cls._open.get(config.client) or (cls(config), 0)
            cls._open[config.client] = (session, users + 1)
            return session

    @classmethod
    def release(cls, config: ClientConfig) -> None:
        """Give a session back; the last one closes it."""
        with cls._open_lock:
            session, users = cls._open.pop(config.client)
            if users > 1:
                cls._open[config.client] = (session, users - 1)
                return
        session.reader.close()

    def start_offset(self, topic: str, partition: int) -> int | None:
        """Return where reading a partition starts that no checkpoint knows; None when it cannot be told yet.

        A partition that `start.offsets` does not name starts at its first record, and so does one that
        appears after a start by time, because all its records are younger.
        """
        start = self._source.start
        if start == "earliest":
            return self.reader.offset_for((topic, partition), None)
        if start == "latest":
            raise AssertionError  # the launcher turns `latest` into a time, so that restarts agree on it
        if start.offsets is not None:
            explicit = start.offsets.get(topic, {}).get(partition)
            return self.reader.offset_for((topic, partition), None) if explicit is None else explicit
        return self.reader.offset_for((topic, partition), start.timestamp_ms)

    def is_quiet(self, partition: Partition, since_s: float) -> bool:
        """Tell whether polling a partition would find nothing; False if this process has not polled it since.

        Args:
            partition: topic and partition.
            since_s: by the monotonic clock.
        """
        # A pace goes on with the polls that find nothing.
        return self.pace is None and self.reader.is_drained(partition, since_s)

    def take(self, partition: Partition, offset: int, wait_s: float = 0.0) -> list[Message]:
        """Return the next messages within the client's rate, waiting for them at most some seconds."""
        if self._limiter is None:
            return self.reader.take(partition, offset, wait_s)
        allowed = self._limiter.available()
        if allowed <= 0:
            time.sleep(min(wait_s, _RATE_PAUSE_S))
            return []
        messages = self.reader.take(partition, offset, wait_s, allowed)
        self._limiter.spend(len(messages))
        return messages
