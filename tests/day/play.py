"""Play the day: every step is a command that a person gives, or a part that dies."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from tests.day.files import CLIENTS, NORTH, SOUTH, write_config, write_transforms
from tests.day.traffic import Beats, Traffic, create_tables, difference
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.capture import register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import SERVICES, LocalStack

__all__ = ["Day", "UnexpectedError"]

Say = Callable[[str], None]
Step = tuple[str, Callable[[], object], bool]

_COMMAND_S_MAX = 240.0
_REFUSED_PLAN = 30
_REFUSED = 1
# Longer than builds, starts and restores of another client hold two processors, and shorter than a job that
# was stopped and forgotten; how fresh rows stay is measured by benchmarks/neighbours.py.
_AGE_S_MAX = 60.0


class UnexpectedError(AssertionError):
    """Say which command did not do what the day expects."""


@dataclass
class Day:
    """Be the day.

    Attributes:
        stack: that both clients run on; need not be up.
        folder: of configs, transforms and histories.
        say: takes a line for each step.
        seed: of the traffic.
        ages: of south's newest row at worst during each step, seconds.
    """

    stack: LocalStack
    folder: Path
    say: Say
    seed: int = 1
    ages: dict[str, float] = field(default_factory=dict)

    def play(self) -> str | None:
        """Play all steps, and return the first difference between sources and warehouses; None if equal.

        Raises:
            UnexpectedError: if a command or a job does what it should not.
        """
        self._open()
        traffic, beats = Traffic(self.stack, self.seed), Beats(self.stack)
        try:
            self._launch()
            south = self._job(SOUTH)
            for name, step, hurts in self._steps(traffic):
                self.say(name)
                beats.oldest_s()
                step()
                self._see(name, beats.oldest_s(), hurts=hurts)
            if self._job(SOUTH) != south:
                raise UnexpectedError(
                    f"south's job is {self._job(SOUTH)}, expected {south}, as in the morning"
                )
        finally:
            beats.close()
            traffic.close()
        return next(filter(None, (difference(self.stack, client) for client in CLIENTS)), None)

    def _see(self, name: str, age_s: float | None, *, hurts: bool) -> None:
        """Note how old south's newest row was, which must be fresh where only north was touched."""
        if age_s is None:
            raise UnexpectedError(f"{name}: south's warehouse was not seen at all")
        self.ages[name] = age_s
        self.say(f"  south's newest row was {age_s:.1f} s old at worst")
        if not hurts and age_s > _AGE_S_MAX:
            raise UnexpectedError(
                f"{name}: south's newest row was {age_s:.1f} s old, expected at most {_AGE_S_MAX:.0f} s"
            )

    def _steps(self, traffic: Traffic) -> Iterator[Step]:
        """Yield each step: its name, what is done, and whether it hurts what both clients share."""
        plan = partial(self._run, "plan", self._north(), code=0, says="no change")
        yield "plan what runs: no change", plan, False
        yield "upgrade north to 1.1.0", partial(self._upgrade, "1.1.0"), False
        yield "kill the harnesses' TaskManager", partial(self._kill, "taskmanager"), True
        yield "try fewer shards: refused", self._incompatible, True
        yield "canary of a wrong transform: refused", self._wrong, False
        yield "kill the JobManager", partial(self._kill, "jobmanager"), True
        yield "roll back to 1.0.0", self._roll_back, True
        yield "rescale north to 2", partial(self._rescale, 2), False
        yield "rescale north to 1 while the TaskManager dies", self._rescale_amid_a_kill, True
        yield "pause north over a burst", partial(self._pause, traffic), True
        yield "kill the broker", partial(self._kill, "kafka"), True
        yield "read the history", self._history, True

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = None if self.stack.layout.state_file.exists() else unusual_ports()
        self.stack.up(SERVICES, ports=ports, progress=self.say)
        create_tables(self.stack)
        for client in CLIENTS:
            register_debezium(self.stack, client, client, (f"{client}.orders",), partitions=2)
        write_transforms(self.folder)

    def _launch(self) -> None:
        self.say("launch both")
        paths = [str(write_config(self.stack, self.folder, client)) for client in CLIENTS]
        self._run("launch", *paths, code=0)

    def _north(self, version: str = "1.0.0", **flink: Any) -> str:
        return str(write_config(self.stack, self.folder, NORTH, version, **flink))

    def _upgrade(self, version: str) -> None:
        before = self._job(NORTH)
        self._run("plan", self._north(version), code=10, says="north.cents@1.0.0")
        self._run("upgrade", self._north(version), "--watch-for", "5", "--yes", code=0)
        if self._job(NORTH) == before:
            raise UnexpectedError("the upgrade left the old job running")

    def _incompatible(self) -> None:
        before = self._job(NORTH)
        path = self._north("1.1.0", shards=8)
        self._run("plan", path, code=_REFUSED_PLAN, says="shards")
        self._run("upgrade", path, "--yes", code=_REFUSED, says="shards")
        self._is_still(before)
        self._north("1.1.0")

    def _wrong(self) -> None:
        before = self._job(NORTH)
        path = self._north("2.0.0")
        self._run("upgrade", path, "--canary", "--canary-for", "5", "--yes", code=_REFUSED, says="cents")
        self._is_still(before)
        self._north("1.1.0")

    def _roll_back(self) -> None:
        before = self._job(NORTH)
        self._run("rollback", self._north("1.0.0"), "--yes", code=0)
        if self._job(NORTH) == before:
            raise UnexpectedError("the roll-back left the newer job running")
        self._run("status", self._north("1.0.0"), code=0, says="north.cents@1.0.0")

    def _rescale(self, parallelism: int) -> None:
        self._run("rescale", self._north(), str(parallelism), code=0)
        rest = FlinkRest(self.stack.addresses.flink)
        found = {vertex["parallelism"] for vertex in rest.job(self._job(NORTH))["vertices"]}
        if found != {parallelism}:
            raise UnexpectedError(f"found parallelism {found}, expected {parallelism}")

    def _rescale_amid_a_kill(self) -> None:
        """Kill what runs the job, and rescale it while that is started again."""
        self.stack.kill("taskmanager")
        starting = threading.Thread(target=self.stack.up, args=(["taskmanager"],), name="starting")
        starting.start()
        try:
            self._rescale(1)
        finally:
            starting.join()

    def _pause(self, traffic: Traffic) -> None:
        self._run("pause", self._north(), code=0)
        if self._jobs(NORTH):
            raise UnexpectedError("a job of north runs although it was paused")
        traffic.burst(NORTH)
        self._run("resume", self._north(), code=0)

    def _history(self) -> None:
        self._run("history", self._north(), "--verify", code=0)
        out = self._run("history", self._north(), "--json", code=0)
        entries = json.loads(out)["clients"][0]["entries"]
        done = [entry["action"] for entry in entries if entry["outcome"] == "done"]
        # An action may take several entries: what it stopped, and what it started.
        found = [action for action, _ in groupby(done)]
        wanted = ["launch", "upgrade", "rollback", "rescale", "pause", "resume"]
        if found != wanted:
            raise UnexpectedError(f"found the history {found}, expected {wanted}")

    def _kill(self, service: str) -> None:
        self.stack.kill(service)
        self.stack.up([service])

    def _jobs(self, client: str) -> list[str]:
        return FlinkRest(self.stack.addresses.flink).running(client)

    def _job(self, client: str) -> str:
        found = self._jobs(client)
        if len(found) != 1:
            raise UnexpectedError(f"found {len(found)} jobs of {client}, expected one")
        return found[0]

    def _is_still(self, job_id: str) -> None:
        if self._job(NORTH) != job_id:
            raise UnexpectedError(
                f"north's job is {self._job(NORTH)}, expected {job_id}, which was not to be touched"
            )

    def _run(self, *words: str, code: int, says: str = "") -> str:
        """Run a command of tillstream and return what it printed."""
        command = [str(Path(sys.executable).with_name("tillstream")), *words]
        environment = {
            **os.environ,
            "TILLSTREAM_DIR": str(self.stack.layout.root),
            "TILLSTREAM_HISTORY": str(self.folder / "history"),
            "TILLSTREAM_ACTOR": "the day",
        }
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S_MAX,
            check=False,
            cwd=self.folder,
        )
        printed = done.stdout + done.stderr
        for line in re.sub(r"\n+", "\n", printed).strip().splitlines()[-8:]:
            self.say(f"  | {line}")
        if done.returncode != code or says not in printed:
            raise UnexpectedError(
                f"tillstream {' '.join(words)}: found exit code {done.returncode} and\n{printed}\n"
                f"expected {code}{f' and {says!r}' if says else ''}"
            )
        return done.stdout
