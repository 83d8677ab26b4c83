"""Measure a job of this project on the local stack, from the first delivered event to the last."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.load import COLUMNS, PEOPLE
from benchmarks.task import Task
from tillstream.configs import ClientConfig
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.history import History
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

__all__ = ["TRUST", "Shape", "run", "server_cpu_s", "shown", "tree_of"]

# What a typical client asks of its rows.
TRUST = {
    "expectations": [
        {"expect": "not_null", "column": "email"},
        {"expect": "range", "column": "total", "min": 0},
        {
            "expect": "in_set",
            "column": "status",
            "values": ["placed", "paid", "packed", "shipped", "delivered"],
        },
    ],
    "masks": {"email": {"mask": "hash"}, "phone": {"mask": "tokenise"}},
}
_DEADLINE_S = 1800.0
_LOOK_INTERVAL_S = 0.05
_MIB = 1024 * 1024
Seen = tuple[float, int]


def tree_of(stack: LocalStack, service: str) -> list[psutil.Process]:
    """Return a part's process and all that it started."""
    pid = next(status.pid for status in stack.ps() if status.service == service)
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu_s(processes: list[psutil.Process]) -> float:
    """Return the processor seconds of processes, and of those of the first one's children that have ended."""
    total_s = 0.0
    for place, process in enumerate(processes):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total_s += times.user + times.system
        total_s += 0 if place else times.children_user + times.children_system
    return total_s


def server_cpu_s(stack: LocalStack) -> float:
    """Return the processor seconds that the warehouse's server has used."""
    return _cpu_s(tree_of(stack, "warehouse"))


@dataclass(frozen=True)
class Shape:
    """Say how the job runs.

    Attributes:
        parallelism: subtasks of each stage.
        processes: Python processes.
        guarantee: of the config.
        people: whether rows have personal data.
        trust: whether three expectations are checked and two columns masked.
    """

    parallelism: int = 1
    processes: int = 2
    guarantee: str = "exactly-once"
    people: bool = False
    trust: bool = False


def config_of(stack: LocalStack, task: Task, shape: Shape) -> ClientConfig:
    """Return the client whose job does the task."""
    warehouse = stack.addresses.warehouse
    sinks = {
        "files": {"type": "files", "path": task.folder},
        "postgres": {**warehouse.as_sink(), "schema": "public"},
    }
    entity = {
        "topic": task.topic,
        "key": ["order_id"],
        "contract": {
            column: kind for column, (kind, _) in {**COLUMNS, **(PEOPLE if shape.people else {})}.items()
        },
        "sinks": [task.sink],
        **(TRUST if shape.trust else {}),
    }
    salt = Path(task.folder).parent / "salt"
    salt.write_text("salt of the benchmark", encoding="ascii")
    return ClientConfig.model_validate(
        {
            "client": f"bench_{task.sink}",
            "source": {"kafka": {"bootstrap_servers": task.servers}},
            "entities": {task.table: entity},
            "sinks": {task.sink: sinks[task.sink]},
            "flink": {
                "rest_url": stack.addresses.flink,
                "parallelism": shape.parallelism,
                "processes": shape.processes,
            },
            "delivery": {"guarantee": shape.guarantee},
            "privacy": {"salt": f"file:{salt}"},
        }
    )


def run(stack: LocalStack, task: Task, shape: Shape, *, version_sum: int) -> dict[str, Any]:
    """Run the job until all is delivered, and return its figures.

    Events that come with the first delivery are left out of the rate, since their time is not known: the
    lines of the first file, or as many as the table can have taken when it first showed any, which is its
    highest version. Processor time is that of the TaskManager and its harness from the launch on.

    Raises:
        RuntimeError: if not all is delivered within the deadline.
    """
    config = config_of(stack, task, shape)
    rest = FlinkRest(config.flink.rest_url)
    if task.sink == "postgres":
        # Rows of an earlier run would look like the first delivery.
        with psycopg.connect(task.dsn()) as connection:
            connection.execute(f"DROP TABLE IF EXISTS public.{task.table}")
    before_s, launched_s = _cpu_s(tree_of(stack, "taskmanager")), time.time()
    job_id = launch(
        config, ensure_jars().flink_runner, history=History(config.client, stack.layout.history)
    ).job_id
    try:
        with _peak_of_harness(stack) as peak:
            wait = _wait_for_table if task.sink == "postgres" else _wait_for_files
            first, last = wait(task, version_sum, lambda: rest.root_cause(job_id))
            cpu_s = _cpu_s(tree_of(stack, "taskmanager")) - before_s
        checkpoint = _next_checkpoint(rest, job_id)
    finally:
        rest.cancel(job_id)
    seconds, timed = last[0] - first[0], task.events - first[1]
    return {
        "events": task.events,
        "seconds": seconds,
        # A delivery in one go has no rate.
        "events_per_s": timed / seconds if timed > 0 and seconds > 0 else None,
        "seconds_from_launch": last[0] - launched_s,
        "events_per_s_from_launch": task.events / (last[0] - launched_s),
        "cpu_s_per_million": cpu_s / task.events * 1e6,
        "rss_mb": peak[0],
        # With all keys in the state, and nothing to read.
        "checkpoint_ms": checkpoint["end_to_end_duration"],
        "checkpoint_mb": checkpoint["state_size"] / _MIB,
    }


def _next_checkpoint(rest: FlinkRest, job_id: str) -> dict[str, Any]:
    """Return the second checkpoint from now on: the first may have begun before."""
    completed = rest.checkpoints(job_id)["counts"]["completed"]
    for _look in _looks(lambda: rest.root_cause(job_id)):
        found = rest.checkpoints(job_id)
        if found["counts"]["completed"] >= completed + 2:
            break
    newest: dict[str, Any] = found["latest"]["completed"]
    return newest


@contextmanager
def _peak_of_harness(stack: LocalStack) -> Iterator[list[float]]:
    """Give the greatest memory of the TaskManager's children, in mebibytes, once done."""
    peak, is_done = [0.0], threading.Event()
    parent = tree_of(stack, "taskmanager")[0]

    def watch() -> None:
        while not is_done.wait(0.5):
            total = 0
            for child in parent.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total / _MIB)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_done.set()
        watcher.join()


def _wait_for_files(task: Task, _: int, failure: Callable[[], str]) -> tuple[Seen, Seen]:
    """Count lines as files appear; a file's own time says when it was written."""
    counted: dict[Path, Seen] = {}
    for _look in _looks(failure):
        for path in Path(task.folder, task.table).glob("part-*"):
            if path not in counted:
                counted[path] = (path.stat().st_mtime, path.read_bytes().count(b"\n"))
        if sum(lines for _, lines in counted.values()) >= task.events:
            break
    return min(counted.values()), max(counted.values())


def _wait_for_table(task: Task, version_sum: int, failure: Callable[[], str]) -> tuple[Seen, Seen]:
    """Look at the table until each key shows its last version."""
    first: Seen | None = None
    with psycopg.connect(task.dsn(), autocommit=True) as connection:
        for _look in _looks(failure):
            try:
                query = (
                    "SELECT coalesce(max(version), 0), coalesce(sum(version), 0)::bigint "
                    f"FROM public.{task.table}"
                )
                highest, versions = connection.execute(query).fetchone() or (0, 0)
            except psycopg.errors.UndefinedTable:
                continue
            now_s = time.time()
            if highest and first is None:
                first = (now_s, highest)
            if versions == version_sum:
                break
    return first or (now_s, highest), (now_s, highest)


def shown(task: Task) -> list[int]:
    """Return how many rows a task's table shows, and the sum of their versions."""
    with psycopg.connect(task.dsn()) as connection:
        query = f"SELECT count(*), coalesce(sum(version), 0)::bigint FROM public.{task.table}"
        return list(connection.execute(query).fetchone() or ())


def _looks(failure: Callable[[], str]) -> Iterator[None]:
    end_s = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end_s:
        yield
        time.sleep(_LOOK_INTERVAL_S)
    raise RuntimeError(
        f"not all is delivered after {_DEADLINE_S:.0f} s; the job says: {failure() or 'nothing'}"
    )
