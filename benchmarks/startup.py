"""Time the command line and the local stack's start, and weigh the stack."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tillstream.runners.local.stack import LocalStack

__all__ = ["help_s", "start", "weigh"]


def help_s(rounds: int = 5) -> float:
    """Return the median time of `tillstream --help`, seconds."""
    command = [str(Path(sys.executable).with_name("tillstream")), "--help"]
    times: list[float] = []
    for _ in range(rounds):
        start_s = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start_s)
    return statistics.median(times)


def start(stack: LocalStack, services: Sequence[str]) -> float:
    """Start parts of an empty stack, and return how long it took, seconds."""
    start_s = time.perf_counter()
    stack.up(services)
    return time.perf_counter() - start_s


def weigh(stack: LocalStack) -> dict[str, Any]:
    """Return the resident memory of what runs, mebibytes; shared pages count in each process."""
    parts = {status.service: status.rss_mb for status in stack.ps() if status.pid is not None}
    return {"parts_mb": parts, "total_mb": sum(parts.values())}
