"""Run many clients' jobs on one stack, and measure what they cost and how soon rows arrive.

    python -m benchmarks.fleet [--jobs 100] [--rate 20] [--seconds 60] [--at-once 2]

Each client has a topic, a table in the warehouse and a job, launched from a template that was built before.
Latency is from the time that an event bears, noted as it is sent, to the commit of its row. Memory is the
proportional share of every process of the stack (PSS), where pages that several use are split.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tillstream.configs import ClientConfig
from tillstream.runners.flink.jar import write_jar
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

__all__ = ["Cost", "Fleet", "cost_of", "main", "measure", "run", "send"]

_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
# What a client of a shared machine does with.
_CHECKPOINT_MS, _POLL_MS, _DISCOVERY_S = 3_000, 1_000, 30
_SPARE_SLOTS = 4
_LAUNCH_DEADLINE_S = 300.0
_ARRIVAL_DEADLINE_S = 120.0
_LOOK_S = 0.5
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


class Fleet:
    """Be a number of clients on one stack.

    Args:
        stack: that is up.
        jobs: how many.
        folder: of templates and histories.
    """

    def __init__(self, stack: LocalStack, jobs: int, folder: Path) -> None:
        self.stack = stack
        self.clients = [f"fleet{number:03}" for number in range(1, jobs + 1)]
        self.rest = FlinkRest(stack.addresses.flink)
        self._folder = folder

    def config(self, client: str, **flink: Any) -> ClientConfig:
        """Return a client's config."""
        warehouse = self.stack.addresses.warehouse
        entity = {"topic": f"{client}.public.events", "key": ["id"], "sinks": ["warehouse"]}
        return ClientConfig.model_validate(
            {
                "client": client,
                "source": {
                    "kafka": {
                        "bootstrap_servers": self.stack.addresses.kafka,
                        "poll_interval_ms": _POLL_MS,
                        "discovery_interval_s": _DISCOVERY_S,
                    }
                },
                "entities": {"events": {**entity, "contract": {"id": "int64", "sent_us": "int64"}}},
                "sinks": {"warehouse": warehouse.as_sink()},
                "delivery": {"checkpoint_interval_ms": _CHECKPOINT_MS},
                "flink": {"rest_url": self.stack.addresses.flink, "processes": 1, "shards": 4, **flink},
            }
        )

    def build(self) -> float:
        """Build all templates and topics, and return how long a template takes, seconds."""
        start_s = time.perf_counter()
        for client in self.clients:
            write_jar(self.config(client), self._template(client), ensure_jars().flink_runner, bounded=False)
        took_s = (time.perf_counter() - start_s) / len(self.clients)
        topics = [NewTopic(f"{client}.public.events", 1, 1) for client in self.clients]
        admin = AdminClient({"bootstrap.servers": self.stack.addresses.kafka})
        for future in admin.create_topics(topics).values():
            future.result()
        return took_s

    def launch(self, client: str) -> float:
        """Launch a client's job from its template, and return how long it takes until all runs, seconds."""
        start_s = time.perf_counter()
        job = ClientJob(self.config(client), history=History(client, self._folder / "history"))
        job.start(self._template(client), "launch", deadline_s=_LAUNCH_DEADLINE_S)
        return time.perf_counter() - start_s

    def launch_all(self, at_once: int) -> list[float]:
        """Launch all, the last one when the others run."""
        with ThreadPoolExecutor(at_once) as pool:
            first = list(pool.map(self.launch, self.clients[:1]))
            middle = list(pool.map(self.launch, self.clients[1:-1]))
            last = list(pool.map(self.launch, self.clients[1:][-1:]))
        return first + middle + last

    def running(self) -> int:
        """Return how many of the jobs run with all their tasks."""
        jobs = [job for job in self.rest.jobs() if job["name"] in self.clients and job["state"] == "RUNNING"]
        return sum(job["tasks"]["running"] == job["tasks"]["total"] for job in jobs)

    def rows(self, client: str) -> list[tuple[int, int]]:
        """Return (sent, shown) of each row of a client, microseconds since 1970 UTC."""
        statement = (
            "select sent_us, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1e6)::bigint "
            f"from {client}.events"
        )
        with psycopg.connect(self.stack.addresses.warehouse.dsn(), autocommit=True) as connection:
            try:
                return [(int(sent), int(shown)) for sent, shown in connection.execute(statement.encode())]
            except psycopg.errors.UndefinedTable:
                return []

    def arrived(
        self, client: str, expected: int, deadline_s: float = _ARRIVAL_DEADLINE_S
    ) -> list[tuple[int, int]]:
        """Return the rows of a client when as many as expected have come, or time is up; see `rows`."""
        end_s = time.monotonic() + deadline_s
        while len(found := self.rows(client)) < expected and time.monotonic() < end_s:
            time.sleep(_LOOK_S)
        return found

    def cancel(self) -> None:
        """End all jobs."""
        for job in self.rest.jobs():
            if job["name"] in self.clients and job["state"] not in ("CANCELED", "FAILED", "FINISHED"):
                self.rest.ask_to_cancel(job["jid"])

    def _template(self, client: str) -> Path:
        return self._folder / f"{client}.jar"


def send(servers: str, rates: dict[str, int], seconds: float, first: int = 0) -> dict[str, int]:
    """Send events to clients' topics at steady rates, and return how many each was sent.

    Args:
        servers: Kafka's.
        rates: events a second, by client.
        seconds: how long.
        first: id of each client's first row.
    """
    producer = Producer(
        {"bootstrap.servers": servers, "linger.ms": 5, "queue.buffering.max.messages": 500_000}
    )
    sent = dict.fromkeys(rates, 0)
    start_s = time.monotonic()
    while (passed_s := time.monotonic() - start_s) < seconds:
        for client, rate in rates.items():
            for number in range(sent[client], int(passed_s * rate)):
                _send_one(producer, client, first + number)
            sent[client] = max(sent[client], int(passed_s * rate))
        producer.poll(0)
        time.sleep(1 / 20)
    if producer.flush(60):
        raise RuntimeError("the broker did not take all events")
    return sent


def _send_one(producer: Producer, client: str, number: int) -> None:
    now_us = time.time_ns() // 1000
    source = {"connector": "postgresql", "name": client, "schema": "public", "table": "events", "lsn": now_us}
    source |= {"ts_ms": now_us // 1000, "sequence": f'["{now_us}","{now_us}"]'}
    value = {"op": "c", "before": None, "after": {"id": number, "sent_us": now_us}, "source": source}
    while True:
        try:
            return producer.produce(f"{client}.public.events", json.dumps(value), key=b'{"id":%d}' % number)
        except BufferError:
            producer.poll(0.1)


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


def latencies(rows: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Return quantiles of the seconds between sending and showing."""
    found = sorted((shown - sent) / 1e6 for sent, shown in rows)
    if not found:
        return {}
    return {
        "p50_s": round(statistics.median(found), 2),
        "p95_s": round(found[int(len(found) * 0.95)], 2),
        "max_s": round(found[-1], 2),
    }


def measure(fleet: Fleet, rate: int, seconds: float, at_once: int) -> dict[str, Any]:
    """Launch a fleet, watch it idle, then under load, and return the figures."""
    figures: dict[str, Any] = {"jobs": len(fleet.clients), "load_average": os.getloadavg()}
    figures["empty"] = cost_of(fleet.stack, 2.0).totals()
    figures["build_s"] = round(fleet.build(), 2)
    _say("templates are built")
    times = fleet.launch_all(at_once)
    figures["launch_s"] = {"first": round(times[0], 2), "last": round(times[-1], 2)}
    figures["launch_s"]["median"] = round(statistics.median(times), 2)
    _say(f"{fleet.running()} jobs run: {figures['launch_s']}")
    figures["idle"] = cost_of(fleet.stack, min(seconds, 20.0)).totals()
    _say(f"idle: {figures['idle']}")
    sent: dict[str, int] = {}
    sender = threading.Thread(
        target=lambda: sent.update(
            send(fleet.stack.addresses.kafka, dict.fromkeys(fleet.clients, rate), seconds)
        )
    )
    sender.start()
    figures["loaded"] = cost_of(fleet.stack, seconds * 0.8).totals()
    sender.join()
    end_s = time.monotonic() + _ARRIVAL_DEADLINE_S
    rows = {client: fleet.arrived(client, sent[client], end_s - time.monotonic()) for client in fleet.clients}
    figures["running"] = fleet.running()
    figures["rows"] = {"sent": sum(sent.values()), "shown": sum(map(len, rows.values()))}
    figures["latency"] = latencies([row for each in rows.values() for row in each])
    figures["load_average_after"] = os.getloadavg()
    return figures


def run(
    folder: Path, jobs: int = 10, rate: int = 20, seconds: float = 20.0, at_once: int = 2
) -> dict[str, Any]:
    """Measure on a stack of its own.

    Args:
        folder: of the stack, and of what the jobs are made of; made if need be.
        jobs: how many.
        rate: events a second for each.
        seconds: of load.
        at_once: launches beside each other.
    """
    folder.mkdir(exist_ok=True)
    stack = LocalStack.open(folder / "stack")
    try:
        stack.up(_SERVICES, slots=jobs + _SPARE_SLOTS, ports=unusual_ports(), progress=_say)
        fleet = Fleet(stack, jobs, folder)
        figures = measure(fleet, rate, seconds, at_once)
        fleet.cancel()
    finally:
        stack.down(wipe=True)
    return figures


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure on a stack of its own, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--rate", type=int, default=20, help="events a second for each client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--at-once", type=int, default=2, help="launches beside each other")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        figures = run(Path(folder), options.jobs, options.rate, options.seconds, options.at_once)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
