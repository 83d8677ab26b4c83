"""What an operator does to a client's job, on a cluster that is made up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs import aftermath, commands, plan, rolling_back, upgrading
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.planned import Plan
from tillstream.runners.jobs.rolling_back import Back, rollback
from tillstream.runners.jobs.upgrading import Wanted, upgrade
from tillstream.runners.jobs.watching import Look

from .cluster import Cluster, chosen
from .test_watching import health

__all__ = ["NEWER", "Commands", "Death"]

NEWER = "dedup: {horizon_s: 5}\n"


class Death(BaseException):
    """Stand for SIGKILL."""


class Commands:
    """Do something to acme, whose first version runs as j1.

    Attributes:
        cluster: where.
        verdict: of each plan.
        fault: raised when a job is started by an upgrade, or while it is watched.
        lines: what is said.
    """

    def __init__(self, folder: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.cluster = cluster
        self.plan = Plan("acme", "restore")
        self.start_fault: BaseException | None = None
        self.watch_fault: BaseException | None = None
        self.stop = Event()
        self.lines: list[str] = []
        self._patch(monkeypatch)
        commands.launch(chosen(folder), self.lines.append, commands.From())

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(upgrading, "built", commands.built)
        monkeypatch.setattr(upgrading, "uploaded", self._uploaded)
        monkeypatch.setattr(upgrading, "run_uploaded", self._run)
        monkeypatch.setattr(upgrading, "await_running", lambda *_: None)
        monkeypatch.setattr(upgrading, "watch", self._watch)
        monkeypatch.setattr(upgrading, "observe", lambda *_: health(7))
        monkeypatch.setattr(upgrading, "lag_of", lambda _: nullcontext(lambda: 0))
        monkeypatch.setattr(plan, "plan_of", lambda *_: self.plan)
        monkeypatch.setattr(aftermath, "caught_up", lambda *_: True)
        monkeypatch.setattr(rolling_back, "is_gone", lambda _: False)
        monkeypatch.setattr(Cluster, "stages", lambda *_, **__: {}, raising=False)

    @contextmanager
    def _uploaded(self, rest: object, template: Path, *_: object) -> Iterator[Path]:
        del rest
        yield template

    def _run(self, rest: Cluster, jar: Path, parameters: Any, *, savepoint: str, drops_state: bool) -> str:
        assert not drops_state
        if self.start_fault is not None:
            raise self.start_fault
        return rest.add(JobInfo(read_manifest(jar), parameters), savepoint)

    def _watch(self, *_: object, **__: object) -> list[Look]:
        if self.watch_fault is not None:
            raise self.watch_fault
        return [Look(0, health(9), 0)]

    def upgrade(self, more: str = NEWER, **wanted: Any) -> Done:
        """Upgrade it."""
        return upgrade(chosen(self.folder, more), self.lines.append, Wanted(**wanted), self.stop)

    def rollback(self, **wanted: Any) -> Done:
        """Roll it back."""
        return rollback(chosen(self.folder, NEWER), self.lines.append, Back(**wanted))

    def jobs(self) -> list[tuple[str, str | None, int]]:
        """Return of each job its state, what it was started from, and its config's horizon."""
        found = []
        for each in self.cluster.known:
            horizon_s = each["info"].config().dedup.horizon_s
            found.append((each["state"], each["from"], 0 if horizon_s == 86_400 else horizon_s))
        return found

    def history(self) -> list[tuple[str, str]]:
        """Return what has come to an end."""
        entries = History("acme").entries()
        return [(entry.action, entry.outcome) for entry in entries if entry.outcome != "started"]
