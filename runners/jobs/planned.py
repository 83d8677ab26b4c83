"""Hold what would happen to a client's job, as `compat.judge` finds it, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

__all__ = ["EXIT_CODES", "Change", "Effect", "Loss", "Part", "Plan", "Verdict", "worst"]

Part: TypeAlias = Literal["config", "transform", "contract", "stage", "encoding", "library", "deployment"]
# From what changes nothing to what cannot be; the worst of all changes is the verdict.
Effect: TypeAlias = Literal["none", "restart", "restore", "restore_without", "refused"]
Verdict: TypeAlias = Literal["new", "no_change", "restart", "restore", "restore_without", "refused"]

EXIT_CODES: dict[Verdict, int] = {
    "no_change": 0,
    "new": 10,
    "restart": 10,
    "restore": 10,
    "restore_without": 20,
    "refused": 30,
}
# Of one value in a line.
_SHOWN_MAX = 120
_EFFECTS = get_args(Effect)
_PARTS = get_args(Part)
_TITLES = {
    "config": "config",
    "transform": "transforms",
    "contract": "contracts",
    "stage": "stages",
    "encoding": "encodings",
    "library": "libraries",
    "deployment": "deployment",
}
_WORDS: dict[Verdict, str] = {
    "new": "launch: no job runs, and there is no state to go on from",
    "no_change": "no change",
    "restart": "restart with all state",
    "restore": "restore with state",
    "restore_without": "restore, without some state",
    "refused": "refused",
}


@dataclass(frozen=True)
class Change:
    """Say one thing that differs between the job that is wanted and the one that runs.

    Attributes:
        part: what kind of thing.
        name: of it: a JSON pointer of the config or of a FlinkDeployment, an entity, a stage, a library.
        old: what it is where the job runs, in words or as JSON; None where there was none.
        new: what it would be; None where there would be none.
        effect: what it takes.
        note: what to know of it; of what is refused, why, and which way there is.
    """

    part: Part
    name: str
    old: Any
    new: Any
    effect: Effect
    note: str = ""

    def line(self) -> str:
        """Return the change in one line."""
        sign = "+" if self.old is None else "-" if self.new is None else "~"
        both = self.old is not None and self.new is not None
        shown = f"{_shown(self.old)} -> {_shown(self.new)}" if both else _shown(self.new or self.old)
        note = f"   ({self.note})" if self.note else ""
        return f"{sign} {self.name}: {shown}{note}"


@dataclass(frozen=True)
class Loss:
    """Name state that a restored job would not have.

    Attributes:
        stage: label of the stage.
        state: its name.
        holds: what it holds, and so what would be forgotten.
        is_dropped: whether Flink must be told to let it go, because no stage takes it.
    """

    stage: str
    state: str
    holds: str
    is_dropped: bool = False


@dataclass(frozen=True)
class Plan:
    """Say what would happen to a client's job.

    Attributes:
        client: whose job.
        verdict: new (a launch from nothing), no_change, restart (nothing that touches state differs), restore
            (from its state), restore_without (without what is `lost`), refused.
        reasons: sentences; of what is refused each with the way that there is.
        lost: state that would be forgotten.
        changes: all that differs.
        notes: what to know beside.
        job_id: of the job that runs; None where none does.
        checkpoint: path of what the state would come from, None where there is none.
    """

    client: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    lost: tuple[Loss, ...] = ()
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    job_id: str | None = None
    checkpoint: str | None = None

    @property
    def exit_code(self) -> int:
        """Return what `tillstream plan` exits with."""
        return EXIT_CODES[self.verdict]

    def why_not(self, *, accepts_loss: bool) -> str | None:
        """Return why the plan is not to be followed; None where it is."""
        if self.verdict == "refused":
            return "; ".join(self.reasons)
        if self.verdict == "restore_without" and not accepts_loss:
            lost = ", ".join(f"{each.stage}/{each.state}" for each in self.lost)
            return f"it would forget {lost}: --accept-loss does it all the same"
        return None

    @property
    def drops_state(self) -> bool:
        """Tell whether Flink must be allowed to drop state that no stage takes."""
        return any(loss.is_dropped for loss in self.lost)

    def lines(self, *, detail: bool = False) -> list[str]:
        """Return the plan for people: the verdict, why, and the differences by part.

        Args:
            detail: differences that take nothing too.
        """
        found = [f"{self.client}: {_WORDS[self.verdict]}"]
        found += [f"  because {reason}" for reason in self.reasons]
        if self.lost:
            found.append("forgotten:")
            found += [f"  - {loss.stage}/{loss.state}: {loss.holds}" for loss in self.lost]
        for part in _PARTS:
            changes = [each for each in self.changes if each.part == part]
            shown = [each for each in changes if detail or each.effect != "none"]
            if shown:
                found.append(f"{_TITLES[part]}:")
                found += [f"  {each.line()}" for each in shown]
        found += [f"note: {note}" for note in self.notes]
        if detail:
            found += list(self._origin())
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {**asdict(self), "exit_code": self.exit_code, "drops_state": self.drops_state}

    def _origin(self) -> Iterator[str]:
        yield f"running job: {self.job_id or 'none'}"
        yield f"state from: {self.checkpoint or 'none'}"


def worst(effects: Iterator[Effect]) -> Effect:
    """Return the effect that takes the most."""
    return max(effects, key=_EFFECTS.index, default="none")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
