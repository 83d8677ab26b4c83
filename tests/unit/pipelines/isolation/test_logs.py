"""A client's code cannot flood the log that all share."""

from __future__ import annotations

import logging

from tillstream.pipelines.isolation.logs import LogLimit


def record(message: str) -> logging.LogRecord:
    """Return a line of a log."""
    return logging.LogRecord("x", logging.INFO, "x.py", 1, message, (), None)


def test_a_flood_is_cut_and_counted() -> None:
    """Ten seconds' worth passes; then as many as the rate allows, and the first says how many did not."""
    now_s = [0.0]
    limit = LogLimit(5, lambda: now_s[0])
    assert sum(limit.filter(record("noise")) for _ in range(1000)) == 50
    now_s[0] += 2
    line = record("at last")
    assert limit.filter(line)
    assert line.getMessage() == "[950 lines dropped before, limits.log_lines_per_s_max] at last"
    assert sum(limit.filter(record("noise")) for _ in range(1000)) == 9


def test_long_lines_are_shortened() -> None:
    """A line tells how long it was."""
    line = record("x" * 100_000)
    LogLimit(5).filter(line)
    assert len(line.getMessage()) < 17_000
    assert line.getMessage().endswith("[100000 characters]")
