"""Time the launch of a built template on a warm cluster, from the command to all tasks running.

    python -m benchmarks.launch [--rounds 5] [--dir FOLDER]

Prints one JSON object: medians, seconds. `launch_s` is the whole command `tillstream template launch`.
Its parts are measured within one process, step by step; what is left is the command's own start.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.stacks import own_stack
from tillstream.configs import ClientConfig
from tillstream.runners.flink.launch import parameters_of, run_uploaded, uploaded
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs.history import HISTORY_VARIABLE
from tillstream.runners.jobs.templates import Given, build, config_of
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.preflight import check_far_sides

__all__ = ["main", "measure", "run"]

_SERVICES = ("kafka", "jobmanager", "taskmanager")
_RUNNING = frozenset({"RUNNING"})
_DEADLINE_S = 120.0
_POLL_S = 0.01
_CONFIG = """
client: bench
source: {{kafka: {{bootstrap_servers: "{kafka}"}}}}
entities:
  sales: {{topic: bench.public.sales, key: [id], contract: {{id: int64}}, sinks: [out]}}
sinks: {{out: {{type: files, path: out}}}}
flink: {{rest_url: "{flink}"}}
"""


class _Laps:
    """Take the times of steps, by name."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Take the time of what is done inside."""
        start_s = time.perf_counter()
        yield
        self.times.setdefault(name, []).append(time.perf_counter() - start_s)

    def medians(self) -> dict[str, float]:
        """Return them, seconds."""
        return {name: round(statistics.median(times), 3) for name, times in self.times.items()}


def measure(stack: LocalStack, folder: Path, rounds: int) -> dict[str, Any]:
    """Return what a launch takes; the first of each kind warms up, and is not counted.

    Args:
        stack: that is up.
        folder: for the project and its template.
        rounds: launches that are counted.
    """
    addresses = stack.addresses
    (folder / "bench.yaml").write_text(_CONFIG.format(kafka=addresses.kafka, flink=addresses.flink))
    jar = folder / "bench.jar"
    laps = _Laps()
    with laps.of("build"):
        build(folder / "bench.yaml", jar)
    rest = FlinkRest(addresses.flink)
    tool = str(Path(sys.executable).with_name("tillstream"))
    command = [tool, "template", "launch", str(jar), "--fresh", "--json", "--relative-to", str(folder)]
    command += ["--timeout", str(int(_DEADLINE_S))]
    for number in range(rounds + 1):
        _end(rest)
        with laps.of("launch" if number else "first_launch"):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        _end(rest)
        _steps(rest, jar, folder, laps if number else _Laps())
    for _ in range(rounds):
        with laps.of("command_alone"):
            subprocess.run([tool, "template", "inspect", str(jar)], check=True, capture_output=True)
    _end(rest)
    return {"rounds": rounds, "jar_kb": jar.stat().st_size // 1000, **_seconds(laps)}


def _seconds(laps: _Laps) -> dict[str, float]:
    return {f"{name}_s": value for name, value in laps.medians().items()}


def _steps(rest: FlinkRest, jar: Path, folder: Path, laps: _Laps) -> None:
    with laps.of("step_config"):
        config: ClientConfig = config_of(jar, Given(folder=folder))
        parameters = parameters_of(read_manifest(jar).model(), config)
    with laps.of("step_far_sides"):
        check_far_sides(config)
    start_s = time.perf_counter()
    with uploaded(rest, jar, parameters) as jar_id:
        laps.times.setdefault("step_upload", []).append(time.perf_counter() - start_s)
        with laps.of("step_submit"):
            job_id = run_uploaded(rest, jar_id, parameters)
    with laps.of("step_scheduled"):
        rest.wait(job_id, _RUNNING, _DEADLINE_S)
    with laps.of("step_tasks"):
        rest.wait_for_tasks(job_id, _DEADLINE_S)


def _end(rest: FlinkRest) -> None:
    """End the client's jobs, and wait until their slots are free."""
    for job_id in rest.running("bench"):
        rest.cancel(job_id)
    end_s = time.monotonic() + _DEADLINE_S
    while rest.overview()["slots-available"] < rest.overview()["slots-total"]:
        if time.monotonic() > end_s:
            raise TimeoutError("the slots of the job before are not free")
        time.sleep(_POLL_S)


def run(folder: Path, rounds: int = 5) -> dict[str, Any]:
    """Measure on a stack of its own, which is taken down again.

    Args:
        folder: of the stack and the project; made if need be.
        rounds: launches that are counted.
    """
    with (
        patch.dict(os.environ, {HISTORY_VARIABLE: str(folder / "history")}),
        own_stack(folder, _SERVICES) as stack,
    ):
        return measure(stack, folder, rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.launch", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="folder of the stack and the project")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        figures = run((options.dir or Path(temporary)).absolute(), options.rounds)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
