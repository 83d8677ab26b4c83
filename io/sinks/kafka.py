"""Write every change into topics of a Kafka cluster, one topic an entity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tillstream.configs import Entity
from tillstream.configs import KafkaSink as KafkaSinkModel
from tillstream.io.kafka_client import connection_settings, described, is_refusal
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.kafka_groups import Group, Task
from tillstream.io.sinks.kafka_ledger import Layout, LedgerTopic, partitions_for
from tillstream.io.sinks.kafka_producers import TRANSACTION_S_MAX, Sender, is_fenced
from tillstream.io.sinks.kafka_records import Message, Messages, letter_message
from tillstream.io.sinks.kafka_topics import Wanted, ensure_topics, message_bytes_max, partitions_of
from tillstream.pipelines.errors import SinkError, SinkUnavailableError, StaleWriterError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["KafkaSink"]

_LOG = logging.getLogger(__name__)
_ANSWER_S_MIN = 5
# A writer that is fenced so often in one call has a rival that is alive.
_FENCES_MAX = 2


class KafkaSink(Sink):
    """Write one message a mutation to `<topic_prefix>.<entity>`, keyed by the row's key as JSON.

    A message's value is a JSON object of METADATA and the row's columns, as a line of the files sink; a
    delete is a tombstone, with METADATA in its headers; a truncate is a message of METADATA alone under the
    key `{}`, in each partition, behind tombstones of the rows that are known. The key chooses the partition
    by murmur2, as the Java clients do, so that each key's messages keep their order. Topics are created if
    missing. Dead letters go to `<topic_prefix>.tillstream_dead_letters`, compacted by their identity.

    Delivery guarantees:
        With a writer, exactly-once for readers with `isolation.level=read_committed`; others also see what
        was undone, and so doubles. Messages and ledger are one Kafka transaction, so that a repeated batch
        is skipped and a missing one stops the job; a leftover writer is fenced by its successor, which reads
        the ledger after that. A new generation that reads older changes again leaves out those that were
        delivered; a roll-back delivers again what it takes back. Without a writer, at-least-once: after a
        failure messages are there twice, in an order that ends as it should; METADATA tells them apart.
        Broken by an unclean election of a leader, by who writes or deletes in the ledger topic, and by a
        number of partitions that is changed there; a topic that grows partitions loses the order across that
        moment. The ledger topic keeps one record an entity and shard, and one for each subtask of each
        parallelism that there ever was.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
        writer: who writes; None for at-least-once.
    """

    guarantee = "exactly-once"
    model: KafkaSinkModel

    def __init__(
        self,
        name: str,
        client: str,
        model: KafkaSinkModel,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        prefix = model.topic_prefix or client
        self._messages = Messages(name, prefix, entities)
        self._letters_topic = f"{prefix}.tillstream_dead_letters"
        self._ledger_topic = model.ledger_topic or f"{prefix}.tillstream_ledger"
        self._layout = None if writer is None else Layout.of(client, name, self._ledger_topic, writer)
        self._settings: dict[str, Any] = {}
        self._limits: dict[str, int] = {}
        self._tasks: dict[int, Task] = {}
        self._groups: dict[int, Group] = {}
        self._sender: Sender | None = None

    def open(self) -> None:
        """Connect, and create the topics; raises as Sink.open does."""
        self._settings = {
            **connection_settings(self.model, self.client),
            # A broker that was away is back in use soon after, not up to ten seconds later.
            "reconnect.backoff.max.ms": 1000,
            # Clients without a logger write to stderr: warnings only (syslog's 4).
            "log_level": 4,
        }
        self._insist(self._prepare)

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write batches, in one transaction a subtask; raises as Sink.write does."""
        if self._layout is None:
            self._insist(lambda timeout_s: self._append(batches, refuse, timeout_s))
            return
        by_subtask: dict[int, list[MutationBatch]] = {}
        for batch in batches:
            by_subtask.setdefault(self._layout.subtask(batch.shard), []).append(batch)
        for subtask, own in by_subtask.items():
            self._write_once(self._tasks[subtask], subtask, own, refuse)

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Write one message a letter, keyed by its identity; raises as Sink.write does."""
        limit = self._limits[self._letters_topic]
        messages = [letter_message(self._letters_topic, letter, limit) for letter in letters]
        self._insist(lambda timeout_s: self._send(messages, timeout_s))

    def close(self) -> None:
        """Let go of the producers."""
        while self._groups:
            subtask, _ = self._groups.popitem()
            Group.release(self.model.bootstrap_servers, self._tasks[subtask].transactional_id)
        self._drop_sender()

    def _prepare(self, timeout_s: float) -> None:
        admin = AdminClient(self._settings)
        wanted = [Wanted(topic, self.model.partitions) for topic in self._messages.topics]
        wanted.append(Wanted(self._letters_topic, 1, keeps_latest=True))
        if self._layout is not None:
            wanted.append(Wanted(self._ledger_topic, partitions_for(self._layout.shards), keeps_latest=True))
        ensure_topics(admin, wanted, self.model.replication_factor, timeout_s)
        self._limits = message_bytes_max(admin, [topic.name for topic in wanted], timeout_s)
        if self._layout is None or self.writer is None:
            return
        generation = self.writer.generation
        partitions = partitions_of(admin, self._ledger_topic, timeout_s)
        ledger = LedgerTopic(partitions, self._layout, self._settings)
        for subtask in range(self._layout.parallelism):
            identity = self._layout.transactional_id(subtask)
            shards = self._layout.shards_of(subtask)
            self._tasks[subtask] = Task(
                identity,
                generation,
                shards,
                ledger,
                self._encode,
                self._settings,
                self._limits,
                self.writer.undoes,
            )

    def _write_once(self, task: Task, subtask: int, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        if subtask not in self._groups:
            self._groups[subtask] = Group.acquire(self.model.bootstrap_servers, task.transactional_id)
        group, fences = self._groups[subtask], 0

        def attempt(timeout_s: float) -> None:
            nonlocal fences
            try:
                group.write(task, batches, refuse, timeout_s)
            except KafkaException as error:
                fences += is_fenced(error)
                if fences <= _FENCES_MAX:
                    raise
                raise StaleWriterError(
                    f"sink {self.name}: {task.transactional_id}: found another process that writes beside "
                    "this one, expected one: was the job started twice, or rescaled without a launch?"
                ) from error

        self._insist(attempt)

    def _append(self, batches: Sequence[MutationBatch], refuse: Refuse, timeout_s: float) -> None:
        messages, letters = self._encode(batches)
        if letters:
            refuse(letters)
        self._send(messages, timeout_s)

    def _encode(self, batches: Sequence[MutationBatch]) -> tuple[list[Message], list[DeadLetter]]:
        return self._messages.encode(batches, self._limits)

    def _send(self, messages: Sequence[Message], timeout_s: float) -> None:
        if self._sender is None:
            self._sender = Sender(self._settings, [*self._limits.values()])
        try:
            self._sender.send(messages)
            self._sender.flush(timeout_s)
        except KafkaException:
            # What it still holds would come after what is sent again.
            self._drop_sender()
            raise

    def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()

    def _insist(self, work: Callable[[float], None]) -> None:
        attempts = Retrying(
            retry=retry_if_exception(_is_curable),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(self.model.retry_s_max),
            before_sleep=self._say,
            reraise=True,
        )
        timeout_s = float(max(_ANSWER_S_MIN, min(TRANSACTION_S_MAX, self.model.retry_s_max)))
        address = self.model.bootstrap_servers
        try:
            attempts(self._attempt, work, timeout_s)
        except KafkaException as error:
            if _is_curable(error):
                raise SinkUnavailableError(
                    f"sink {self.name}: no lasting answer from Kafka at {address} within "
                    f"{self.model.retry_s_max} s: {described(error)}: check that the brokers are up and "
                    "reachable from here, and that their topics have a leader"
                ) from error
            raise SinkError(
                f"sink {self.name}: Kafka at {address} refuses: {described(error)}: check the sink's user "
                "and password, and its rights on its topics and transactional ids"
            ) from error

    def _attempt(self, work: Callable[[float], None], timeout_s: float) -> None:
        try:
            work(timeout_s)
        except KafkaException as error:
            if error.args[0].name() == "MSG_SIZE_TOO_LARGE":
                self._learn_limits(error, timeout_s)
            raise

    def _learn_limits(self, error: KafkaException, timeout_s: float) -> None:
        found = message_bytes_max(AdminClient(self._settings), list(self._limits), timeout_s)
        if found == self._limits:
            raise SinkError(
                f"sink {self.name}: Kafka at {self.model.bootstrap_servers} refuses a message: "
                f"{described(error)}: check message.max.bytes of the brokers, and max.message.bytes of the "
                f"topics: {found}"
            ) from error
        self._limits.update(found)

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            _LOG.warning(
                "sink %s (%s): %s; trying again", self.name, self.model.bootstrap_servers, described(error)
            )


def _is_curable(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and not is_refusal(error.args[0])
