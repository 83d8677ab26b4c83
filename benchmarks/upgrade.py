"""Measure an upgrade's gap: the longest time in which no row arrives, while events keep coming.

    python -m benchmarks.upgrade [--dir FOLDER_OF_A_STACK] [--rate 200]

Without a folder it starts a stack of its own and takes it down again. Nothing is asserted; the figures go to
benchmarks/results as JSON.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psycopg
import yaml
from confluent_kafka import Producer

from benchmarks.machine import machine
from benchmarks.stacks import own_stack
from tillstream.runners.local.stack import LocalStack

__all__ = ["Traffic", "main", "measure", "run", "write_config"]

_RESULTS = Path(__file__).resolve().parent / "results"
_COMMAND = str(Path(sys.executable).with_name("tillstream"))
_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
_CLIENT = "bench_upgrade"
_POLL_S = 0.02
_MODULE = """
import apache_beam as beam

from tillstream.transforms import transform


class Copied(beam.DoFn):
    def process(self, event):
        yield event.upsert(dict(event.after, made_by=self.version))


@transform("bench_upgrade.copied@1.0.0")
class First(Copied):
    version = "1.0.0"


@transform("bench_upgrade.copied@1.1.0")
class Second(Copied):
    version = "1.1.0"
"""


def write_config(stack: LocalStack, folder: Path, version: str) -> Path:
    """Write the client's config with a version of its transform, and return its path."""
    sales = {
        "topic": f"{_CLIENT}.public.sales",
        "key": ["id"],
        "contract": {"id": "int64", "made_by": "string"},
        "sinks": ["warehouse"],
        "transform": f"{_CLIENT}.copied@{version}",
    }
    config = {
        "client": _CLIENT,
        "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka, "discovery_interval_s": 1}},
        "entities": {"sales": sales},
        "transforms": {"modules": ["bench_upgrade_transforms"], "path": str(folder)},
        "sinks": {"warehouse": stack.addresses.warehouse.as_sink()},
        "flink": {"rest_url": stack.addresses.flink},
    }
    path = folder / f"{_CLIENT}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


class Traffic:
    """Write events at a steady rate, and see when rows arrive, until it is ended.

    Args:
        stack: with Kafka and the warehouse.
        rate_per_s: events a second.
    """

    def __init__(self, stack: LocalStack, rate_per_s: int) -> None:
        self._stack = stack
        self._rate = rate_per_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._write, self._look)]
        self.sent = 0
        self.rows = 0
        self.gaps: list[tuple[float, float]] = []
        self._newest_s = time.monotonic()

    def __enter__(self) -> Traffic:  # noqa: PYI034
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def longest_s(self, since: float) -> float:
        """Return the longest time without a new row since a moment of `time.monotonic`, till now, seconds."""
        gaps = [*self.gaps, (self._newest_s, time.monotonic())]
        return max(end - start for start, end in gaps if end > since)

    def await_rows(self, rows: int, deadline_s: float) -> None:
        """Wait until as many rows are there.

        Raises:
            TimeoutError: if they are not within the deadline.
        """
        end_s = time.monotonic() + deadline_s
        while self.rows < rows:
            if time.monotonic() > end_s:
                raise TimeoutError(f"found {self.rows} rows after {deadline_s:.0f} s, expected {rows}")
            time.sleep(_POLL_S)

    def _write(self) -> None:
        producer = Producer({"bootstrap.servers": self._stack.addresses.kafka})
        start_s = time.monotonic()
        while not self._stop.wait(_POLL_S):
            while self.sent < (time.monotonic() - start_s) * self._rate:
                self.sent += 1
                source = {"connector": "postgresql", "schema": "public", "table": "sales", "lsn": self.sent}
                source |= {"ts_ms": time.time_ns() // 1_000_000, "sequence": f'["{self.sent}","{self.sent}"]'}
                value = {"op": "c", "before": None, "after": {"id": self.sent}, "source": source}
                key = b'{"id":%d}' % self.sent
                producer.produce(f"{_CLIENT}.public.sales", json.dumps(value).encode(), key=key)
            producer.poll(0)
        producer.flush(30)

    def _look(self) -> None:
        with psycopg.connect(self._stack.addresses.warehouse.dsn(), autocommit=True) as connection:
            while not self._stop.wait(_POLL_S):
                try:
                    found = connection.execute(f"select count(*) from {_CLIENT}.sales".encode()).fetchone()
                except psycopg.errors.UndefinedTable:
                    continue
                assert found is not None  # it returns one
                now_s = time.monotonic()
                if found[0] > self.rows:
                    self.rows = found[0]
                    self.gaps.append((self._newest_s, now_s))
                    self._newest_s = now_s


def measure(stack: LocalStack, folder: Path, rate_per_s: int) -> dict[str, Any]:
    """Launch, upgrade and roll back a client under load, and return the gaps."""
    (folder / "bench_upgrade_transforms.py").write_text(_MODULE, encoding="utf-8")
    environment = {**os.environ, "TILLSTREAM_HISTORY": str(folder / "history")}

    def run(*command: str) -> float:
        start_s = time.perf_counter()
        subprocess.run([_COMMAND, *command], check=True, env=environment)
        return time.perf_counter() - start_s

    found: dict[str, Any] = {"rate_per_s": rate_per_s}
    with Traffic(stack, rate_per_s) as traffic:
        try:
            path = str(write_config(stack, folder, "1.0.0"))
            found["launch_s"] = run("launch", path)
            traffic.await_rows(5 * rate_per_s, 60)
            before_s = time.monotonic()
            path = str(write_config(stack, folder, "1.1.0"))
            found["upgrade_s"] = run("upgrade", path, "--watch-for", "5", "--yes")
            traffic.await_rows(traffic.sent, 60)
            found["upgrade_gap_s"] = traffic.longest_s(before_s)
            before_s = time.monotonic()
            # Rows of before are written again first: new ones arrive when it has caught up.
            found["rollback_s"] = run("rollback", path, "--yes", "--wait", "0")
            traffic.await_rows(traffic.sent, 60)
            found["rollback_gap_s"] = traffic.longest_s(before_s)
        finally:
            run("cancel", path)
    found["load_average"] = os.getloadavg()[0]
    return found


def run(folder: Path, rate_per_s: int = 200, stack: LocalStack | None = None) -> dict[str, Any]:
    """Measure on a stack that is up, or on one of its own, which is taken down again.

    Args:
        folder: of the stack and the client; made if need be.
        rate_per_s: events a second.
        stack: that is up; None for one of its own.
    """
    folder.mkdir(exist_ok=True)
    with own_stack(folder, _SERVICES) if stack is None else nullcontext(stack) as running:
        return measure(running, folder, rate_per_s)


def main() -> None:
    """Measure, print, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="folder of a stack that is up; default: one of its own")
    parser.add_argument("--rate", type=int, default=200, help="events a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Path(folder), arguments.rate, LocalStack.open(arguments.dir) if arguments.dir else None)
    now = dt.datetime.now(dt.timezone.utc)
    result = {"benchmark": "upgrade", "at": now.isoformat(timespec="seconds"), "machine": machine(), **found}
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / f"upgrade-{now:%Y%m%dT%H%M%SZ}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
