"""Weigh the processes of a local stack: memory by kind as a proportional share, and processor time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tillstream.runners.local.stack import LocalStack

__all__ = ["Cost", "cost_of"]

_KIB = 1024


@dataclass(frozen=True)
class Cost:
    """Say what the processes of a stack cost.

    Attributes:
        memory_mb: by kind of process, mebibytes of their proportional share.
        cores: by kind of process, processor seconds a second.
        processes: by kind, how many there are.
    """

    memory_mb: dict[str, int]
    cores: dict[str, float]
    processes: dict[str, int]

    def totals(self) -> dict[str, Any]:
        """Return it with sums, for JSON."""
        return {
            "memory_mb": {**self.memory_mb, "all": sum(self.memory_mb.values())},
            "cores": {**self.cores, "all": round(sum(self.cores.values()), 2)},
            "processes": self.processes,
        }


def cost_of(stack: LocalStack, seconds: float) -> Cost:
    """Weigh the processes of a stack, after watching for a while what they take of the processors."""
    before, start_s = dict(_processes(stack)), time.monotonic()
    used = {process: _cpu_s(process) for process in before}
    time.sleep(seconds)
    after, passed_s = dict(_processes(stack)), time.monotonic() - start_s
    memory: dict[str, int] = {}
    cores: dict[str, float] = {}
    count: dict[str, int] = {}
    for process, kind in after.items():
        memory[kind] = memory.get(kind, 0) + _pss_kib(process)
        cores[kind] = cores.get(kind, 0.0) + _cpu_s(process) - used.get(process, 0.0)
        count[kind] = count.get(kind, 0) + 1
    return Cost(
        {kind: kib // _KIB for kind, kib in memory.items()},
        {kind: round(each / passed_s, 3) for kind, each in cores.items()},
        count,
    )


def _processes(stack: LocalStack) -> Iterator[tuple[psutil.Process, str]]:
    for status in stack.ps():
        if status.pid is None:
            continue
        parent = psutil.Process(status.pid)
        yield parent, status.service
        for child in parent.children(recursive=True):
            yield child, _kind(child, status.service)


def _kind(process: psutil.Process, service: str) -> str:
    try:
        words = process.cmdline()
    except psutil.Error:
        return service
    if words[:1] == ["tillstream-harness"]:
        return "harnesses"
    if any(word.endswith("waiter.py") for word in words):
        return "waiters"
    return "nursery" if any("nursery" in word for word in words) else service


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _pss_kib(process: psutil.Process) -> int:
    try:
        text = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
