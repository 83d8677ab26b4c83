"""Write numbered batches in Kafka transactions: one producer for each subtask, shared by a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from confluent_kafka import KafkaException

from tillstream.io.sinks.base import Refuse
from tillstream.io.sinks.kafka_ledger import LedgerTopic
from tillstream.io.sinks.kafka_producers import Sender, is_fenced
from tillstream.io.sinks.kafka_records import Message
from tillstream.io.sinks.ledger import Entry, Stream, admit, streams_of
from tillstream.pipelines.errors import StaleWriterError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["Encode", "Group", "Task"]

_LOG = logging.getLogger(__name__)

Encode: TypeAlias = Callable[[Sequence[MutationBatch]], tuple[list[Message], list[DeadLetter]]]


@dataclass(frozen=True)
class Task:
    """Say what a group writes for one sink.

    Attributes:
        transactional_id: the group's.
        generation: of the launch.
        shards: those that it writes.
        ledger: the sink's.
        encode: makes messages of mutations.
        settings: of librdkafka, to connect.
        limits: most bytes of a message, by topic.
        undoes: as of `Writer`.
    """

    transactional_id: str
    generation: int
    shards: Sequence[int]
    ledger: LedgerTopic
    encode: Encode
    settings: dict[str, Any]
    limits: Mapping[str, int]
    undoes: int = 0

    def sender(self, transactional_id: str) -> Sender:
        """Return a producer that has not begun."""
        return Sender(self.settings, [*self.limits.values()], transactional_id)


class Group:
    """Be the writer of one subtask's shards.

    A process has one for each transactional id, whoever uses it: Beam hands a subtask's bundles to any of
    a process's DoFn instances, and two producers of one id would fence each other for ever.

    What it may write it knows from the ledger, which it reads after it has fenced all who could still
    write there: the former producer of its own id, and those of other layouts. So nothing is committed
    between what it has read and what it writes, but by somebody who has fenced it.
    """

    _all: ClassVar[dict[tuple[str, str], tuple[Group, int]]] = {}
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sender: Sender | None = None
        # None until they were read: then nobody can be told from a successor.
        self._entries: dict[Stream, Entry] | None = None

    @classmethod
    def acquire(cls, servers: str, transactional_id: str) -> Group:
        """Return the process's group of a transactional id."""
        with cls._all_lock:
            group, users = cls._all.get((servers, transactional_id)) or (cls(), 0)
            cls._all[servers, transactional_id] = (group, users + 1)
            return group

    @classmethod
    def release(cls, servers: str, transactional_id: str) -> None:
        """Give a group back; the last one closes its producer."""
        with cls._all_lock:
            group, users = cls._all.pop((servers, transactional_id))
            if users > 1:
                cls._all[servers, transactional_id] = (group, users - 1)
                return
        group.close()

    def close(self) -> None:
        """Let go of the producer."""
        with self._lock:
            self._drop()

    def write(self, task: Task, batches: Sequence[MutationBatch], refuse: Refuse, timeout_s: float) -> None:
        """Write those of a subtask's batches that are not written yet, once.

        Raises:
            KafkaException: if that failed, or is not known to be done: try again.
            StaleWriterError: if another process has taken over and written.
            SequenceGapError, SinkError: as `ledger.admit` does.
        """
        with self._lock:
            try:
                sender, entries = self._sender, self._entries
                if sender is None or entries is None:
                    sender, entries = self._open(task, timeout_s)
                admission = admit(
                    entries,
                    batches,
                    generation=task.generation,
                    shards=task.ledger.shards,
                    drops_repeated=True,
                    undoes=task.undoes,
                )
                if not admission.entries:
                    return
                messages, letters = task.encode(admission.batches)
                if letters:
                    refuse(letters)
                _send(task, sender, messages, admission.entries, timeout_s)
                entries.update(admission.entries)
            except KafkaException as error:
                self._drop()
                if is_fenced(error):
                    self._check_lead(task, streams_of(batches), timeout_s, error)
                raise

    def _open(self, task: Task, timeout_s: float) -> tuple[Sender, dict[Stream, Entry]]:
        """Fence all others, then read what they have written."""
        ledger = task.ledger
        self._sender = sender = task.sender(task.transactional_id)
        sender.begin(timeout_s)
        # Before others are looked for: of two layouts that begin at once the later one finds the earlier.
        announcement = ledger.announcement(task.transactional_id)
        sender.transact(lambda to: to.send_to(ledger.topic, *announcement), timeout_s)
        for other in ledger.others(timeout_s):
            fence = task.sender(other)
            fence.begin(timeout_s)
            fence.close()
        self._entries = entries = ledger.entries(task.shards, timeout_s)
        _LOG.info("%s: writing on from %d ledger entries", task.transactional_id, len(entries))
        return sender, entries

    def _check_lead(
        self, task: Task, streams: Sequence[Stream], timeout_s: float, error: KafkaException
    ) -> None:
        """Die where a successor has written; a fence without that was a transaction that took too long."""
        if self._entries is None:
            return
        found = task.ledger.entries({stream.shard for stream in streams}, timeout_s)
        for stream in streams:
            if found.get(stream) != self._entries.get(stream):
                raise StaleWriterError(
                    f"{task.transactional_id}: entity {stream.entity!r}, shard {stream.shard}: another "
                    "process has taken over and written on: this one is a leftover, or the job was started "
                    "twice"
                ) from error

    def _drop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close()


def _send(
    task: Task,
    sender: Sender,
    messages: Sequence[Message],
    entries: Mapping[Stream, Entry],
    timeout_s: float,
) -> None:
    ledger = task.ledger
    records = [ledger.record(stream, entry, task.transactional_id) for stream, entry in entries.items()]

    def send(to: Sender) -> None:
        to.send(messages)
        for record in records:
            to.send_to(ledger.topic, *record)

    sender.transact(send, timeout_s)
