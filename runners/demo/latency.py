"""Measure how long a change takes from its commit in the source to its visibility in the warehouse.

The sink writes the source's commit time into `_source_time`; the warehouse remembers its own commit
times (`track_commit_timestamp`). Their difference is the end-to-end latency, by one clock when both
databases share a machine, and no part of the pipeline has to be asked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

__all__ = ["Arrivals", "Latencies"]

_LATENCY_MS_MAX = 600_000  # one bucket a millisecond up to here bounds the histogram's memory


@dataclass
class Latencies:
    """Count latencies in buckets of one millisecond.

    Attributes:
        count: of all that were added.
        max_ms: the highest, in milliseconds.
    """

    count: int = 0
    max_ms: int = 0
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, latency_ms: int, count: int = 1) -> None:
        """Add a latency, `count` times; below zero (a clock that stepped back) counts as zero."""
        latency_ms = max(latency_ms, 0)
        self._buckets[min(latency_ms, _LATENCY_MS_MAX)] += count
        self.count += count
        self.max_ms = max(self.max_ms, latency_ms)

    def percentile(self, percent: int) -> int | None:
        """Return the nearest-rank percentile, in milliseconds; None when nothing was added."""
        rank = max(-(-self.count * percent // 100), 1)
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return bucket
        return None


class Arrivals:
    """Watch rows become visible in the warehouse, each row version once.

    A version that is overwritten between two polls is never seen, and deleted rows leave nothing to
    see: `rows` is a lower bound of what the sink wrote. Poll about twice a second.

    Args:
        connection: to the warehouse, in autocommit mode; used by nobody else meanwhile.
        schema: of the tables.
        tables: their names; one that does not exist yet is skipped until it does.
    """

    def __init__(self, connection: psycopg.Connection, schema: str, tables: Sequence[str]) -> None:
        self._connection = connection
        self._schema = schema
        self._tables = tables
        self._seen = str(self._fetch("select pg_current_snapshot()::text")[0][0])
        self._since: datetime | None = None
        self.latencies = Latencies()
        self.rows: Counter[str] = Counter()
        self.last_at: datetime | None = None

    def measure_since(self, start: datetime) -> None:
        """Take latencies of changes committed in the source from `start` on (snapshot rows are older)."""
        self._since = start

    def poll(self) -> int:
        """Look for rows that became visible since the last poll; returns how many."""
        snapshot = str(self._fetch("select pg_current_snapshot()::text")[0][0])
        arrived = sum(self._poll_table(table, snapshot) for table in self._tables if self._exists(table))
        self._seen = snapshot
        return arrived

    def count(self, table: str) -> int:
        """Return how many rows a table holds now; 0 when it does not exist yet."""
        if not self._exists(table):
            return 0
        query = sql.SQL("select count(*) from {}").format(sql.Identifier(self._schema, table))
        return int(self._fetch(query)[0][0])

    def _poll_table(self, table: str, snapshot: str) -> int:
        # Visible in this poll's snapshot but not in the last one's: neither a gap nor an overlap. Rows hold
        # the low half of the transaction's number only, which is all of it in a warehouse of a demo's age.
        query = sql.SQL(
            "select ceil(extract(epoch from pg_xact_commit_timestamp(xmin) - _source_time) * 1000)::bigint,"
            " _source_time >= {since}, count(*), max(pg_xact_commit_timestamp(xmin)) from {table}"
            " where pg_visible_in_snapshot(xmin::text::xid8, {now}::pg_snapshot)"
            " and not pg_visible_in_snapshot(xmin::text::xid8, {seen}::pg_snapshot) group by 1, 2"
        ).format(
            since=sql.Literal(self._since),
            table=sql.Identifier(self._schema, table),
            now=sql.Literal(snapshot),
            seen=sql.Literal(self._seen),
        )
        arrived = 0
        for latency_ms, is_fresh, count, committed_at in self._fetch(query):
            arrived += count
            if is_fresh:
                self.latencies.add(latency_ms, count)
            if self.last_at is None or committed_at > self.last_at:
                self.last_at = committed_at
        self.rows[table] += arrived
        return arrived

    def _exists(self, table: str) -> bool:
        name = sql.Identifier(self._schema, table).as_string(self._connection)
        return self._fetch(sql.SQL("select to_regclass({})").format(sql.Literal(name)))[0][0] is not None

    def _fetch(self, query: str | sql.Composed) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()
