"""Go easy on an HTTP host: a rate, a circuit breaker, and the pauses that it asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Host"]

# How long others wait while one request tries a host that was left alone.
_PROBE_LOOK_S = 0.1


class Host:
    """Say when the next request may go to one host; safe for several threads.

    Closed, the breaker lets requests pass at the host's rate. After some failures in a row it opens: nothing
    passes until a pause is over. Then one request probes the host; its success closes the breaker, its
    failure starts another pause.

    Args:
        requests_per_s_max: the rate; None for none.
        failures_max: how many failures in a row open the breaker.
        pause_s: how long it then stays open, seconds.
        clock: returns seconds of a clock that never goes back.
    """

    def __init__(
        self,
        requests_per_s_max: int | None,
        failures_max: int,
        pause_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s = 0.0 if requests_per_s_max is None else 1.0 / requests_per_s_max
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next_s = clock()
        self._failures = 0
        self._probing = False

    def wait_s(self) -> float:
        """Return 0 where a request may go now, and count it; else how long to wait before asking again."""
        with self._lock:
            now_s = self._clock()
            if self._next_s > now_s:
                return self._next_s - now_s
            if self._failures >= self._failures_max:
                if self._probing:
                    return _PROBE_LOOK_S
                self._probing = True
            self._next_s = now_s + self._gap_s
            return 0.0

    def succeeded(self) -> None:
        """Note that the host answered a request."""
        with self._lock:
            self._failures = 0
            self._probing = False

    def failed(self) -> None:
        """Note that a request found the host out of order."""
        with self._lock:
            self._failures += 1
            self._probing = False
            if self._failures >= self._failures_max:
                self._next_s = max(self._next_s, self._clock() + self._pause_s)

    def hold(self, pause_s: float) -> None:
        """Let nothing pass for so long: the host has asked for it."""
        with self._lock:
            self._probing = False
            self._next_s = max(self._next_s, self._clock() + pause_s)
