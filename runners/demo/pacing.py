"""Decide how many events are due at a moment: a steady rate with one burst."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Pace"]


@dataclass(frozen=True)
class Pace:
    """Describe the rate of a run.

    Attributes:
        rate_per_s: events a second outside the burst.
        duration_s: length of the run, in seconds.
        burst_factor: how many times the rate is multiplied in the burst.
        burst_start: when the burst begins, as a share of the duration.
        burst_share: how long it lasts, as a share of the duration.
    """

    rate_per_s: float
    duration_s: float
    burst_factor: float = 5.0
    burst_start: float = 0.5
    burst_share: float = 0.1

    def events_due(self, elapsed_s: float) -> int:
        """Return how many events are due after `elapsed_s` seconds; none fall due after the end."""
        elapsed_s = min(max(elapsed_s, 0.0), self.duration_s)
        start_s = self.burst_start * self.duration_s
        burst_s = min(max(elapsed_s - start_s, 0.0), self.burst_share * self.duration_s)
        # The small addend keeps a whole number whole that floating point left a hair below it.
        return int(self.rate_per_s * (elapsed_s + (self.burst_factor - 1) * burst_s) + 1e-6)

    def in_burst(self, elapsed_s: float) -> bool:
        """Say whether the burst is on after `elapsed_s` seconds."""
        start_s = self.burst_start * self.duration_s
        return start_s <= elapsed_s < start_s + self.burst_share * self.duration_s
