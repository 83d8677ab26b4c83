"""Play the day: every step is a command that a person gives, or a part that dies."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.day.beats import Beats
from tests.day.checks import Footprint, UnexpectedError, check_calm, check_diff, check_history, version_held
from tests.day.commands import Commands
from tests.day.files import CLIENTS, NORTH, SOUTH, TRANSFORM, write_config, write_transforms
from tests.day.sides import beat_grade, difference, grade_of, rows_graded
from tests.day.traffic import Traffic, capture_tables
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import SERVICES, LocalStack
from tillstream.runners.nursery.forked import forked
from tillstream.runners.verify.rig import await_

__all__ = ["Day"]

_REFUSED_PLAN = 30
_REFUSED = 1
_MORNING = "1.0.0"
# Before the next step both clients' rows come so fast again, and within so long, whatever has died.
_FRESH_S = 5.0
_RECOVERED_S_MAX = 60.0


class _Step(NamedTuple):
    """Be a step: its name, what is done, and whether a part dies on which both clients run."""

    name: str
    do: Callable[[], object]
    is_shared: bool = False


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
    say: Callable[[str], None]
    seed: int = 1
    ages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make what gives the commands."""
        self._commands = Commands(self.stack, self.folder, self.say)
        self._run = self._commands.run

    def play(self) -> str | None:
        """Play all steps, and return the first difference between the two sides; None if equal.

        Raises:
            UnexpectedError: if a command or a job does what it should not, or south notices something.
            StackError: if a client's rows do not come again.
        """
        self._open()
        traffic = Traffic(self.stack, self.seed)
        beats = {client: Beats(self.stack, client) for client in CLIENTS}
        try:
            self._launch()
            self._recovers(beats)
            self._first = self._footprint(NORTH).generation
            for step in self._steps(traffic):
                self._play(step, beats)
        finally:
            for each in beats.values():
                each.close()
            traffic.close()
        found = difference(self.stack, self.folder / "log", traffic.oracle, _MORNING)
        if found is None:
            self._evening()
        return found

    def _play(self, step: _Step, beats: dict[str, Beats]) -> None:
        """Take a step from a moment at which all is well to the next one."""
        before = self._footprint(SOUTH)
        self.say(step.name)
        beats[SOUTH].worst_s()
        step.do()
        self._recovers(beats)
        self.ages[step.name] = worst_s = beats[SOUTH].worst_s()
        self.say(f"  south's newest row was {worst_s:.1f} s old at worst")
        check_calm(step.name, worst_s, before, self._footprint(SOUTH), is_shared=step.is_shared)

    def _recovers(self, beats: dict[str, Beats]) -> None:
        """Wait until what is committed from now on is seen of both clients, soon after."""
        for each in beats.values():
            each.await_fresh(_FRESH_S, _RECOVERED_S_MAX)

    def _steps(self, traffic: Traffic) -> Iterator[_Step]:
        """Yield each step."""
        plan = partial(self._run, "plan", self._north(), code=0, says="no change")
        yield _Step("plan what runs: no change", plan)
        yield _Step("upgrade north to 1.1.0", partial(self._upgrade, "1.1.0"))
        yield _Step("kill north's harness", self._kill_harness)
        yield _Step("try fewer shards: refused", self._incompatible)
        yield _Step("kill the TaskManager", partial(self._kill, "taskmanager"), is_shared=True)
        yield _Step("canary of a wrong transform: refused", self._wrong)
        yield _Step("kill the JobManager", partial(self._kill, "jobmanager"), is_shared=True)
        yield _Step("upgrade north to 1.2.0 while the TaskManager dies", self._upgrade_amid, is_shared=True)
        yield _Step("roll back to 1.0.0", self._roll_back)
        yield _Step("kill Debezium", partial(self._kill, "connect"), is_shared=True)
        yield _Step("rescale north to 2", partial(self._rescale, 2))
        yield _Step("rescale north to 1 while the TaskManager dies", self._rescale_amid, is_shared=True)
        yield _Step("kill the warehouse", partial(self._kill, "warehouse"), is_shared=True)
        yield _Step("pause north over a burst", partial(self._pause, traffic))
        yield _Step("kill the broker", partial(self._kill, "kafka"), is_shared=True)

    def _open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = None if self.stack.layout.state_file.exists() else unusual_ports()
        self.stack.up(SERVICES, ports=ports, progress=self.say)
        capture_tables(self.stack)
        write_transforms(self.folder)

    def _launch(self) -> None:
        self.say("launch both")
        paths = [str(write_config(self.stack, self.folder, client)) for client in CLIENTS]
        self._run("launch", *paths)

    def _upgrade(self, version: str) -> None:
        before = self._job(NORTH)
        self._shows(_MORNING)
        self._run("plan", self._north(version), code=10, says=f"{TRANSFORM}@{_MORNING}")
        self._run("upgrade", self._north(version), "--watch-for", "5", "--yes")
        if self._job(NORTH) == before:
            raise UnexpectedError("the upgrade left the old job running")
        self._shows(version)

    def _incompatible(self) -> None:
        before = self._job(NORTH)
        path = self._north("1.1.0", shards=8)
        reason = "config /flink/shards: state lies by it, and would not be found"
        self._run("plan", path, code=_REFUSED_PLAN, says=reason)
        self._run("upgrade", path, "--yes", code=_REFUSED, says=reason)
        self._is_still(before)

    def _wrong(self) -> None:
        before = self._job(NORTH)
        file = self.folder / "differences.jsonl"
        words = ("--canary", "--canary-for", "5", "--diff-file", str(file), "--yes")
        printed = self._run("upgrade", self._north("2.0.0"), *words, code=_REFUSED, says="refused: ")
        check_diff(printed, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
        self._is_still(before)

    def _upgrade_amid(self) -> None:
        """Kill what runs the new version while it is watched: the history says whether it was kept."""
        kill = partial(self._kill, "taskmanager")
        words = ("upgrade", self._north("1.2.0"), "--watch-for", "10", "--yes")
        code = self._commands.amid(*words, sees="watching it", do=kill)
        if code not in (0, 1):
            raise UnexpectedError(f"the upgrade ended with exit code {code}, expected 0 or 1")
        version = "1.1.0" if code else "1.2.0"
        held = version_held(self._history(NORTH), self._job(NORTH))
        if {held, self._transform()} != {f"{TRANSFORM}@{version}"}:
            raise UnexpectedError(
                f"the upgrade ended with {code}, the history has {held}, and {self._transform()} runs"
            )
        self.say(f"  {held} runs, as the history says")
        self._shows(version)

    def _roll_back(self) -> None:
        before = self._job(NORTH)
        if not rows_graded(self.stack, "tiny"):
            raise UnexpectedError("found no row with a grade that 1.1.0 alone gives, expected some to undo")
        words = ("rollback", self._north(), "--to", str(self._first), "--yes")
        self._run(*words)
        after = self._job(NORTH)
        if after == before or self._transform() != f"{TRANSFORM}@{_MORNING}":
            raise UnexpectedError(f"after the roll-back {self._transform()} runs as job {after}")
        self._run(*words)
        self._is_still(after)
        # What has been undone is written again, so nothing of it is left.
        self._shows(_MORNING)
        await_(lambda: not rows_graded(self.stack, "tiny"), "1.1.0's grades to be gone")
        left = self._commands.one("rollback", self._north(), "--leftovers")
        if left["leftovers"] != [] or left["letters"]:
            raise UnexpectedError(f"the roll-back left {left}, expected nothing")

    def _rescale(self, parallelism: int) -> None:
        self._run("rescale", self._north(), str(parallelism))
        vertices = self._rest.job(self._job(NORTH))["vertices"]
        found = {vertex["parallelism"] for vertex in vertices}
        if found != {parallelism}:
            raise UnexpectedError(f"found parallelism {found}, expected {parallelism}")

    def _rescale_amid(self) -> None:
        """Kill what runs the job, and rescale it while that is started again."""
        self.stack.kill("taskmanager")
        starting = threading.Thread(target=self.stack.up, args=(["taskmanager"],), name="starting")
        starting.start()
        try:
            self._rescale(1)
        finally:
            starting.join()

    def _pause(self, traffic: Traffic) -> None:
        self._run("pause", self._north())
        if self._rest.running(NORTH):
            raise UnexpectedError("a job of north runs although it was paused")
        traffic.burst()
        self._run("resume", self._north())

    def _evening(self) -> None:
        """Look at what the day has left beside rows."""
        wanted = {NORTH: ["launch", "upgrade", "rollback", "rescale", "pause", "resume"], SOUTH: ["launch"]}
        for client in CLIENTS:
            path = str(self.folder / f"{client}.yaml")
            self._run("status", path, "--wait", "90")
            self._run("history", path, "--verify")
            check_history(self._history(client), wanted[client])
            if letters := self._run("dlq", "list", path, "--json"):
                raise UnexpectedError(f"{client} has dead letters: {letters}")

    def _kill(self, service: str) -> None:
        self.stack.kill(service)
        self.stack.up([service])

    def _kill_harness(self) -> None:
        """Kill a Python process of north's, and see that its job noticed."""
        before = self._footprint(NORTH)
        pid = next(each.pid for each in self.stack.ps() if each.service == "taskmanager")
        forked(psutil.Process(pid), NORTH)[-1].kill()
        await_(lambda: self._footprint(NORTH).failed_ms > before.failed_ms, "north to notice")

    def _north(self, version: str = _MORNING, **flink: Any) -> str:
        return str(write_config(self.stack, self.folder, NORTH, version, **flink))

    def _shows(self, version: str) -> None:
        """Wait until north's newest rows are as a version writes them."""
        grade = grade_of(0, version)
        await_(lambda: beat_grade(self.stack) == grade, f"a row of north's with {version}'s {grade!r}")

    def _history(self, client: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._commands.one("history", str(self.folder / f"{client}.yaml"))[
            "entries"
        ]
        return found

    @property
    def _rest(self) -> FlinkRest:
        return FlinkRest(self.stack.addresses.flink)

    def _footprint(self, client: str) -> Footprint:
        job_id = self._job(client)
        info = self._rest.info(job_id)
        assert info is not None  # it was launched by tillstream
        failures = self._rest.exceptions(job_id, 1)
        return Footprint(job_id, info.launch.generation, int(failures[0]["timestamp"]) if failures else 0)

    def _transform(self) -> str | None:
        info = self._rest.info(self._job(NORTH))
        assert info is not None  # it was launched by tillstream
        return info.config().entities["orders"].transform

    def _job(self, client: str) -> str:
        found = self._rest.running(client)
        if len(found) != 1:
            raise UnexpectedError(f"found {len(found)} jobs of {client}, expected one")
        return found[0]

    def _is_still(self, job_id: str) -> None:
        found = self._job(NORTH)
        if found != job_id:
            raise UnexpectedError(f"north's job is {found}, expected {job_id}, which was not to be touched")
