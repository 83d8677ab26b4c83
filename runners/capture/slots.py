"""Look at a replication slot (PostgreSQL documentation, "pg_replication_slots")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

__all__ = ["Slot", "slot_of"]

_SLOT = """
select s.active, s.active_pid, coalesce(s.wal_status, 'lost'),
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint,
       s.safe_wal_size, coalesce(extract(epoch from r.flush_lag), 0)::float8,
       (select setting::bigint << 20 from pg_settings where name = 'max_slot_wal_keep_size'),
       extract(epoch from clock_timestamp() - (to_jsonb(s)->>'inactive_since')::timestamptz)::float8
from pg_replication_slots s left join pg_stat_replication r on r.pid = s.active_pid
where s.slot_name = %s
"""


@dataclass(frozen=True)
class Slot:
    """Hold what a server says of a slot.

    Attributes:
        is_active: whether somebody reads it.
        reader: process of the server that sends to them, or None.
        wal_status: reserved, extended, unreserved or lost.
        retained_bytes: log that the server keeps because of it.
        lag_bytes: log that its reader has not confirmed.
        safe_bytes: log that may still be written before it is lost; None without a cap.
        lag_s: time from writing log to its confirmation, in seconds; 0 while nothing waits.
        cap_bytes: what the server keeps for any slot at most; negative without a cap.
        inactive_s: time since somebody read it, in seconds; None while somebody does, and before Postgres 17.
    """

    is_active: bool
    reader: int | None
    wal_status: str
    retained_bytes: int
    lag_bytes: int
    safe_bytes: int | None
    lag_s: float
    cap_bytes: int
    inactive_s: float | None

    @property
    def is_lost(self) -> bool:
        """Tell whether the server has given up log that the slot needs."""
        return self.wal_status == "lost"


def slot_of(connection: psycopg.Connection[Any], name: str) -> Slot | None:
    """Return what the server says of a slot; None where there is none."""
    row = connection.execute(_SLOT, (name,)).fetchone()
    return None if row is None else Slot(*row)
