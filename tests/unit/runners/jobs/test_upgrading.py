"""Upgrades and roll-backs: what they do to jobs, and what they leave when they are cut short."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.flink.template import read_manifest
from tillstream.runners.jobs import aftermath, commands, plan, rolling_back, upgrading
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.planned import Loss, Plan
from tillstream.runners.jobs.rolling_back import Back, rollback, ways_back
from tillstream.runners.jobs.upgrading import Wanted, upgrade
from tillstream.runners.jobs.watching import Look, UnhealthyError

from .cluster import Cluster, chosen, install
from .test_watching import health

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


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return what an operator does to acme."""
    return Commands(tmp_path, install(monkeypatch, tmp_path), monkeypatch)


SAVED = "file:/savepoint-j1"
KEPT = [("FINISHED", None, 0), ("RUNNING", SAVED, 5)]
UNDONE = [("FINISHED", None, 0), ("CANCELED", SAVED, 5), ("RUNNING", SAVED, 0)]


def test_a_new_version_that_does_well_is_kept(acme: Commands) -> None:
    """It goes on from the savepoint that the old one ended with."""
    done = acme.upgrade()
    assert (done.outcome, done.is_good, done.facts["job_id"]) == ("upgraded", True, "j2")
    assert done.facts["before"]["events_read"] == 7
    assert acme.jobs() == KEPT
    assert acme.history() == [("launch", "done"), ("upgrade", "done")]


@pytest.mark.parametrize(
    ("found", "outcome", "said"),
    [
        (Plan("acme", "no_change"), "runs already", "job j1"),
        (Plan("acme", "refused", ("its shards differ",)), "refused", "its shards differ"),
        (
            Plan("acme", "restore_without", lost=(Loss("Join", "rows", "rows"),)),
            "refused",
            "it would forget Join/rows: --accept-loss",
        ),
    ],
)
def test_what_the_plan_refuses_is_not_begun(acme: Commands, found: Plan, outcome: str, said: str) -> None:
    """The job runs on, untouched."""
    acme.plan = found
    done = acme.upgrade()
    assert (done.outcome, done.is_good) == (outcome, outcome != "refused")
    assert said in done.detail
    assert acme.jobs() == [("RUNNING", None, 0)]
    assert acme.history() == [("launch", "done")]


def test_a_loss_can_be_accepted(acme: Commands) -> None:
    """Whoever says so knows."""
    acme.plan = Plan("acme", "restore_without", lost=(Loss("Join", "rows", "rows"),))
    assert acme.upgrade(accepts_loss=True).outcome == "upgraded"


@pytest.mark.parametrize("spoil", ["history", "slots", "job"])
def test_what_cannot_succeed_is_not_begun(acme: Commands, spoil: str) -> None:
    """Without a way back, without slots, or without a job."""
    if spoil == "history":
        History("acme").path.unlink()
    if spoil == "slots":
        acme.cluster.slots = Cluster.slots = 0
    if spoil == "job":
        acme.cluster.cancel("j1")
    more = "flink: {parallelism: 2}\n" if spoil == "slots" else NEWER
    with pytest.raises((UserError, UnavailableError), match="expected"):
        acme.upgrade(more)
    assert len(acme.jobs()) == 1


@pytest.mark.parametrize("refusal", [JobFailedError("x.E: declined"), UnavailableError("none after 120 s")])
def test_without_a_savepoint_the_old_job_runs_on(acme: Commands, refusal: Exception) -> None:
    """It is said, and the history has it."""
    Cluster.refusal = refusal
    done = acme.upgrade()
    assert (done.outcome, done.is_good) == ("failed", False)
    assert "the old job runs on" in done.detail
    assert acme.jobs() == [("RUNNING", None, 0)]
    assert acme.history() == [("launch", "done"), ("upgrade", "failed")]


@pytest.mark.parametrize(
    "fault",
    [
        UserError("no such stage"),
        UnavailableError("refused"),
        KeyboardInterrupt(),
        ZeroDivisionError("a bug"),
    ],
)
def test_a_version_that_does_not_start_is_undone(acme: Commands, fault: BaseException) -> None:
    """The one before runs again from the very savepoint."""
    acme.start_fault = fault
    done = acme.upgrade()
    assert (done.outcome, done.is_good) == ("rolled back", False)
    assert acme.jobs() == [("FINISHED", None, 0), ("RUNNING", SAVED, 0)]
    assert acme.history() == [("launch", "done"), ("rollback", "done"), ("upgrade", "rolled_back")]


def test_whoever_was_told_to_end_begins_nothing(acme: Commands) -> None:
    """Of several clients those that are still to come are left alone."""
    acme.stop.set()
    assert acme.upgrade().outcome == "not begun"
    assert acme.history() == [("launch", "done")]


def test_a_version_that_does_badly_is_undone(acme: Commands) -> None:
    """What it has delivered is taken back; the reason is said and kept."""
    acme.watch_fault = UnhealthyError("9 of 9 events became dead letters")
    done = acme.upgrade()
    assert done.facts["reason"] == "9 of 9 events became dead letters"
    assert acme.jobs() == UNDONE
    info = acme.cluster.info("j3")
    undone = acme.cluster.info("j2")
    assert info is not None
    assert undone is not None
    assert info.launch.undoes == undone.launch.generation < info.launch.generation
    assert History("acme").entries()[-1].reason == "9 of 9 events became dead letters"


def test_a_death_before_the_old_job_is_stopped(acme: Commands) -> None:
    """The next upgrade notes it, and begins anew."""
    Cluster.refusal = Death()  # type: ignore[assignment]
    with pytest.raises(Death):
        acme.upgrade()
    Cluster.refusal = None
    assert acme.upgrade().outcome == "upgraded"
    assert acme.jobs() == KEPT
    assert acme.history() == [("launch", "done"), ("upgrade", "failed"), ("upgrade", "done")]


@pytest.mark.parametrize("command", ["upgrade", "rollback"])
def test_a_death_between_the_jobs(acme: Commands, command: str) -> None:
    """No job runs; either command starts the version before, and an upgrade then goes on."""
    acme.start_fault = Death()
    with pytest.raises(Death):
        acme.upgrade()
    assert acme.jobs() == [("FINISHED", None, 0)]
    acme.start_fault = None
    if command == "rollback":
        assert acme.rollback().outcome == "rolled back"
        assert acme.jobs() == [("FINISHED", None, 0), ("RUNNING", SAVED, 0)]
        return
    assert acme.upgrade().outcome == "upgraded"
    assert acme.jobs() == [
        ("FINISHED", None, 0),
        ("FINISHED", SAVED, 0),
        ("RUNNING", "file:/savepoint-j2", 5),
    ]


def test_a_death_before_the_savepoint_was_noted(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster knows it."""

    def die(*_: object) -> None:
        raise Death

    monkeypatch.setattr(upgrading, "horizons_of", die)
    with pytest.raises(Death):
        acme.upgrade()
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs() == [("FINISHED", None, 0), ("RUNNING", SAVED, 0)]


@pytest.mark.parametrize("is_good", ["yes", ""])
def test_a_death_while_it_is_watched(acme: Commands, is_good: str) -> None:
    """The next upgrade watches it to the end, and keeps it or goes back."""
    acme.watch_fault = Death()
    with pytest.raises(Death):
        acme.upgrade()
    acme.watch_fault = None if is_good else UnhealthyError("bad")
    acme.plan = Plan("acme", "no_change")
    assert acme.upgrade().outcome == ("upgraded" if is_good else "rolled back")
    assert acme.jobs() == (KEPT if is_good else UNDONE)


def test_a_death_while_it_is_watched_leaves_a_way_back(acme: Commands) -> None:
    """A roll-back needs no verdict."""
    acme.watch_fault = Death()
    with pytest.raises(Death):
        acme.upgrade()
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)


def test_where_it_cannot_go_back_either_a_roll_back_can_later(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history still says where to."""
    acme.watch_fault = UnhealthyError("bad")
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait", _raise(UnavailableError("gone")))
        with pytest.raises(UnavailableError, match="'tillstream rollback acme' tries again"):
            acme.upgrade()
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs() == UNDONE
    assert acme.history() == [
        ("launch", "done"),
        ("rollback", "failed"),
        ("rollback", "done"),
        ("upgrade", "rolled_back"),
    ]


def test_a_roll_back_takes_the_version_back_to_the_state_it_was_left_in(acme: Commands) -> None:
    """What runs is stopped with a savepoint, for the way forward."""
    acme.upgrade()
    done = acme.rollback()
    assert (done.facts["savepoint"], done.facts["taken"]) == (SAVED, "file:/savepoint-j2")
    assert acme.jobs() == [("FINISHED", None, 0), ("FINISHED", SAVED, 5), ("RUNNING", SAVED, 0)]
    info = acme.cluster.info("j3")
    assert info is not None
    assert info.launch.undoes == done.facts["undone"][0]


def test_a_roll_back_can_keep_the_state(acme: Commands) -> None:
    """Nothing is taken back then; a plan that refuses leaves all as it is."""
    acme.upgrade()
    acme.plan = Plan("acme", "refused", ("its shards differ",))
    with pytest.raises(UserError, match="its shards differ"):
        acme.rollback(keeps_state=True)
    assert acme.jobs() == KEPT
    acme.plan = Plan("acme", "restore")
    assert acme.rollback(keeps_state=True).facts["savepoint"] == "file:/savepoint-j2"
    info = acme.cluster.info("j3")
    assert info is not None
    assert info.launch.undoes == 0


def test_a_job_that_cannot_take_a_savepoint_is_rolled_back_all_the_same(acme: Commands) -> None:
    """It is cancelled."""
    acme.upgrade()
    Cluster.refusal = JobFailedError("x.E: declined")
    acme.rollback()
    assert acme.jobs() == UNDONE


def test_a_roll_back_that_fails_goes_forward_again(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left without a job."""
    acme.upgrade()
    waits = iter([_raise(JobFailedError("x.E: no such class"))])
    monkeypatch.setattr(Cluster, "wait_for_tasks", lambda *_: next(waits, str)())
    with pytest.raises(JobFailedError):
        acme.rollback()
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j2", 5)


def test_a_state_that_is_gone_is_said_before_anything_is_stopped(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cleaned up too much hears of it while all still runs."""
    acme.upgrade()
    monkeypatch.setattr(rolling_back, "is_gone", lambda _: True)
    with pytest.raises(UserError, match="found no such savepoint"):
        acme.rollback()
    assert acme.jobs() == KEPT


def test_launches_can_be_counted_back(acme: Commands) -> None:
    """By number or generation; others are refused with what there is."""
    acme.upgrade()
    acme.upgrade("dedup: {horizon_s: 6}\n")
    found = ways_back(rolling_back.ClientJob(chosen(acme.folder).load()))
    assert [each.entry.action for each in found] == ["upgrade", "launch"]
    with pytest.raises(UserError, match="--to: found 3, expected 1 to 2"):
        acme.rollback(to=3)
    acme.rollback(to=2)
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)
    acme.rollback(to=found[0].generation)
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j2", 5)


def _raise(error: Exception) -> Callable[..., str]:
    def raising(*_: object, **__: object) -> str:
        raise error

    return raising
