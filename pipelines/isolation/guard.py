"""Guard the calls of a client's DoFn: time-outs, memory, and records that broke a process before."""

from __future__ import annotations

import gc
import resource
import threading
import traceback
from collections.abc import Mapping

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.pipelines.isolation.logs import limit_logs
from tillstream.pipelines.isolation.process import data_bytes, shared
from tillstream.pipelines.isolation.strikes import CONDEMNED, STEP_MARK, Strike
from tillstream.pipelines.isolation.watchdog import RecordTimeoutError, interrupt_nobody
from tillstream.pipelines.records import ChangeBatch, ChangeRecord

__all__ = ["ClientRaised", "RecordGuard", "refusal_of"]

_IDLE = -1
_DETAIL_CHARACTERS_MAX = 4000
_TRACE_CHARACTERS_MAX = 20_000
# Of the limit; below it, memory came back when the record was given up, so that nothing has leaked.
_RELEASED = 0.75


class ClientRaised(Exception):  # noqa: N818  (it carries an error, its cause)
    """Carry a RecordError out of a client's code, apart from those that say what is wrong with a record.

    What a client's code says may hold any value; our own rules are known to speak of one column alone.
    """


def refusal_of(error: BaseException) -> tuple[RecordError, str]:
    """Return what a dead letter says of what a client's code raised, and its traceback."""
    if isinstance(error, ClientRaised) and error.__cause__ is not None:
        error = error.__cause__
    return RecordError("transform_failed", f"{type(error).__name__}: {_words(error)}"), _trace(error)


class RecordGuard:
    """Guard one DoFn. One thread at a time uses it.

    What it costs a record are plain writes, 0.2 microseconds in all.

    Args:
        limits: the client's.
        name: of the transform, with its version.
    """

    def __init__(self, limits: Limits, name: str) -> None:
        self.name = name
        self.mutations_max = limits.mutations_per_record_max
        self.limit_s = (limits.record_timeout_ms or 0) / 1000
        self.token: object = None
        self.thread = 0
        self.lock = threading.Lock()
        self.interrupted = False
        self.condemned: Mapping[int, Strike] | None = None
        self.process = shared()
        self._flight = self.process.flight(name)
        self.words = self._flight.words
        self._topic, self._partition = "", 0
        if self.process.recorder is not None:
            limit_logs(limits.log_lines_per_s_max)
        if limits.record_timeout_ms is not None:
            self.process.watchdog.watch(self)

    def begin(self, batch: ChangeBatch) -> None:
        """Prepare for records of a batch, on this thread; those in `condemned` are not to be tried."""
        self.begin_at(batch.topic, batch.partition)

    def begin_at(self, topic: str, partition: int) -> None:
        """Prepare for records of a partition, or for a step that stands in place of a topic."""
        self.thread = threading.get_ident()
        self._topic, self._partition = topic, partition
        self._flight.identify(topic, partition, self.thread)
        strikes = self.process.strikes
        if strikes is not None:
            self.condemned = strikes.condemned(self.name, topic, partition)

    def enter(self, record: ChangeRecord) -> None:
        """Note the record that the DoFn is called with."""
        self.words[0] = record.offset
        self.token = record

    def leave(self) -> None:
        """Note that the DoFn has returned, or raised; to be called whatever happens.

        Raises:
            RecordTimeoutError: if it took too long.
        """
        self.token = None
        if self.interrupted and interrupt_nobody(self):
            raise RecordTimeoutError

    def end(self) -> None:
        """Note that the batch is done; to be called whatever happens.

        What breaks from now on is no record's fault, and nothing is raised in this thread any more.
        """
        self.words[0] = _IDLE
        self.token = None
        if self.interrupted:
            interrupt_nobody(self)
        self.thread = 0

    def judge(self, error: BaseException, offset: int) -> tuple[RecordError, str]:
        """Return what a record's dead letter says, and its traceback, after the DoFn has raised.

        Raises:
            MemoryError: if the process is short of memory; it must start anew.
            SchemaFrozenError: if the row outgrew the contract of its input, and the config says to stop then.
            KeyboardInterrupt: if a person asked the program to end.
        """
        if isinstance(error, RecordTimeoutError):
            interrupt_nobody(self)
            detail = f"process did not end within {self.limit_s * 1000:.0f} ms, limits.record_timeout_ms"
            return RecordError("timed_out", detail), _trace(error)
        if isinstance(error, MemoryError):
            return self._judge_memory(error, offset)
        if isinstance(error, SchemaFrozenError):
            raise error
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise error
        return refusal_of(error)

    def place(self) -> str:
        """Return the record's topic, partition and offset for a person."""
        if self._topic.endswith(STEP_MARK):
            return self._topic
        return f"{self._topic}[{self._partition}] offset {self.words[0]}"

    def blame(self, trace: str) -> None:
        """Note that this record is the reason why the process is about to end."""
        strikes = self.process.strikes
        offset = self.words[0]
        if strikes is not None and offset != _IDLE:
            place = (self.name, self._topic, self._partition, offset)
            # A step is tried once more: it stops the job, a record does not.
            weight = 1 if self._topic.endswith(STEP_MARK) else CONDEMNED
            strikes.add([Strike(*place, "timed_out", weight, trace=trace)])

    def _judge_memory(self, error: MemoryError, offset: int) -> tuple[RecordError, str]:
        # What the DoFn held hangs on the traceback.
        traceback.clear_frames(error.__traceback__)
        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        trace = _trace(error)
        error.__traceback__ = None
        gc.collect()
        if limit == resource.RLIM_INFINITY or data_bytes() > _RELEASED * limit:
            if self.process.strikes is not None:
                place = (self.name, self._topic, self._partition, offset)
                self.process.strikes.add([Strike(*place, "out_of_memory", trace=trace)])
                self.process.end_soon()
            raise error
        detail = f"process met the limit of {limit // 1024**2} MiB, flink.memory_mb_max"
        return RecordError("out_of_memory", detail), trace


def _words(error: BaseException) -> str:
    try:
        return str(error)[:_DETAIL_CHARACTERS_MAX]
    except Exception:  # noqa: BLE001  (a client's exception may do anything)
        return "(its text cannot be told)"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-_TRACE_CHARACTERS_MAX:]
