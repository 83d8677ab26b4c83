"""Run many clients' jobs on one stack, and measure what they cost and how soon rows arrive.

    python -m benchmarks.fleet [--jobs 100] [--rate 20] [--seconds 60] [--at-once 2]
        [--guarantee exactly-once] [--checkpoint-ms 3000] [--poll-ms 1000]

Each client has a topic, a table in the warehouse and a job, launched from a template that was built before.
Events come in bursts twice a second, as Debezium looks for them (poll.interval.ms). The first ones, by which
each job makes its table and connections, are timed by themselves.
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.costs import cost_of
from tillstream.configs import ClientConfig
from tillstream.runners.flink.jar import write_jar
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

__all__ = ["Fleet", "Pace", "latencies", "main", "measure", "run", "send"]

_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
# What a client of a shared machine does with.
_DISCOVERY_S = 30
# One writer for all keys, and so no second subtask ever.
_FLINK = {"processes": 1, "shards": 1, "max_parallelism": 1}
_SPARE_SLOTS = 4
_LAUNCH_DEADLINE_S = 300.0
_ARRIVAL_DEADLINE_S = 120.0
_LOOK_S = 0.5
_BURST_S = 0.5
_WARM_UP_S = 10.0
_SETTLE_S = 45.0


@dataclass(frozen=True)
class Pace:
    """Say how often each job does what it does.

    Attributes:
        guarantee: of delivery.
        checkpoint_ms: between checkpoints.
        poll_ms: between polls of an idle job.
    """

    guarantee: str = "exactly-once"
    checkpoint_ms: int = 3_000
    poll_ms: int = 1_000


class Fleet:
    """Be a number of clients on one stack.

    Args:
        stack: that is up.
        jobs: how many.
        folder: of templates and histories.
        pace: of each job.
    """

    def __init__(self, stack: LocalStack, jobs: int, folder: Path, pace: Pace = Pace()) -> None:
        self.stack = stack
        self.clients = [f"fleet{number:03}" for number in range(1, jobs + 1)]
        self.rest = FlinkRest(stack.addresses.flink)
        self._folder = folder
        self.pace = pace

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
                        "poll_interval_ms": self.pace.poll_ms,
                        "discovery_interval_s": _DISCOVERY_S,
                    }
                },
                "entities": {"events": {**entity, "contract": {"id": "int64", "sent_us": "int64"}}},
                "sinks": {"warehouse": warehouse.as_sink()},
                "delivery": {
                    "guarantee": self.pace.guarantee,
                    "checkpoint_interval_ms": self.pace.checkpoint_ms,
                },
                "flink": {**_FLINK, "rest_url": self.stack.addresses.flink, **flink},
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
        time.sleep(_BURST_S)
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
    figures["pace"] = vars(fleet.pace)
    figures["empty"] = cost_of(fleet.stack, 2.0).totals()
    figures["build_s"] = round(fleet.build(), 2)
    _say("templates are built")
    times = fleet.launch_all(at_once)
    figures["launch_s"] = {"first": round(times[0], 2), "last": round(times[-1], 2)}
    figures["launch_s"]["median"] = round(statistics.median(times), 2)
    _say(f"{fleet.running()} jobs run: {figures['launch_s']}")
    # Launches go on in the JVMs for a while: code is compiled, and checkpoints find their times.
    time.sleep(_SETTLE_S)
    figures["idle"] = cost_of(fleet.stack, min(seconds, 20.0)).totals()
    _say(f"idle: {figures['idle']}")
    first, figures["warm_up"] = _loaded(fleet, 1, _WARM_UP_S, {})
    _say(f"warm: {figures['warm_up']}")
    _, loaded = _loaded(fleet, rate, seconds, first)
    figures |= loaded
    figures["running"] = fleet.running()
    figures["load_average_after"] = os.getloadavg()
    return figures


def _loaded(
    fleet: Fleet, rate: int, seconds: float, before: dict[str, int]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Send events, watch the costs, and return how many each client has then, and the figures."""
    sent: dict[str, int] = {}
    servers, since_us = fleet.stack.addresses.kafka, time.time_ns() // 1000
    first = max(before.values(), default=0)
    sender = threading.Thread(
        target=lambda: sent.update(send(servers, dict.fromkeys(fleet.clients, rate), seconds, first))
    )
    sender.start()
    cost = cost_of(fleet.stack, seconds * 0.8).totals()
    sender.join()
    end_s = time.monotonic() + _ARRIVAL_DEADLINE_S
    total = {client: before.get(client, 0) + sent[client] for client in fleet.clients}
    found = [fleet.arrived(client, total[client], end_s - time.monotonic()) for client in fleet.clients]
    new = [row for rows in found for row in rows if row[0] >= since_us]
    rows = {"sent": sum(sent.values()), "shown": len(new)}
    return total, {"loaded": cost, "rows": rows, "latency": latencies(new)}


def run(
    folder: Path,
    jobs: int = 10,
    rate: int = 20,
    seconds: float = 20.0,
    *,
    at_once: int = 2,
    pace: Pace = Pace(),
) -> dict[str, Any]:
    """Measure on a stack of its own.

    Args:
        folder: of the stack, and of what the jobs are made of; made if need be.
        jobs: how many.
        rate: events a second for each.
        seconds: of load.
        at_once: launches beside each other.
        pace: of each job.
    """
    folder.mkdir(exist_ok=True)
    stack = LocalStack.open(folder / "stack")
    try:
        stack.up(_SERVICES, slots=jobs + _SPARE_SLOTS, ports=unusual_ports(), progress=_say)
        fleet = Fleet(stack, jobs, folder, pace)
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
    parser.add_argument("--guarantee", default=Pace.guarantee, help="exactly-once or at-least-once")
    parser.add_argument("--checkpoint-ms", type=int, default=Pace.checkpoint_ms)
    parser.add_argument("--poll-ms", type=int, default=Pace.poll_ms)
    options = parser.parse_args()
    pace = Pace(options.guarantee, options.checkpoint_ms, options.poll_ms)
    with tempfile.TemporaryDirectory(prefix="fleet") as folder:
        figures = run(
            Path(folder), options.jobs, options.rate, options.seconds, at_once=options.at_once, pace=pace
        )
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
