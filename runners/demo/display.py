"""Show a running demo: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console
    from typing_extensions import Self

__all__ = ["Display", "Flow", "Frame"]

_LINE_EVERY_S = 2.0


@dataclass(frozen=True)
class Flow:
    """Count what went through one table.

    Attributes:
        events_in: row changes committed in the source since the simulator's start.
        rows_out: row versions seen to arrive in the warehouse since then.
        rows: in the warehouse now.
    """

    events_in: int
    rows_out: int
    rows: int


@dataclass(frozen=True)
class Frame:
    """Hold what one moment of the demo shows.

    Attributes:
        title: what is going on.
        elapsed_s: since the simulator's start.
        flows: by table.
        latency_ms: P50, P95 and maximum of the end-to-end latency; None before the first row.
        lag: messages that the job has not yet read; None while unknown.
    """

    title: str
    elapsed_s: float
    flows: dict[str, Flow]
    latency_ms: tuple[int, int, int] | None
    lag: int | None

    @property
    def total(self) -> Flow:
        """Return the sum of all tables."""
        flows = self.flows.values()
        return Flow(
            sum(flow.events_in for flow in flows),
            sum(flow.rows_out for flow in flows),
            sum(flow.rows for flow in flows),
        )

    def line(self) -> str:
        """Return the frame as one plain line."""
        total = self.total
        return (
            f"{self.elapsed_s:5.1f} s  {self.title}: events in {total.events_in:,}, "
            f"rows out {total.rows_out:,}, {self._figures()}"
        )

    def table(self) -> Table:
        """Return the frame as a table."""
        table = Table(title=f"{self.title}, {self.elapsed_s:.0f} s", caption=self._figures(), min_width=78)
        table.add_column("table")
        for heading in ("events in", "rows out", "rows in warehouse"):
            table.add_column(heading, justify="right")
        for name, flow in self.flows.items():
            table.add_row(name, *_cells(flow))
        table.add_section()
        table.add_row("all", *_cells(self.total), style="bold")
        return table

    def _figures(self) -> str:
        lag = "unknown" if self.lag is None else f"{self.lag:,}"
        if self.latency_ms is None:
            return f"end-to-end latency: no row yet, lag {lag}"
        p50, p95, highest = self.latency_ms
        return f"end-to-end latency P50 {p50:,} ms, P95 {p95:,} ms, max {highest:,} ms, lag {lag}"


class Display:
    """Draw frames until it is left.

    Args:
        console: a terminal gets a table that is redrawn, anything else a line every two seconds.
        clock: monotonic seconds.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._last_line_at: float | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, frame: Frame) -> None:
        """Draw a frame."""
        if self._live is not None:
            self._live.update(frame.table(), refresh=True)
            return
        now = self._clock()
        if self._last_line_at is None or now - self._last_line_at >= _LINE_EVERY_S:
            self._last_line_at = now
            self._console.print(frame.line(), markup=False, highlight=False, soft_wrap=True)


def _cells(flow: Flow) -> tuple[str, ...]:
    return f"{flow.events_in:,}", f"{flow.rows_out:,}", f"{flow.rows:,}"
