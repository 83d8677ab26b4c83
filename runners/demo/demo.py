"""Play the whole demo: stack, source, capture, job, traffic, verdict."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from tillstream.runners.demo import schema, views
from tillstream.runners.demo.compare import Comparison, TablePair, compare
from tillstream.runners.demo.display import Display
from tillstream.runners.demo.latency import Arrivals
from tillstream.runners.demo.outcome import Outcome
from tillstream.runners.demo.pacing import Pace
from tillstream.runners.demo.simulator import Committed, Simulator
from tillstream.runners.demo.watch import Watch
from tillstream.runners.lag import Lag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    import psycopg
    from rich.console import Console

    from tillstream.runners.demo.site import Site

__all__ = ["DemoOptions", "run"]

_EXAMPLES_SHOWN = 5


@dataclass(frozen=True)
class DemoOptions:
    """Say how the demo is played.

    Attributes:
        duration_s: how long the simulator runs, in seconds.
        rate_per_s: events a second, outside the burst of five times as many.
        seed: of the traffic.
        keep: leave stack and job running after the verdict.
    """

    duration_s: float = 30.0
    rate_per_s: float = 200.0
    seed: int = 1
    keep: bool = False


def run(options: DemoOptions, site: Site, console: Console) -> Outcome:
    """Play the demo, from a stopped or a running stack to the verdict.

    Args:
        options: how it is played.
        site: what it is played on.
        console: where a person reads.

    Returns:
        The figures. Whatever ends the demo before the verdict, an error or Ctrl-C, takes down what was
        brought up, also with `keep`.

    Raises:
        TillstreamError: if a part of the stack does not come up, or the job fails.
    """
    with ExitStack() as undo:
        undo.callback(site.leave)
        outcome = _Demo(options, site, console).play()
        if options.keep:
            undo.pop_all()
    return outcome


class _Demo:
    """Hold what all steps of one demo share."""

    def __init__(self, options: DemoOptions, site: Site, console: Console) -> None:
        self._options = options
        self._site = site
        self._console = console
        self._began_s = time.monotonic()

    def play(self) -> Outcome:
        """Go through all steps; leaves stack and job running."""
        self._site.enter(self._step)
        self._site.forget()
        with (
            self._site.source() as source,
            self._site.source() as shop,
            self._site.warehouse() as warehouse,
        ):
            schema.create(shop)
            simulator = Simulator(shop, self._options.seed)
            rows = simulator.fill()
            self._step(f"source database: {rows:,} rows in {len(schema.TABLES)} tables")
            arrivals = Arrivals(warehouse, self._site.schema, [table.name for table in schema.TABLES])
            self._site.launch(self._step)
            comparison = self._follow(simulator, arrivals, source, warehouse)
            schema.restart_identities(shop)
        outcome = Outcome.of(simulator.committed, arrivals, comparison)
        self._conclude(outcome, arrivals, comparison)
        return outcome

    def _follow(
        self,
        simulator: Simulator,
        arrivals: Arrivals,
        source: psycopg.Connection,
        warehouse: psycopg.Connection,
    ) -> Comparison:
        pace = Pace(rate_per_s=self._options.rate_per_s, duration_s=self._options.duration_s)
        with (
            Lag({"bootstrap.servers": self._site.bootstrap}, self._site.group, self._site.topics) as lag,
            Display(self._console) as display,
        ):
            watch = Watch(
                source=source,
                slot=self._site.slot,
                arrivals=arrivals,
                lag=lag,
                committed=simulator.committed,
                display=display,
                check=self._site.check,
            )
            watch.await_snapshot(self._announce_first_row)
            self._step(f"initial snapshot complete: {arrivals.rows.total():,} rows in the warehouse")
            arrivals.measure_since(datetime.now(timezone.utc))
            with _running(simulator, pace) as traffic:
                watch.follow(traffic)
            comparison = Comparison()
            views.create(source)
            for trusts_lag in (False, True):  # rows that differ may be late, not lost
                watch.drain(trusts_lag=trusts_lag)
                comparison = compare(source, warehouse, _pairs(self._site.schema))
                if comparison.is_exact:
                    break
            return comparison

    def _announce_first_row(self) -> None:
        self._console.print(f"first row after {time.monotonic() - self._began_s:.1f} s", highlight=False)

    def _conclude(self, outcome: Outcome, arrivals: Arrivals, comparison: Comparison) -> None:
        latencies = arrivals.latencies
        figures = (
            f"end-to-end latency of {latencies.count:,} rows: P50 {outcome.latency_ms_p50} ms, "
            f"P95 {outcome.latency_ms_p95} ms, max {latencies.max_ms} ms; "
            f"throughput {outcome.throughput_per_s:,.0f} events/s"
        )
        lines = [
            figures,
            *map(str, comparison.examples[:_EXAMPLES_SHOWN]),
            outcome.verdict(comparison.tables),
            *self._site.next_steps(is_kept=self._options.keep),
        ]
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _step(self, text: str) -> None:
        elapsed_s = time.monotonic() - self._began_s
        self._console.print(f"{elapsed_s:5.1f} s  {text}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _running(simulator: Simulator, pace: Pace) -> Iterator[Future[Committed]]:
    """Run the simulator beside the caller, and stop it when the caller leaves early."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="simulator") as pool:
        future = pool.submit(simulator.run, pace)
        try:
            yield future
        finally:
            simulator.stop()


def _pairs(warehouse_schema: str) -> list[TablePair]:
    """Return what `acme` promises: each row as it is in the source, and what is made of them."""
    tables = [
        TablePair(
            source=(schema.SCHEMA, table.name),
            warehouse=(warehouse_schema, table.name),
            key=table.key,
            source_columns=tuple(table.columns),
            columns=tuple(table.columns),
        )
        for table in schema.TABLES
    ]
    return [*tables, *views.pairs(warehouse_schema)]
