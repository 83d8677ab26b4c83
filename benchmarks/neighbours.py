"""Measure what one client's trouble does to another client's latency.

    python -m benchmarks.neighbours [--seconds 20] [--rate 20]

A calm client's rows are timed beside a client that is idle, floods, sends what cannot be read, dies again and
again, takes a whole processor, and takes all the memory that it may. What counts are the ratios to the first
within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from benchmarks.fleet import Fleet, latencies, send
from benchmarks.stacks import own_stack
from tillstream.configs import ClientConfig
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.nursery.forked import forked

__all__ = ["Street", "main", "measure", "run"]

_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
_SLOTS = 8
# The last one wants three processors.
_FLOOD_PER_S, _POISON_PER_S, _HOG_PER_S, _GLUTTON_PER_S = 2_000, 500, 60, 2
_CRASH_INTERVAL_S = 3.0
_HOG, _GLUTTON = "hog.events@1.0.0", "hog.memory@1.0.0"


class Street(Fleet):
    """Be a calm client, a loud one, one whose code takes a whole processor, and one whose takes all memory.

    Args:
        stack: that is up.
        folder: of templates and histories.
    """

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        super().__init__(stack, 4, folder)
        self.calm, self.loud, self.hog, self.glutton = self.clients

    def config(self, client: str, **flink: Any) -> ClientConfig:
        """Return a client's config."""
        config = super().config(client, **flink)
        transform = {self.hog: _HOG, self.glutton: _GLUTTON}.get(client)
        if transform is None:
            return config
        model = config.plain()
        model["entities"]["events"]["transform"] = transform
        model["transforms"] = {
            "modules": ["tillstream_hog"],
            "path": str(Path(__file__).resolve().parent / "hog"),
        }
        return ClientConfig.model_validate(model)

    def harness(self) -> psutil.Process | None:
        """Return the loud client's process."""
        pid = next(status.pid for status in self.stack.ps() if status.service == "taskmanager")
        return next(iter(reversed(forked(psutil.Process(pid), self.loud))), None)


def measure(street: Street, rate: int, seconds: float) -> dict[str, Any]:
    """Return the calm client's latencies beside each trouble, and their ratios to those beside none."""
    servers = street.stack.addresses.kafka
    troubles: dict[str, Callable[[threading.Event], None]] = {
        "none": lambda _: None,
        "flood": lambda _: _ignore(send(servers, {street.loud: _FLOOD_PER_S}, seconds)),
        "poison": lambda over: _poison(servers, street.loud, over),
        "crash loop": lambda over: _crash(street, over),
        "hog": lambda _: _ignore(send(servers, {street.hog: _HOG_PER_S}, seconds)),
        "glutton": lambda _: _ignore(send(servers, {street.glutton: _GLUTTON_PER_S}, seconds)),
    }
    figures: dict[str, Any] = {"load_average": os.getloadavg()}
    for name, trouble in troubles.items():
        figures[name] = _beside(street, trouble, rate, seconds)
    alone = figures["none"].get("p95_s")
    figures["p95_ratio"] = {
        name: round(figures[name]["p95_s"] / alone, 2)
        for name in troubles
        if alone and not figures[name]["missing"]
    }
    return figures


def _ignore(_: object) -> None:
    pass


def _beside(
    street: Street, trouble: Callable[[threading.Event], None], rate: int, seconds: float
) -> dict[str, float]:
    seen = {sent for sent, _ in street.rows(street.calm)}
    over = threading.Event()
    thread = threading.Thread(target=trouble, args=(over,))
    thread.start()
    sent = send(street.stack.addresses.kafka, {street.calm: rate}, seconds, first=len(seen))
    over.set()
    thread.join()
    rows = street.arrived(street.calm, len(seen) + sent[street.calm])
    new = [row for row in rows if row[0] not in seen]
    return {**latencies(new), "missing": sent[street.calm] - len(new)}


def _poison(servers: str, client: str, over: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": servers})
    while not over.wait(0.1):
        for _ in range(_POISON_PER_S // 10):
            producer.produce(f"{client}.public.events", b"{not json", key=b"poison")
        producer.poll(0)
    producer.flush(30)


def _crash(street: Street, over: threading.Event) -> None:
    while not over.wait(_CRASH_INTERVAL_S):
        process = street.harness()
        if process is not None:
            process.kill()


def run(folder: Path, rate: int = 20, seconds: float = 15.0) -> dict[str, Any]:
    """Measure on a stack of its own.

    Args:
        folder: of the stack, and of what the jobs are made of; made if need be.
        rate: events a second of the calm client.
        seconds: of each trouble.
    """
    with own_stack(folder, _SERVICES, _SLOTS) as stack:
        street = Street(stack, folder)
        street.build()
        street.launch_all(1)
        figures = measure(street, rate, seconds)
        street.cancel()
    return figures


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=20, help="events a second of the calm client")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each trouble")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neighbours") as folder:
        print(json.dumps(run(Path(folder), options.rate, options.seconds), indent=1))


if __name__ == "__main__":
    main()
