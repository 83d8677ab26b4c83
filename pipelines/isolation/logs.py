"""Let a client's code log no more than others can bear: all jobs of a TaskManager share its log file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

__all__ = ["LogLimit", "limit_logs"]

_BURST_S = 10
_CHARACTERS_MAX = 16_384


class LogLimit(logging.Filter):
    """Drop what comes too fast, and say how much; shorten what is too long.

    Args:
        lines_per_s_max: on the average; ten seconds' worth may come at once.
        clock: seconds, as time.monotonic.
    """

    def __init__(self, lines_per_s_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate = lines_per_s_max
        self._clock = clock
        self._left = float(lines_per_s_max * _BURST_S)
        self._at_s = clock()
        self._dropped = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is logged."""
        now_s = self._clock()
        self._left = min(self._left + (now_s - self._at_s) * self._rate, float(self._rate * _BURST_S))
        self._at_s = now_s
        if self._left < 1:
            self._dropped += 1
            return False
        self._left -= 1
        message = record.getMessage()
        if self._dropped:
            message = f"[{self._dropped} lines dropped before, limits.log_lines_per_s_max] {message}"
            self._dropped = 0
        if len(message) > _CHARACTERS_MAX:
            message = message[:_CHARACTERS_MAX] + f"... [{len(message)} characters]"
        record.msg, record.args = message, ()
        return True


def limit_logs(lines_per_s_max: int) -> None:
    """Limit every handler of the root logger, once."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, LogLimit) for each in handler.filters):
            handler.addFilter(LogLimit(lines_per_s_max))
