"""Upgrades and roll-backs: what they do to jobs, and what they leave when they are cut short."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.jobs import commands, rolling_back, upgrading
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.planned import Loss, Plan
from tillstream.runners.jobs.rolling_back import ways_back
from tillstream.runners.jobs.watching import UnhealthyError

from .cluster import Cluster, chosen, install
from .operations import NEWER, Commands, Death


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


def test_whoever_is_told_to_end_in_time_stops_nothing(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that comes before the old job is stopped is of no consequence."""

    def interrupt(*_: object, **__: object) -> dict[str, str]:
        acme.stop.set()
        return {}

    monkeypatch.setattr(Cluster, "stages", interrupt)
    done = acme.upgrade()
    assert (done.outcome, done.is_good, done.facts["job_id"]) == ("not begun", False, "j1")
    assert acme.jobs() == [("RUNNING", None, 0)]
    assert [entry.action for entry in History("acme").entries()] == ["launch", "launch"]


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
    """The next upgrade watches it to the end, and keeps it or goes back: not to one that never ran."""
    Cluster.refusal = JobFailedError("x.E: declined")
    acme.upgrade("dedup: {horizon_s: 6}\n")
    Cluster.refusal = None
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


def test_a_death_between_the_jobs_leads_back_to_the_version_that_was_stopped(acme: Commands) -> None:
    """Also where that one was never watched to its end: its state is no other version's."""
    acme.watch_fault = Death()
    with pytest.raises(Death):
        acme.upgrade()
    acme.start_fault = Death()
    with pytest.raises(Death):
        acme.upgrade("dedup: {horizon_s: 6}\n")
    entries = History("acme").entries()
    assert entries[-1].replaces == next(each.generation for each in entries if each.action == "upgrade")
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs() == [
        ("FINISHED", None, 0),
        ("FINISHED", SAVED, 5),
        ("RUNNING", "file:/savepoint-j2", 5),
    ]


@pytest.mark.parametrize("ends", ["done", ""])
def test_a_version_whose_launch_was_given_up_is_a_way_back(acme: Commands, ends: str) -> None:
    """It ran: Flink went on trying after the command had ended."""
    launched = History("acme").entries()[-1]
    History("acme").append(msgspec.structs.replace(launched, outcome="failed", at="", actor=""))
    if ends:
        acme.upgrade()
        found = ways_back(rolling_back.ClientJob(chosen(acme.folder).load()))
        assert [each.generation for each in found] == [launched.generation]
    else:
        acme.start_fault = Death()
        with pytest.raises(Death):
            acme.upgrade()
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)


def test_a_roll_back_passes_an_upgrade_that_stopped_nothing(acme: Commands) -> None:
    """It has left no state to go back to."""
    Cluster.refusal = JobFailedError("x.E: declined")
    acme.upgrade("dedup: {horizon_s: 6}\n")
    Cluster.refusal = None
    acme.upgrade()
    assert acme.rollback().facts["savepoint"] == SAVED
    assert acme.jobs() == [("FINISHED", None, 0), ("FINISHED", SAVED, 5), ("RUNNING", SAVED, 0)]


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


@pytest.mark.parametrize("command", ["launch", "rollback"])
def test_a_roll_back_that_dies_between_the_jobs_leaves_the_way_forward(
    acme: Commands, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The history has it: a launch goes on from there, where the cluster has forgotten the job as well."""
    acme.upgrade()
    with monkeypatch.context() as patched:
        patched.setattr(rolling_back, "go_back", _raise(Death()))
        with pytest.raises(Death):
            acme.rollback()
    last = History("acme").entries()[-1]
    assert (last.action, last.job_id, last.taken) == ("rollback", "j2", "file:/savepoint-j2")
    acme.cluster.forget()
    if command == "rollback":
        acme.rollback()
        assert acme.jobs() == [("RUNNING", SAVED, 0)]
        return
    commands.launch(chosen(acme.folder, NEWER), acme.lines.append, commands.From())
    assert acme.jobs() == [("RUNNING", "file:/savepoint-j2", 5)]


def test_a_roll_back_says_what_it_does_before_it_does_it(acme: Commands) -> None:
    """A death in the midst of the savepoint shows."""
    acme.upgrade()
    Cluster.refusal = Death()  # type: ignore[assignment]
    with pytest.raises(Death):
        acme.rollback()
    last = History("acme").entries()[-1]
    assert (last.action, last.outcome, last.job_id, last.taken) == ("rollback", "started", "j2", None)
    Cluster.refusal = None
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)


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


def _raise(error: BaseException) -> Callable[..., str]:
    def raising(*_: object, **__: object) -> str:
        raise error

    return raising
