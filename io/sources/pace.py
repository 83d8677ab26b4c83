"""Keep partitions at one pace while a job catches up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tillstream.io.sources.kafka import Partition

__all__ = ["Pace"]

# How far the fastest partition may be ahead of the slowest, by the times of their messages.
_AHEAD_MS_MAX = 1_000
# A partition that was not asked for as long is read by somebody else, or by nobody.
_ASKED_S_MAX = 5.0


@dataclass
class _Read:
    at_s: float
    time_ms: int
    is_behind: bool


class Pace:
    """Say which partitions of a process should let the others catch up; safe for several threads.

    What waits for something of another partition waits for less then: what lies between the two is bounded by
    a poll and by what was written within a second. A partition without more messages holds nobody up.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read: dict[Partition, _Read] = {}
        self._lock = threading.Lock()

    def is_ahead(self, partition: Partition) -> bool:
        """Tell whether others should be read first; called whenever it is a partition's turn."""
        now_s = self._clock()
        with self._lock:
            own = self._read.get(partition)
            if own is None:
                return False
            own.at_s = now_s
            bound_ms = own.time_ms - _AHEAD_MS_MAX
            return any(
                each.is_behind and each.time_ms < bound_ms and each.at_s > now_s - _ASKED_S_MAX
                for each in self._read.values()
            )

    def note(self, partition: Partition, time_ms: int | None) -> None:
        """Note how far a partition was read.

        Args:
            partition: topic and number.
            time_ms: of its last message, milliseconds since 1970 UTC; None where there was no more.
        """
        now_s = self._clock()
        with self._lock:
            own = self._read.get(partition)
            if time_ms is not None:
                self._read[partition] = _Read(now_s, time_ms, is_behind=True)
            elif own is not None:
                own.at_s, own.is_behind = now_s, False
