"""Measure everything on one local stack of its own, print ratios, and write JSON to benchmarks/results.

    python -m benchmarks.run [--events 2000000] [--partitions 4] [--keys 50000] [--parallelism 1]
        [--only files,postgres]

Nothing is asserted: figures of a machine that others use too are sizes, and only their ratios within one run
say anything.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import (
    commands,
    decode,
    dedup,
    fleet,
    launch,
    neighbours,
    plan,
    quix,
    startup,
    tillstream_job,
    transactions,
    trust,
    upgrade,
)
from benchmarks.load import KEYS, Load, fill
from benchmarks.machine import machine
from benchmarks.task import Task, run_apart
from benchmarks.tillstream_job import Shape
from tillstream.runners.local.stack import SERVICES, LocalStack

_RESULTS = Path(__file__).resolve().parent / "results"
_PARTS = (
    "startup",
    "decode",
    "dedup",
    "transactions",
    "files",
    "postgres",
    "trust",
    "latency",
    "recovery",
    "plan",
    "launch",
    "upgrade",
    "fleet",
    "neighbours",
)
_TRUST_ROUNDS = 2
_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
_OURS = "tillstream"
_VERSION = re.compile(rb'"version":(\d+)')
_CONSOLE = Console()


def compare(stack: LocalStack, load: Load, sink: str, parallelism: int, folder: Path) -> dict[str, Any]:
    """Run each system from the topic to one sink, one after the other."""

    def ours(**changes: Any) -> Callable[[Task], dict[str, Any]]:
        shape = Shape(parallelism=parallelism, **changes)
        return lambda task: tillstream_job.run(stack, task, shape, version_sum=load.version_sum)

    systems: dict[str, Callable[[Task], dict[str, Any]]] = {
        "hand_loop": lambda task: run_apart("benchmarks.hand_loop", task),
        "quix": quix.run,
        f"{_OURS}_one_process": ours(processes=1),
        f"{_OURS}_at_least_once": ours(guarantee="at-least-once"),
        _OURS: ours(),
    }
    return {name: _one(stack, load, system, folder, f"{sink}-{name}") for name, system in systems.items()}


def compare_trust(stack: LocalStack, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one topic to files without and with trust stages, in turns; the ratio is of their best rates."""
    load = fill(stack.addresses.kafka, options.events, options.partitions, options.keys, people=True)
    figures: dict[str, Any] = {"us_per_row": trust.measure()}
    best = {"plain": 0.0, "trust": 0.0}
    for turn in range(_TRUST_ROUNDS):
        for name, rate in best.items():
            shape = Shape(options.parallelism, people=True, trust=name == "trust")

            def system(task: Task, shape: Shape = shape) -> dict[str, Any]:
                return tillstream_job.run(stack, task, shape, version_sum=load.version_sum)

            found = _one(stack, load, system, folder, f"files-{name}_{turn}")
            figures[f"{name}_{turn}"] = found
            best[name] = max(rate, found["events_per_s"] or 0.0)
    figures["trust / plain"] = best["trust"] / best["plain"] if best["plain"] else None
    return figures


def _one(
    stack: LocalStack,
    load: Load,
    system: Callable[[Task], dict[str, Any]],
    folder: Path,
    label: str,
) -> dict[str, Any]:
    sink, _, name = label.partition("-")
    _CONSOLE.print(f"{name}: {load.events:,} events to {sink}")
    own = folder / label
    own.mkdir()
    warehouse = stack.addresses.warehouse
    task = Task(
        servers=stack.addresses.kafka,
        topic=load.topic,
        partitions=load.partitions,
        events=load.events,
        sink=sink,
        folder=str(own),
        database=(
            f"host={warehouse.host} port={warehouse.port} dbname={warehouse.database} user={warehouse.user}"
        ),
        password_file=str(warehouse.password_file),
        table=f"bench_{name}",
    )
    before_s = tillstream_job.server_cpu_s(stack)
    figures = system(task)
    server_s = tillstream_job.server_cpu_s(stack) - before_s
    if sink == "postgres":
        figures["postgres_cpu_s_per_million"] = server_s / load.events * 1e6
        figures["delivered"] = tillstream_job.shown(task)
        figures["is_right"] = figures["delivered"] == [load.rows, load.version_sum]
    else:
        figures["delivered"] = _distinct(own, load.events)
        figures["is_right"] = figures["delivered"] == load.events
    return figures


def _distinct(folder: Path, events: int) -> int:
    """Return how many of the events, each of which has a version of its own, the files hold."""
    seen = bytearray(events + 1)
    for path in folder.rglob("*.jsonl"):
        with path.open("rb") as file:
            for line in file:
                seen[int(_VERSION.search(line)[1])] = 1
    return sum(seen)


def ratios(figures: dict[str, Any]) -> dict[str, float]:
    """Return our rate as a multiple of each other system's."""
    ours = figures[_OURS]["events_per_s"]
    others = [name for name in figures if name != _OURS]
    return {
        f"{_OURS} / {name}": ours / rate
        for name in others
        if ours and (rate := figures[name]["events_per_s"])
    }


def show(sink: str, figures: dict[str, Any]) -> None:
    """Print one sink's table and ratios."""
    table = Table(title=f"Kafka to {sink}")
    for heading in ("system", "events/s", "CPU-s/M", "Postgres CPU-s/M", "MB", "all there"):
        table.add_column(heading, justify="left" if heading == "system" else "right")
    for name, found in figures.items():
        measures = ("events_per_s", "cpu_s_per_million", "postgres_cpu_s_per_million", "rss_mb")
        numbers = [f"{found[key]:,.1f}" if found.get(key) is not None else "" for key in measures]
        table.add_row(name, *numbers, "yes" if found["is_right"] else "NO")
    _CONSOLE.print(table)
    found_ratios = ratios(figures)
    if not found_ratios:
        _CONSOLE.print("  no ratios: too few events, someone delivered all of them in one go")
    for name, ratio in found_ratios.items():
        _CONSOLE.print(f"  {name}: {ratio:.2f}")


def measure_alone(only: list[str], results: dict[str, Any]) -> None:
    """Add the figures of those chosen parts that need no stack."""
    if "decode" in only:
        results["decode_us"] = decode.measure()
        results["decode_formats"] = decode.formats()
        _CONSOLE.print(results["decode_us"], results["decode_formats"])
    for part, measured in (("dedup", dedup.measure), ("transactions", transactions.measure)):
        if part in only:
            results[part] = measured()
            _CONSOLE.print(part, results[part])


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of the chosen parts."""
    only, results = options.only, {}
    measure_alone(only, results)
    stack = LocalStack.open(folder / "stack")
    try:
        if "startup" in only:
            results["startup"] = {
                "help_s": startup.help_s(),
                "up_s": startup.start(stack, SERVICES),
                **startup.weigh(stack),
            }
            _CONSOLE.print(results["startup"])
        sinks = [sink for sink in ("files", "postgres") if sink in only]
        if sinks or "trust" in only:
            stack.up(_SERVICES)
        if "trust" in only:
            results["trust"] = compare_trust(stack, options, folder)
            _CONSOLE.print("trust", results["trust"])
        if sinks:
            load = fill(stack.addresses.kafka, options.events, options.partitions, options.keys)
            results["bytes_per_event"] = load.value_bytes / load.events
        for sink in sinks:
            results[sink] = compare(stack, load, sink, options.parallelism, folder)
            results[f"{sink}_ratios"] = ratios(results[sink])
            show(sink, results[sink])
    finally:
        stack.down(wipe=True)
    # On stacks of their own.
    apart: dict[str, Callable[[Path], Any]] = {
        "latency": commands.latency,
        "recovery": commands.recovery,
        "plan": plan.run,
        "launch": launch.run,
        "upgrade": upgrade.run,
        "fleet": fleet.run,
        "neighbours": neighbours.run,
    }
    for part, measured in apart.items():
        if part in only:
            results[part] = measured(folder / part)
            _CONSOLE.print(part, results[part])
    return results


def _chosen(text: str) -> list[str]:
    names = text.split(",")
    _refuse_unknown(name for name in names if name not in _PARTS)
    return names


def _refuse_unknown(names: Iterable[str]) -> None:
    for name in names:
        raise argparse.ArgumentTypeError(f"found {name!r}, expected some of {','.join(_PARTS)}")


def main() -> None:
    """Measure, print, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--only", type=_chosen, default=list(_PARTS), help="some of " + ",".join(_PARTS))
    options = parser.parse_args()
    at = dt.datetime.now(dt.timezone.utc)
    results = {"at": at.isoformat(), "options": vars(options), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="tillstream-bench-") as folder:
        results |= measure(options, Path(folder))
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{at:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    _CONSOLE.print(f"wrote {path}")


if __name__ == "__main__":
    main()
