"""Describe one measurement, and run it in a process of its own so that memory and imports stay apart."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Meter", "Task", "read_task", "run_apart"]

_ROOT = Path(__file__).resolve().parent.parent
_DEADLINE_S = 1800


@dataclass(frozen=True)
class Task:
    """Say what to move.

    Attributes:
        servers: Kafka's bootstrap servers.
        topic: to read from its start.
        partitions: of the topic.
        events: how many it holds.
        sink: `files` or `postgres`.
        folder: where files go, empty at the start.
        database: host, port, dbname and user; empty for files.
        password_file: holds the role's password; empty for files.
        table: to make and fill.
    """

    servers: str
    topic: str
    partitions: int
    events: int
    sink: str
    folder: str
    database: str
    password_file: str
    table: str

    def dsn(self) -> str:
        """Return a libpq connection string with the password in it: never print it."""
        return f"{self.database} password={Path(self.password_file).read_text(encoding='ascii').strip()}"


class Meter:
    """Measure from the first delivery to the last, without the events of the first; the same for each system.

    Processor time is that of the whole process, its start included.

    Args:
        events: how many will be delivered; the figures are printed after the last.
    """

    def __init__(self, events: int) -> None:
        self._events, self._delivered, self._first = events, 0, 0
        self._first_s = self._start_cpu_s = 0.0

    def delivered(self, events: int) -> None:
        """Count a delivery once it is made."""
        now_s = time.perf_counter()
        if not self._delivered:
            self._first, self._first_s, self._start_cpu_s = events, now_s, time.process_time()
        self._delivered += events
        if self._delivered == self._events:
            self._report(now_s - self._first_s)

    def _report(self, seconds: float) -> None:
        figures = {
            "events": self._events,
            "seconds": seconds,
            # A delivery in one go has no rate.
            "events_per_s": (self._events - self._first) / seconds if seconds else None,
            "cpu_s_per_million": time.process_time() / self._events * 1e6,
            "start_cpu_s": self._start_cpu_s,
            "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        print(json.dumps(figures), flush=True)


def read_task() -> Task:
    """Return the task that the parent process wrote to standard input."""
    return Task(**json.loads(sys.stdin.readline()))


def run_apart(module: str, task: Task, python: Path | str = sys.executable) -> dict[str, Any]:
    """Run a module on a task and return the figures that it prints.

    Raises:
        RuntimeError: if it fails, with the end of what it said.
    """
    done = subprocess.run(
        [str(python), "-m", module],
        input=json.dumps(asdict(task)) + "\n",
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=_DEADLINE_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed on {task.sink}: {done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
