"""A resync's last line says what is known."""

from __future__ import annotations

from tillstream.runners.capture.resync import Resynced


def test_the_end_promises_no_sweep() -> None:
    """A shard may have had to skip it, which its metric tells."""
    said = str(Resynced({"orders": 1200, "lines": 34}, 2.5))
    assert said == (
        "resynced: orders, lines; 1,234 rows read and written again in 2.5 s; the job was told to sweep "
        "older ones (metric resync_sweeps_skipped counts shards that could not)"
    )
