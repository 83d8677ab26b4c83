"""Bound what a client's code does in a bundle but for no record: start_bundle, finish_bundle."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from tillstream.pipelines.isolation.guard import RecordGuard, refusal_of
from tillstream.pipelines.isolation.strikes import STEP_MARK, Kind, Strike
from tillstream.pipelines.isolation.watchdog import RecordTimeoutError, interrupt_nobody

__all__ = ["StepInterruptedError", "run_step"]

_Result = TypeVar("_Result")
_DETAILS: Mapping[Kind, str] = {
    "timed_out": "did not end within limits.record_timeout_ms",
    "crashed": "ended the process",
    "out_of_memory": "met flink.memory_mb_max",
}


class StepInterruptedError(Exception):
    """Say that a step took too long, or too much memory.

    Args:
        text: what it did.
        final: whether another process would fare no better.
    """

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


def run_step(guard: RecordGuard, step: str, method: Callable[[], _Result]) -> _Result:
    """Call a method for no longer than a record may take.

    Args:
        guard: of the DoFn.
        step: the method's name.
        method: to call.

    Returns:
        what it returns.

    Raises:
        StepInterruptedError: if it takes too long or too much memory, or ended two processes before. For
            the first time it is not final, where somebody starts the process again.
    """
    place = step + STEP_MARK
    guard.begin_at(place, 0)
    try:
        if guard.condemned:
            kind = next(iter(guard.condemned.values())).kind
            raise StepInterruptedError(f"{_DETAILS[kind]}, twice", final=True)
        guard.words[0] = 0
        guard.token = object()
        try:
            return method()
        finally:
            guard.leave()
    except RecordTimeoutError as error:
        interrupt_nobody(guard)
        _give_up(guard, place, "timed_out", error)
    except MemoryError as error:
        # What it held hangs on the traceback.
        traceback.clear_frames(error.__traceback__)
        _give_up(guard, place, "out_of_memory", error)
    finally:
        guard.end()


def _give_up(guard: RecordGuard, place: str, kind: Kind, error: BaseException) -> NoReturn:
    process = guard.process
    if process.strikes is None:
        raise StepInterruptedError(_DETAILS[kind], final=True) from error
    process.strikes.add([Strike(guard.name, place, 0, 0, kind, trace=refusal_of(error)[1])])
    final = bool(process.strikes.condemned(guard.name, place, 0))
    if kind == "out_of_memory":
        process.end_soon()
    raise StepInterruptedError(_DETAILS[kind] + (", twice" if final else ""), final=final) from error
