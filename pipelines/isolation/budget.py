"""Count what a client's code and rules refuse, and stop the job when it is too much."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import ErrorBudgetError, TillstreamError
from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE
from tillstream.pipelines.records import DeadLetter

__all__ = ["STOPPED", "ErrorBudget", "StopNote", "last_stop", "stop_job"]

# What every stop's reason begins with; it is looked for in what Flink keeps of a job.
STOPPED = "the job has stopped itself: "
_STEPS = frozenset({"transform", "trust"})
_VERSION = 1
_REASONS_SHOWN = 3
_stops: list[TillstreamError] = []


class StopNote(msgspec.Struct):
    """Hold why a job has stopped itself, for the process that comes after.

    Attributes:
        version: of this form.
        reason: in words for a person.
    """

    version: int
    reason: str

    @staticmethod
    def path(folder: Path) -> Path:
        """Return where it lies in the folder of a launch."""
        return folder / "stopped.json"

    @classmethod
    def read(cls, folder: Path) -> StopNote | None:
        """Return a launch's note; None without one, or where another release wrote it."""
        try:
            found = msgspec.json.decode(cls.path(folder).read_bytes(), type=cls)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None
        return found if found.version == _VERSION else None

    def write(self, folder: Path) -> None:
        """Leave it in the folder of a launch."""
        part = folder / f"stopped.{os.getpid()}.part"
        part.write_bytes(msgspec.json.encode(self))
        part.rename(self.path(folder))


class ErrorBudget:
    """Count the dead letters of transforms and trust stages over a window of wall time.

    What is replayed after a restart counts again. Each process counts for itself.

    Args:
        client: whose they are.
        limits: the client's.
        clock: seconds, as time.monotonic.
    """

    def __init__(self, client: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._limits = limits
        self._clock = clock
        self._spent: deque[tuple[float, Counter[str]]] = deque()
        self._count = 0

    def check(self) -> None:
        """Raise ErrorBudgetError if this launch has stopped itself before."""
        folder = os.environ.get(FLIGHTS_VARIABLE)
        note = None if folder is None else StopNote.read(Path(folder))
        if note is not None:
            raise ErrorBudgetError(note.reason)

    def spend(self, letters: Iterable[DeadLetter]) -> None:
        """Count letters that are written.

        Raises:
            ErrorBudgetError: if there were too many; the job must not go on.
        """
        errors_max = self._limits.errors_max
        # A person who gives letters back knows that they may fail again.
        fresh = [letter for letter in letters if letter.status == "open" and not letter.attempt]
        counted = Counter(_kind(letter) for letter in fresh if letter.step in _STEPS)
        if errors_max is None or not counted:
            return
        now_s = self._clock()
        self._spent.append((now_s, counted))
        self._count += counted.total()
        while self._spent[0][0] < now_s - self._limits.error_window_s:
            self._count -= self._spent.popleft()[1].total()
        if self._count > errors_max:
            self._stop(errors_max)

    def _stop(self, errors_max: int) -> None:
        kinds: Counter[str] = Counter()
        for _, counted in self._spent:
            kinds.update(counted)
        most = "; ".join(f"{count} times {kind}" for kind, count in kinds.most_common(_REASONS_SHOWN))
        reason = (
            f"client {self._client}: {self._count} records were refused within "
            f"{self._limits.error_window_s} s, limits.errors_max allows {errors_max}: {most}. They are "
            "in the dead letters. Mend what refuses them, or raise the limit; then start the job from its "
            "newest checkpoint."
        )
        stop_job(ErrorBudgetError(reason))


def stop_job(error: TillstreamError) -> NoReturn:
    """Raise an error that no restart can cure, and see to it that the job is not started again and again.

    What is raised begins with STOPPED, and is one line, so that it is found in what runners write around it.
    """
    named = type(error)(f"{STOPPED}{' '.join(str(error).split())}")
    named.__cause__ = error.__cause__
    folder = os.environ.get(FLIGHTS_VARIABLE)
    if folder is not None:
        StopNote(_VERSION, str(named)).write(Path(folder))
    _stops[:] = [named]
    raise named


def last_stop() -> TillstreamError | None:
    """Return why a job has stopped itself in this process, and forget it: runners wrap what steps raise."""
    return _stops.pop() if _stops else None


def _kind(letter: DeadLetter) -> str:
    # Not the detail, which may hold what a row holds.
    return f"{letter.reason} by {letter.transform or letter.step} in {letter.entity}"
