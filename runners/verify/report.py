"""Sum a run up, for people and for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tillstream.runners.verify.oracle import Differences

__all__ = ["Report"]


@dataclass
class Report:
    """Hold what a run found.

    Attributes:
        seed: of workload and faults.
        sinks: that were compared.
        rounds: that were played to their end.
        faults: how often each kind happened.
        changes: that the source committed.
        injected: records that were written to the broker once more.
        recovery_s: longest time from a fault to the first row that was committed after it, by kind.
        differences: of the last comparison, by sink.
    """

    seed: int
    sinks: Sequence[str]
    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    changes: int = 0
    injected: int = 0
    recovery_s: dict[str, float] = field(default_factory=dict)
    differences: Mapping[str, Differences] = field(default_factory=dict)

    @property
    def is_exact(self) -> bool:
        """Say whether every sink was compared, and none differs."""
        return set(self.differences) == set(self.sinks) and all(
            each.is_exact for each in self.differences.values()
        )

    def recovered(self, kind: str, seconds: float) -> None:
        """Take the time that one fault cost."""
        self.recovery_s[kind] = max(self.recovery_s.get(kind, 0.0), round(seconds, 1))

    def verdict(self) -> str:
        """Return one line for a person."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.faults.items())) or "none"
        totals = ", ".join(f"{name} {count}" for name, count in self._totals().items())
        return (
            f"verdict: {'exact' if self.is_exact else 'NOT EXACT'}: {totals} "
            f"({self.changes:,} changes and {self.injected:,} repeated records to {', '.join(self.sinks)}; "
            f"{self.rounds} rounds; faults: {kinds})"
        )

    def json_line(self) -> str:
        """Return the figures as one JSON object."""
        return json.dumps(
            {
                **self._totals(),
                "exact": self.is_exact,
                "faults": dict(sorted(self.faults.items())),
                "seed": self.seed,
                "recovery_s_max": max(self.recovery_s.values(), default=None),
                "recovery_s": dict(sorted(self.recovery_s.items())),
                "rounds": self.rounds,
                "sinks": list(self.sinks),
                "changes": self.changes,
                "injected": self.injected,
            }
        )

    def _totals(self) -> dict[str, int]:
        totals: Counter[str] = Counter(Differences().counts())
        for each in self.differences.values():
            totals.update(each.counts())
        return dict(totals)
