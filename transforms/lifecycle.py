"""Name what a client's code raises outside of any record, and end the job with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.isolation.budget import stop_job
from tillstream.pipelines.isolation.guard import refusal_of
from tillstream.pipelines.isolation.steps import StepInterruptedError
from tillstream.transforms.flows import Flow

__all__ = ["naming"]


@contextmanager
def naming(flow: Flow, step: str, *, stops: bool = True) -> Iterator[None]:
    """Raise what a client's code raises, outside of any record, as a TransformError that names it.

    Args:
        flow: whose code it is.
        step: which part of it.
        stops: whether the job ends, since no restart cures its code; else the error is merely raised.

    Raises:
        TransformError: for whatever the code raises. The job goes on where the error is of a step that took
            too long or too much memory for the first time: that costs a restart.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        said = f"raised {refusal_of(error)[0].detail}"
        if isinstance(error, StepInterruptedError):
            said, stops = str(error), stops and error.final
        named = TransformError(f"transform {flow.name!r} of entity {flow.target!r}: {step} {said}")
        named.__cause__ = error
        if stops:
            stop_job(named)
        raise named from error
