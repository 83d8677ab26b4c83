"""Time `tillstream plan` against a job that runs: wall clock and processor, and where it goes.

    python -m benchmarks.plan [--dir FOLDER_OF_A_STACK] [--rounds 5]

Without a folder it starts a stack of its own, launches a client on it, and takes both down again. Nothing is
asserted; the figures go to benchmarks/results as JSON.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import machine
from benchmarks.stacks import own_stack
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.stack import LocalStack

__all__ = ["config", "main", "measure", "run", "timed"]

_RESULTS = Path(__file__).resolve().parent / "results"
_COMMAND = str(Path(sys.executable).with_name("tillstream"))
_SERVICES = ("warehouse", "kafka", "jobmanager", "taskmanager")
_CLIENT = "bench_plan"
# Beam's import is most of what a build costs; the rest of a plan is asking the cluster.
_IMPORTS = ("tillstream.configs", "apache_beam", "tillstream.runners.flink.jar")


def config(stack: LocalStack, folder: Path) -> dict[str, Any]:
    """Return the config of a client with two tables."""
    entity = {"key": ["id"], "contract": {"id": "int64", "amount": "decimal(12,2)"}, "sinks": ["files"]}
    return {
        "client": _CLIENT,
        "source": {"kafka": {"bootstrap_servers": stack.addresses.kafka}},
        "entities": {name: {**entity, "topic": f"{_CLIENT}.public.{name}"} for name in ("sales", "returns")},
        "sinks": {"files": {"type": "files", "path": str(folder / "out")}},
        "flink": {"rest_url": stack.addresses.flink},
    }


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Run a command; return its wall clock and processor seconds, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start_s = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    wall_s = time.perf_counter() - start_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, ended.stdout + ended.stderr[-2000:]


def measure(stack: LocalStack, folder: Path, rounds: int) -> dict[str, Any]:
    """Return seconds of plans, and of the imports in them."""
    path = folder / "client.yaml"
    path.write_text(yaml.safe_dump(config(stack, folder)), encoding="utf-8")
    environment = {**os.environ, "TILLSTREAM_HISTORY": str(folder / "history")}
    rest = FlinkRest(stack.addresses.flink)
    subprocess.run(
        [_COMMAND, "launch", str(path), "--timeout", "300"],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        runs = [timed([_COMMAND, "plan", str(path), "--json"], environment) for _ in range(rounds + 1)][1:]
    finally:
        for job_id in rest.running(_CLIENT):
            rest.cancel(job_id)
    imports = {
        name: min(
            timed([sys.executable, "-W", "ignore", "-c", f"import {name}"], environment)[1] for _ in range(3)
        )
        for name in _IMPORTS
    }
    return {
        "wall_s": [round(each[0], 2) for each in runs],
        "wall_s_median": round(statistics.median(each[0] for each in runs), 2),
        "cpu_s_median": round(statistics.median(each[1] for each in runs), 2),
        "verdict": json.loads(runs[-1][2][runs[-1][2].index("{") : runs[-1][2].rindex("}") + 1])["verdict"],
        "import_cpu_s": {name: round(each, 2) for name, each in imports.items()},
    }


def run(folder: Path, rounds: int = 5, stack: LocalStack | None = None) -> dict[str, Any]:
    """Measure on a stack that is up, or on one of its own, which is taken down again.

    Args:
        folder: of the stack and the client; made if need be.
        rounds: plans that are counted.
        stack: that is up; None for one of its own.
    """
    folder.mkdir(exist_ok=True)
    with own_stack(folder, _SERVICES) if stack is None else nullcontext(stack) as running:
        return measure(running, folder, rounds)


def main() -> None:
    """Measure, print, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dir", type=Path, help="folder of a stack that is up; by default one of its own")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    at = dt.datetime.now(dt.timezone.utc)
    with tempfile.TemporaryDirectory(prefix="tillstream-bench-") as text:
        figures = run(Path(text), options.rounds, LocalStack.open(options.dir) if options.dir else None)
    results = {"at": at.isoformat(), "machine": machine(), "plan": figures}
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{at:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(figures, indent=2) + f"\nwrote {path}\n")


if __name__ == "__main__":
    main()
