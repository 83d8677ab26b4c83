"""Take from Beam's worker what costs it more than its work, where bundles are small and jobs are many.

Each of these is set right before the worker starts, in the process that it runs in. What they were measured
to save is in docs/decisions/0026-a-hundred-jobs.md.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["make_lean", "sizes_plainly", "waits_long", "without_sampling"]

_GRPC_WAIT_S = 5.0
_LISTS = frozenset({list, tuple})
_KNOWN = _LISTS | {bytes, str, int, float, bool, type(None)}
# Of more it is worth while to see what is there twice, or in itself.
_PARTS_MAX = 10_000


def make_lean() -> None:
    """Take all of it."""
    waits_long()
    without_sampling()
    sizes_plainly()


def waits_long() -> None:
    """Let threads that wait for gRPC sleep.

    Each wakes up ten times a second for signals, which a lock of Python 3 does not hold up: of an idle
    process that is the most of its processor time.
    """
    import grpc

    grpc._common.MAXIMUM_WAIT_TIMEOUT = _GRPC_WAIT_S  # noqa: SLF001


def without_sampling() -> None:
    """Let bundles end when they are done.

    Beam times the steps of each bundle by a thread whose sleeps grow up to 200 ms, and the bundle's end waits
    for the one under way: the longer a bundle was open, the longer, and so does each stage of a checkpoint.
    Without it the sampled times of steps are zero; counters and distributions, the job's own too, stay.
    """
    from apache_beam.runners.worker import statesampler

    def start(sampler: Any) -> None:
        sampler.tracked_thread = threading.current_thread()
        statesampler.set_current_tracker(sampler)
        sampler.started = True

    def stop(sampler: Any) -> None:
        statesampler.set_current_tracker(None)
        sampler.finished = True

    statesampler.StateSampler.start = start
    statesampler.StateSampler.stop = stop


def sizes_plainly() -> None:
    """Size what the state cache holds by its own parts.

    Beam looks through the names of all imported modules first, thousands of them, each time that a value is
    put: more than most bundles take. Values of other types than these go Beam's way still.
    """
    from apache_beam.runners.worker import statecache

    thorough = statecache.get_deep_size

    def size(*values: Any) -> int:
        """Return how many bytes values take."""
        found, left = 0, list(values)
        while left:
            value = left.pop()
            kind = type(value)
            if kind in _LISTS:
                left.extend(value)
            if len(left) > _PARTS_MAX or kind not in _KNOWN:
                return int(thorough(*values))
            found += sys.getsizeof(value)
        return found

    statecache.get_deep_size = size
