"""Read change events into batches: the first stage of every pipeline.

For Kafka an unbounded stream of ticks drives the reading: `Ticks` names the partitions, and `ReadChanges`,
keyed by partition, polls each of them from the offset in its checkpointed state. For a bounded run
`ReadBounded` reads files, or Kafka up to its present end.
"""

from __future__ import annotations

import functools
import struct
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import BytesCoder
from apache_beam.metrics import Metrics
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

from tillstream.configs import ClientConfig, FilesSource
from tillstream.io.collector import ChangeCollector
from tillstream.io.sources.bounded import ReadBound
from tillstream.io.sources.choosing import partitions_of
from tillstream.io.sources.files import read_lines
from tillstream.io.sources.kafka import Partition
from tillstream.io.sources.session import KafkaSession
from tillstream.io.transactions import warn_of_missing
from tillstream.pipelines.errors import RecordError, UnavailableError
from tillstream.pipelines.sharding import partition_key

__all__ = ["OFFSET_VERSION", "ReadBounded", "ReadChanges", "Ticks", "decode_offset", "encode_offset"]

OFFSET_VERSION = 1
_OFFSET = struct.Struct(">Bq")
# While no topic exists yet a new one is wanted soon.
_EMPTY_DISCOVERY_INTERVAL_S = 1.0
_FILE_BATCH_LINES = 10_000
_WAIT_S = 1.0
# Polled then, whatever is known.
_QUIET_S_MAX = 10.0
_encode_tick = msgspec.msgpack.Encoder().encode
_decode_tick = msgspec.msgpack.Decoder(tuple[str, int, int]).decode


def encode_offset(offset: int) -> bytes:
    """Return the checkpointed form of an offset: a version byte and eight bytes."""
    return _OFFSET.pack(OFFSET_VERSION, offset)


def decode_offset(state: bytes) -> int:
    """Read an offset out of a checkpoint.

    Raises:
        ValueError: if it was written by a release that this one does not read.
    """
    version, offset = _OFFSET.unpack(state) if len(state) == _OFFSET.size else (state[:1], 0)
    if version != OFFSET_VERSION:
        raise ValueError(f"offset state: found version {version!r}, expected {OFFSET_VERSION}")
    return int(offset)


class Ticks(beam.DoFn):
    """Turn each impulse into one tick for every partition that the client reads, and that has something.

    Input: impulses. Output: (partition key, encoded (topic, partition, time in ms)). Of partitions that are
    polled in this process it is known whether they have something, so an idle job runs this stage alone.
    New topics and partitions are found every `discovery_interval_s`.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config

    def setup(self) -> None:
        """Join the process's session with the cluster."""
        self._session = KafkaSession.acquire(self._config)
        self._partitions: list[tuple[bytes, str, int]] = []
        self._next_discovery_s = 0.0
        self._since_s = time.monotonic()

    def process(self, impulse: bytes) -> Iterator[tuple[bytes, bytes]]:  # noqa: ARG002
        """Emit a tick for each known partition that is not quiet."""
        now_s = time.monotonic()
        if now_s >= self._next_discovery_s:
            self._discover()
        # Polls from before this attempt of the job may have been at other offsets than its state has.
        since_s = max(self._since_s, now_s - _QUIET_S_MAX)
        now_ms = time.time_ns() // 1_000_000
        for key, topic, partition in self._partitions:
            if not self._session.is_quiet((topic, partition), since_s):
                yield key, _encode_tick((topic, partition, now_ms))
        # What polls have noted may still wait for its turn.
        self._session.reader.publish({})

    def teardown(self) -> None:
        """Leave the session."""
        KafkaSession.release(self._config)

    def _discover(self) -> None:
        counts = self._session.reader.topics()
        found = partitions_of(self._config, counts)
        warn_of_missing(self._config, counts)
        interval_s = self._config.kafka.discovery_interval_s if found else _EMPTY_DISCOVERY_INTERVAL_S
        self._next_discovery_s = time.monotonic() + interval_s
        groups = self._config.flink.max_parallelism
        # A broker that does not answer must not stop the ticks of what is known already.
        known = {(topic, partition) for _, topic, partition in self._partitions}
        self._partitions += [(partition_key(*each, groups), *each) for each in found if each not in known]


class ReadChanges(beam.DoFn):
    """Poll a partition at each of its ticks, from the offset in its state.

    Input: ticks, keyed by partition. Output: (shard key, ChangeBatch frame), and dead letters for what
    cannot be read as a change of a known entity. Where transactions arrive whole, (GATHERED, Share frame)
    under `TRANSACTIONS` besides.

    Delivery guarantees:
        Exactly-once within the job: the offset lies in the same checkpoint as everything made of the
        records before it. State is nine bytes a partition. It breaks where records are deleted from the
        topic before they are read; then the job fails, naming partition and offset.
    """

    OFFSET = ReadModifyWriteStateSpec("offset", BytesCoder())

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._read = Metrics.counter("tillstream", "events_read")

    def setup(self) -> None:
        """Join the process's session with the cluster."""
        self._session = KafkaSession.acquire(self._config)
        self._bound = ReadBound.current()
        self._take = (
            self._session.take if self._bound is None else functools.partial(self._bound.take, self._session)
        )
        self._collector = ChangeCollector(self._config)
        self._polled_until_ms: dict[bytes, int] = {}

    def process(
        self, element: tuple[bytes, bytes], offset_state: Any = beam.DoFn.StateParam(OFFSET)
    ) -> Iterator[Any]:
        """Read one bounded poll and emit its batches."""
        key, tick = element
        topic, partition, tick_ms = _decode_tick(tick)
        # A tick from before the end of the last poll is stale: answering it would queue barriers behind it.
        if tick_ms < self._polled_until_ms.get(key, 0):
            return
        stored = offset_state.read()
        offset = self._session.start_offset(topic, partition) if stored is None else decode_offset(stored)
        if offset is None:
            return
        pace = self._session.pace
        if pace is not None and pace.is_ahead((topic, partition)):
            return
        messages = self._take((topic, partition), offset)
        if pace is not None:
            pace.note((topic, partition), messages[-1].timestamp()[1] if messages else None)
        if messages:
            self._collector.add(topic, partition, messages)
            offset = messages[-1].offset() + 1
            yield from self._collector.flush()
            self._read.inc(len(messages))
        # Without messages too: what the last poll found may still wait for its turn to be published. The
        # first poll says where it begins, and so that there is nothing to read again, where that is so.
        if self._bound is None:
            is_news = messages or key not in self._polled_until_ms
            self._session.reader.publish({(topic, partition): offset} if is_news else {})
        if messages or stored is None:
            offset_state.write(encode_offset(offset))
        self._polled_until_ms[key] = time.time_ns() // 1_000_000

    def teardown(self) -> None:
        """Leave the session."""
        KafkaSession.release(self._config)


class ReadBounded(beam.DoFn):
    """Read a bounded set of changes: files, or Kafka up to the end that it has when the reading starts.

    Input: one element that starts it. Output: as of `ReadChanges`.

    Delivery guarantees:
        At-least-once: a repeated run reads everything again, in the same order.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._read = Metrics.counter("tillstream", "events_read")

    def setup(self) -> None:
        """Prepare the codecs."""
        self._collector = ChangeCollector(self._config)

    def process(self, start: bytes) -> Iterator[Any]:  # noqa: ARG002
        """Read everything and emit its batches."""
        source = self._config.source.files
        yield from self._read_kafka() if source is None else self._read_files(source)

    def _read_files(self, source: FilesSource) -> Iterator[Any]:
        for path in source.expand():
            number = 0
            try:
                for number, line in enumerate(read_lines(path), 1):
                    self._collector.add_line(str(path), number, line)
                    if number % _FILE_BATCH_LINES == 0:
                        yield from self._collector.flush()
            except RecordError as error:
                self._collector.refuse_file(str(path), number, error)
            yield from self._collector.flush()
            self._read.inc(number)

    def _read_kafka(self) -> Iterator[Any]:
        session = KafkaSession.acquire(self._config)
        try:
            topics = session.reader.topics()
            if not topics:
                raise UnavailableError(
                    f"Kafka at {self._config.kafka.bootstrap_servers} names no topics: check the address, "
                    "the login and that the broker runs"
                )
            for topic, partition in partitions_of(self._config, topics):
                yield from self._read_partition(session, (topic, partition))
        finally:
            KafkaSession.release(self._config)

    def _read_partition(self, session: KafkaSession, partition: Partition) -> Iterator[Any]:
        end = session.reader.end_offset(partition)
        offset = session.start_offset(*partition)
        if offset is None:
            raise UnavailableError(f"cannot find where to start in {partition[0]}[{partition[1]}]")
        if offset >= end:
            return
        while session.reader.read_up_to(partition) < end:
            messages = [
                message for message in session.take(partition, offset, _WAIT_S) if message.offset() < end
            ]
            if messages:
                self._collector.add(*partition, messages)
                offset = messages[-1].offset() + 1
                yield from self._collector.flush()
                self._read.inc(len(messages))
