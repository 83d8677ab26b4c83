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
    """Measure from the first event that was read to the last that was delivered."""

    def __init__(self) -> None:
        self._cpu_s = self._first_s = 0.0

    def start(self) -> None:
        """Mark the first event."""
        self._first_s = time.perf_counter()
        self._cpu_s = time.process_time()

    def report(self, events: int) -> None:
        """Print the figures as JSON, the last line of this process."""
        seconds = time.perf_counter() - self._first_s
        figures = {
            "events": events,
            "seconds": seconds,
            "events_per_s": events / seconds,
            "cpu_s_per_million": (time.process_time() - self._cpu_s) / events * 1e6,
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
