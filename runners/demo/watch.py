"""Watch both ends of the pipeline while the demo runs, and decide when nothing is on its way any more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from psycopg import sql

from tillstream.pipelines.errors import StackError
from tillstream.runners.demo.display import Display, Flow, Frame
from tillstream.runners.demo.schema import SCHEMA, TABLES

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    import psycopg

    from tillstream.runners.demo.latency import Arrivals
    from tillstream.runners.demo.simulator import Committed

__all__ = ["Patience", "Watch"]

_POLL_S = 0.25


class _Lag(Protocol):
    def read(self) -> int | None: ...


@dataclass(frozen=True)
class Patience:
    """Say how long to wait for what.

    Attributes:
        snapshot_s: without any arrival, until the first rows must have come.
        stall_s: without any arrival, until a pipeline that is behind is given up.
        quiet_s: without any arrival, until one that has caught up counts as empty; above two checkpoints.
        unread_s: the same, while the published offsets say that something is unread.
    """

    snapshot_s: float = 120.0
    stall_s: float = 45.0
    quiet_s: float = 2.5
    unread_s: float = 8.0


class Watch:
    """Follow a run from the initial snapshot to the last row.

    Args:
        source: connection to the retail database, in autocommit mode, not the simulator's.
        slot: replication slot through which the source is captured.
        arrivals: what becomes visible in the warehouse.
        lag: what the job has not yet read.
        committed: what the simulator has committed.
        display: where frames go.
        check: raises when the job has failed; called about twice a second.
        patience: deadlines.
        clock: monotonic seconds.
        sleep: waits for some seconds.
    """

    def __init__(
        self,
        *,
        source: psycopg.Connection,
        slot: str,
        arrivals: Arrivals,
        lag: _Lag,
        committed: Committed,
        display: Display,
        check: Callable[[], None],
        patience: Patience = Patience(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._slot = slot
        self._arrivals = arrivals
        self._lag = lag
        self._committed = committed
        self._display = display
        self._check = check
        self._patience = patience
        self._clock = clock
        self._sleep = sleep
        self._base = dict.fromkeys((table.name for table in TABLES), 0)
        self._began_s = clock()
        self._arrived_s = clock()
        self._lag_now: int | None = None

    def await_snapshot(self, on_first_row: Callable[[], None]) -> None:
        """Wait until the warehouse holds as many rows of each table as the source.

        Raises:
            StackError: if rows stop coming before that.
        """
        self._began_s = self._arrived_s = self._clock()
        while True:
            is_first = not self._arrivals.rows.total()
            if self._poll("initial snapshot") and is_first:
                on_first_row()
            if self._has_all_rows():
                break
            patience_s = self._patience.snapshot_s if is_first else self._patience.stall_s
            if self._quiet_s() > patience_s:
                raise StackError(
                    f"initial snapshot: no row came for {patience_s:.0f} s: look at the job in the Flink "
                    "dashboard, at the connector and at the logs that `tillstream ps` names"
                )
            self._sleep(_POLL_S)
        self._base = {name: self._arrivals.rows[name] for name in self._base}

    def follow(self, simulator: Future[Committed]) -> None:
        """Show what goes on until the simulator has ended; raises what it raised."""
        self._began_s = self._clock()
        while not simulator.done():
            self._poll("retail traffic")
            self._sleep(_POLL_S)
        simulator.result()

    def drain(self, *, trusts_lag: bool) -> bool:
        """Wait until nothing is on its way; returns False when the pipeline is behind and has stalled.

        Args:
            trusts_lag: wait for a lag of zero. Published offsets are for display and may trail for good
                when nothing comes any more, so first ask without, and believe them when rows differ.
        """
        end = str(self._fetch(sql.SQL("select pg_current_wal_lsn()::text")))
        self._arrived_s = self._clock()
        while self._quiet_s() < self._patience.stall_s:
            self._poll("draining")
            is_read = self._lag_now == 0
            quiet_s = self._patience.quiet_s if is_read else self._patience.unread_s
            is_settled = self._is_captured(end) and self._has_all_rows() and (is_read or not trusts_lag)
            if is_settled and self._quiet_s() >= quiet_s:
                return True
            self._sleep(_POLL_S)
        return False

    def _poll(self, title: str) -> int:
        self._check()
        arrived = self._arrivals.poll()
        if arrived:
            self._arrived_s = self._clock()
        self._lag_now = self._lag.read()
        latencies = self._arrivals.latencies
        p50, p95 = latencies.percentile(50), latencies.percentile(95)
        flows = {
            name: Flow(
                events_in=self._committed.total(name),
                rows_out=self._arrivals.rows[name] - base,
                rows=self._arrivals.count(name),
            )
            for name, base in self._base.items()
        }
        figures = None if p50 is None or p95 is None else (p50, p95, latencies.max_ms)
        self._display.show(Frame(title, self._clock() - self._began_s, flows, figures, self._lag_now))
        return arrived

    def _quiet_s(self) -> float:
        return self._clock() - self._arrived_s

    def _has_all_rows(self) -> bool:
        return all(
            self._arrivals.count(table.name)
            == self._fetch(sql.SQL("select count(*) from {}").format(sql.Identifier(SCHEMA, table.name)))
            for table in TABLES
        )

    def _is_captured(self, end: str) -> bool:
        # The walsender has handed everything up to `end` to the connector.
        query = sql.SQL(
            "select coalesce(bool_and(sent_lsn >= {}::pg_lsn), false) from pg_stat_replication"
            " join pg_replication_slots on active_pid = pid where slot_name = {}"
        )
        return self._fetch(query.format(sql.Literal(end), sql.Literal(self._slot))) is True

    def _fetch(self, query: sql.SQL | sql.Composed) -> object:
        row = self._source.execute(query).fetchone()
        assert row is not None
        return row[0]
