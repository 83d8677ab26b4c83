"""Parts are started, watched until they serve, and reported with their logs if they do not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tillstream.pipelines.errors import StackError
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.process import Command, ProcessId, alive, kill
from tillstream.runners.local.service import Context, NotReadyError, Service
from tillstream.runners.local.starting import Starter
from tillstream.runners.local.toolchain import Jars

_LASTS = "import signal; signal.pause()"


class _Fake(Service):
    """Run Python code and serve after some checks."""

    port = "kafka"

    def __init__(self, context: Context, name: str, code: str, *, checks: int = 1) -> None:
        super().__init__(context)
        self.name = name
        self._code = code
        self._checks_left = checks
        self.prepared = 0

    def prepare(self) -> None:
        self.prepared += 1

    def command(self) -> Command:
        return Command([sys.executable, "-c", self._code])

    def check(self) -> None:
        self._checks_left -= 1
        if self._checks_left > 0:
            raise NotReadyError("still warming up")


class _Stage:
    """Collect what a starter remembers and says."""

    def __init__(self, folder: Path) -> None:
        layout = Layout.of(folder)
        layout.create()
        self.context = Context(layout, {"kafka": 9092}, Path("java"), Jars(folder))
        self.processes: dict[str, ProcessId] = {}
        self.said: list[str] = []

    def starter(self, *services: Service, idle: set[str] | None = None, deadline_s: float = 10.0) -> Starter:
        """Return a starter of these parts, all idle by default."""
        names = {service.name for service in services} if idle is None else idle
        return Starter(
            services=services,
            idle=frozenset(names),
            marker={"TILLSTREAM_TEST_STACK": "1"},
            remember=self.processes.__setitem__,
            progress=self.said.append,
            deadline_s=deadline_s,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[_Stage]:
    """Return a stage whose processes are ended after the test."""
    made = _Stage(tmp_path)
    yield made
    kill(process for identity in made.processes.values() if (process := alive(identity)))


def test_part_serves_after_some_checks(stage: _Stage) -> None:
    """A part is asked again until it serves."""
    stage.starter(_Fake(stage.context, "part", _LASTS, checks=3)).run()
    assert alive(stage.processes["part"]) is not None
    assert stage.said[0].startswith("part serves at 127.0.0.1:9092")


def test_running_part_is_only_checked(stage: _Stage) -> None:
    """A part that runs is neither prepared nor started."""
    part = _Fake(stage.context, "part", _LASTS)
    stage.starter(part, idle=set()).run()
    assert (part.prepared, stage.processes) == (0, {})
    assert stage.said == ["part runs already at 127.0.0.1:9092"]


def test_part_that_ends_is_reported_with_its_log(stage: _Stage) -> None:
    """A part that ends is an error at once, with its last words."""
    part = _Fake(stage.context, "part", "import sys; sys.exit('no such option')", checks=1_000_000)
    with pytest.raises(StackError, match=r"part ended while it started; its log (?s:.*)no such option"):
        stage.starter(part).run()


def test_part_gets_several_attempts(stage: _Stage, tmp_path: Path) -> None:
    """A part that may fail at first is started again."""
    seen = tmp_path / "seen"
    code = (
        f"import pathlib, sys; p = pathlib.Path({str(seen)!r})\nif not p.exists(): p.touch(); sys.exit(1)\n"
    )
    part = _Fake(stage.context, "part", code + _LASTS, checks=4)
    part.attempts = 3
    stage.starter(part).run()
    assert alive(stage.processes["part"]) is not None


def test_part_that_never_serves_is_reported(stage: _Stage) -> None:
    """After the deadline the error says what was waited for."""
    part = _Fake(stage.context, "part", _LASTS, checks=1_000_000)
    with pytest.raises(StackError, match=r"does not serve after 0 s: still warming up; its log .* is empty"):
        stage.starter(part, deadline_s=0.3).run()


def test_one_failure_ends_the_waiting_for_others(stage: _Stage) -> None:
    """The part that fails is reported without waiting for one that would take for ever."""
    slow = _Fake(stage.context, "slow", _LASTS, checks=1_000_000)
    broken = _Fake(stage.context, "broken", "raise SystemExit(1)", checks=1_000_000)
    with pytest.raises(StackError, match="broken ended"):
        stage.starter(slow, broken, deadline_s=250).run()
