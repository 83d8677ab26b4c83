"""Say how a demo ended: one verdict line for a person, one JSON line for a program."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from datetime import datetime

    from tillstream.runners.demo.compare import Comparison
    from tillstream.runners.demo.latency import Arrivals
    from tillstream.runners.demo.simulator import Committed

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Hold a demo's figures, under the names that its JSON line uses.

    Attributes:
        events: row changes that the simulator committed.
        rows: of the source, compared with the warehouse.
        missing: rows that the warehouse lacks.
        extra: rows that the source lacks.
        mismatched: rows that differ.
        latency_ms_p50: median of commit in the source to commit in the warehouse; None without rows.
        latency_ms_p95: 95th percentile of the same.
        throughput_per_s: events by the seconds from the first one's commit until the last row was visible.
    """

    events: int
    rows: int
    missing: int
    extra: int
    mismatched: int
    latency_ms_p50: int | None
    latency_ms_p95: int | None
    throughput_per_s: float

    @classmethod
    def of(cls, committed: Committed, arrivals: Arrivals, comparison: Comparison) -> Outcome:
        """Take the figures from those who counted."""
        events = committed.total()
        # A delete leaves no row to see, so the last one is taken to be visible no earlier than its commit.
        last_at = max(filter(None, (arrivals.last_at, committed.last_at)), default=None)
        return cls(
            events=events,
            rows=comparison.rows,
            missing=comparison.missing,
            extra=comparison.extra,
            mismatched=comparison.mismatched,
            latency_ms_p50=arrivals.latencies.percentile(50),
            latency_ms_p95=arrivals.latencies.percentile(95),
            throughput_per_s=_rate(events, committed.first_at, last_at),
        )

    @property
    def is_exact(self) -> bool:
        """Say whether source and warehouse are the same."""
        return not (self.missing or self.extra or self.mismatched)

    def verdict(self, tables: int) -> str:
        """Return the line that a person reads."""
        return (
            f"verdict: missing {self.missing:,}, extra {self.extra:,}, mismatched {self.mismatched:,} "
            f"({self.rows:,} rows in {tables} tables, {self.events:,} events)"
        )

    def json_line(self) -> str:
        """Return the line that a program reads."""
        return orjson.dumps(asdict(self)).decode()


def _rate(events: int, first_at: datetime | None, last_at: datetime | None) -> float:
    if first_at is None or last_at is None or last_at <= first_at:
        return 0.0
    return round(events / (last_at - first_at).total_seconds(), 1)
