"""Send messages to Kafka, in transactions or without."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from tillstream.io.sinks.kafka_records import Message

__all__ = ["TRANSACTION_S_MAX", "Sender", "is_fenced"]

_LOG = logging.getLogger(__name__)
# A writer that vanished holds up readers of committed messages for so long, unless its successor comes first.
TRANSACTION_S_MAX = 30
_LOOK_S = 1.0
_ABORT_S = 2.0
_FENCED = ("_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH")


def is_fenced(error: KafkaException) -> bool:
    """Tell whether the cluster has given this producer's transactional id to another."""
    return error.args[0].name() in _FENCED


class Sender:
    """Hold one producer; after any error it is of no more use.

    Args:
        settings: of librdkafka, to connect.
        limits: most bytes of a message, by topic.
        transactional_id: of its transactions; None for none.
    """

    def __init__(
        self, settings: dict[str, Any], limits: Sequence[int], transactional_id: str | None = None
    ) -> None:
        self.transactional_id = transactional_id
        self._address = settings["bootstrap.servers"]
        self._failures: list[KafkaError] = []
        self._open = False
        transactions: dict[str, Any] = {
            "enable.idempotence": True,
            "message.timeout.ms": TRANSACTION_S_MAX * 1000,
        }
        if transactional_id is not None:
            transactions |= {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_S_MAX * 1000,
            }
        self._producer = Producer(
            {
                **settings,
                **transactions,
                # As the Java clients do, so that others who write by the same key meet the same partition.
                "partitioner": "murmur2_random",
                "compression.type": "lz4",
                "linger.ms": 5,
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": max(1000, *limits),
                # A batch that is too large is refused whole, with all its messages.
                "batch.size": min(1_000_000, *limits),
                "delivery.report.only.error": True,
                # Not a method of this object: a producer goes, with its threads, when nothing holds it.
                "on_delivery": partial(_note, self._failures),
            },
            logger=_LOG,
        )

    def begin(self, timeout_s: float) -> None:
        """Take over the transactional id: whoever had it is fenced, and what it left open is undone."""
        self._producer.init_transactions(timeout_s)

    def transact(self, send: Callable[[Sender], None], timeout_s: float) -> None:
        """Send messages in one transaction.

        Raises:
            KafkaException: if they are not committed, or if that is not known.
        """
        deadline_s = time.monotonic() + timeout_s
        self._producer.begin_transaction()
        self._open = True
        send(self)
        self.flush(deadline_s - time.monotonic())
        self.commit(max(deadline_s - time.monotonic(), _LOOK_S))
        self._open = False

    def commit(self, timeout_s: float) -> None:
        """Commit what is flushed."""
        self._producer.commit_transaction(timeout_s)

    def send(self, messages: Sequence[Message]) -> None:
        """Queue messages, each to the partition of its key, or to every partition.

        Raises:
            KafkaException: if the partitions cannot be told.
        """
        for message in messages:
            if message.everywhere:
                found = self._producer.list_topics(message.topic, TRANSACTION_S_MAX).topics[message.topic]
                for partition in found.partitions:
                    self._queue(message.topic, message.value, message.key, partition=partition)
            else:
                self._queue(message.topic, message.value, message.key, headers=message.headers)

    def send_to(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Queue one message for a partition."""
        self._queue(topic, value, key, partition=partition)

    def flush(self, timeout_s: float) -> None:
        """Wait until the cluster has all that is queued.

        Raises:
            KafkaException: if it refuses some, or does not answer within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while (waiting := self._serve(self._producer.flush)) > 0 and not self._failures:
            if time.monotonic() > deadline_s:
                raise KafkaException(
                    KafkaError(KafkaError._TIMED_OUT, "messages are not acknowledged")  # noqa: SLF001
                )
            _LOG.warning("Kafka at %s has %d messages to acknowledge; waiting", self._address, waiting)
        if self._failures:
            raise KafkaException(self._failures[0])

    def close(self) -> None:
        """Give up what is not committed, and disconnect."""
        try:
            self._producer.purge()
            if self._open:
                # Else readers of committed messages wait until it times out.
                self._producer.abort_transaction(_ABORT_S)
        except KafkaException as error:
            _LOG.info("Kafka at %s: a transaction is left to time out: %s", self._address, error)
        self._open = False

    def _queue(self, topic: str, value: bytes | None, key: bytes, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, **{k: v for k, v in more.items() if v is not None})
            except BufferError:
                self._serve(self._producer.poll)
                if self._failures:
                    raise KafkaException(self._failures[0]) from None
            else:
                return

    @staticmethod
    def _serve(call: Callable[[float], int]) -> int:
        try:
            return call(_LOOK_S)
        except SystemError as error:
            # The client raises a fatal error and then calls back all the same, which Python does not allow.
            if isinstance(error.__cause__, KafkaException):
                raise error.__cause__ from error
            raise


def _note(failures: list[KafkaError], error: KafkaError | None, message: Any) -> None:
    del message
    if error is not None:
        failures.append(error)
