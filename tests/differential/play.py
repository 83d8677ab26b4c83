"""Play the steps with restarts in between, and compare."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.differential.compare import Difference
from tests.differential.generator import OPENING, Generator, Opening
from tests.differential.model import Step
from tests.differential.rig import RESTARTS, DifferentialRig
from tillstream.pipelines.errors import StackError
from tillstream.runners.local.stack import LocalStack

__all__ = ["Options", "Outcome", "play"]

Say = Callable[[str], None]

_STEPS_PER_RESTART = 32
_COMPARED_AFTER = 8  # steps after a restart
_PACE_S_MAX = 0.15
_POLL_S = 0.5
_CALM_S = 3.0  # more than two checkpoints, in which a late duplicate would show


@dataclass(frozen=True)
class Options:
    """Say what is played.

    Attributes:
        seed: of all that is random.
        steps: how many.
        restarts: kinds of them, each as often as the others; without any there are only steps.
        opening: the tables that are there from the start on.
        without: features of the generator that are left out.
        atomicity: of the job's delivery.
        steps_per_restart: how many steps lie between two restarts.
        patience_s: longest wait for both sides to be equal, in seconds.
        stalled_s: after how long with the same difference, while the job runs, nothing more is coming.
    """

    seed: int
    steps: int = 500
    restarts: tuple[str, ...] = RESTARTS
    opening: Opening = OPENING
    without: tuple[str, ...] = ()
    atomicity: str = "row"
    steps_per_restart: int = _STEPS_PER_RESTART
    patience_s: float = 120.0
    stalled_s: float = 30.0


@dataclass
class Outcome:
    """Tell what was found.

    Attributes:
        seed: of all that was random.
        tables: how many there are at the end.
        rows: how many there are at the end.
        steps: how many were played.
        difference: the first one, if there is one.
        restarts: what was restarted, in order.
    """

    seed: int
    tables: int = 0
    rows: int = 0
    steps: int = 0
    difference: Difference | None = None
    restarts: list[str] = field(default_factory=list)

    def verdict(self) -> str:
        """Return the last line."""
        if self.difference is not None:
            return f"{self.difference}, after step {self.steps}, seed {self.seed}"
        return f"equal: {self.tables} tables, {self.rows} rows, {self.steps} steps, seed {self.seed}"


def play(options: Options, stack: LocalStack, say: Say) -> Outcome:
    """Play all steps, or those up to the first difference.

    Args:
        options: what is played.
        stack: that it is played on; left as it is.
        say: called with a line for a person.

    Raises:
        StackError: if a part does not come up, or the job ends.
    """
    generator = Generator(options.seed, options.opening, options.without)
    rig = DifferentialRig(stack, f"diff{options.seed}", generator.tables, options.atomicity)
    try:
        return _Run(options, generator, rig, say).play()
    finally:
        rig.close()


class _Run:
    def __init__(self, options: Options, generator: Generator, rig: DifferentialRig, say: Say) -> None:
        self._options = options
        self._generator = generator
        self._rig = rig
        self._say = say
        # Not the generator's own, so that its statements are the same whatever is restarted.
        self._dice = random.Random(options.seed + 1)  # noqa: S311 - restarts, not secrets
        self._deck: list[str] = []
        self._outcome = Outcome(options.seed)

    def play(self) -> Outcome:
        options, rig = self._options, self._rig
        rig.up(self._say)
        rig.execute(*self._generator.opening())
        rig.capture_all(self._say)
        rig.launch(self._say)
        self._compare("after the snapshot")
        steps = self._generator.steps()
        restarted_at = 0
        while self._outcome.difference is None and self._outcome.steps < options.steps:
            step = next(steps)
            self._apply(step)
            self._outcome.steps = step.number
            if options.restarts and step.number % options.steps_per_restart == options.steps_per_restart // 2:
                self._restart(step.number)
                restarted_at = step.number
            if restarted_at and step.number == restarted_at + _COMPARED_AFTER:
                self._compare(f"after step {step.number}")
        if self._outcome.difference is None:
            self._compare("at the end")
        if self._outcome.difference is None:
            _wait(_CALM_S)
            self._outcome.difference = rig.difference()
        self._outcome.tables = len(self._generator.tables)
        self._outcome.rows = rig.rows()
        return self._outcome

    def _apply(self, step: Step) -> None:
        if step.whole:
            self._rig.execute(*step.statements, commit=step.commit)
        else:
            for statement in step.statements:
                self._rig.execute(statement)
        if step.captured is not None:
            self._say(f"step {step.number}: {step.what}")
            self._rig.whole()
            self._rig.capture_all(self._say)
            self._rig.launch(self._say)
            self._rig.execute(*step.captured)
        _wait(step.idle_s or self._dice.uniform(0, _PACE_S_MAX))

    def _restart(self, number: int) -> None:
        if not self._deck:
            kinds = list(self._options.restarts)
            self._deck = self._dice.sample(kinds, len(kinds))
        kind = self._deck.pop()
        self._say(f"step {number}: restart of {kind}")
        self._rig.whole()
        self._rig.restart(kind, self._dice, self._say)
        self._outcome.restarts.append(kind)

    def _compare(self, when: str) -> None:
        """Compare until both sides are equal, or patience ends."""
        rig, last = self._rig, None
        rig.whole()
        began_s = changed_s = time.monotonic()
        while (difference := rig.difference()) is not None:
            now_s = time.monotonic()
            if difference != last or not rig.is_running():
                last, changed_s = difference, now_s
            if problem := rig.problem():
                raise StackError(f"{when}: {problem}: {rig.cause()}")
            if now_s - changed_s > self._options.stalled_s or now_s - began_s > self._options.patience_s:
                self._outcome.difference = difference
                if cause := rig.cause():
                    self._say(f"the job failed last of: {cause}")
                return
            _wait(_POLL_S)
        self._say(f"{when}: equal, {time.monotonic() - began_s:.1f} s later")


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)
