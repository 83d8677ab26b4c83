"""Roll-backs that were done already, and savepoints that come when nobody waits for them any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.jobs import commands, upgrading
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.rescale import rescale
from tillstream.runners.jobs.watching import UnhealthyError

from .cluster import Cluster, chosen, install
from .operations import Commands
from .test_watching import health

SAVED = "file:/savepoint-j1"
OTHER = "dedup: {horizon_s: 6}\n"


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Return what an operator does to acme."""
    return Commands(tmp_path, install(monkeypatch, tmp_path), monkeypatch)


def first() -> int:
    """Return the generation of the first launch."""
    found = History("acme").entries()[0].generation
    assert found is not None
    return found


def test_a_roll_back_that_was_done_is_not_done_again(acme: Commands) -> None:
    """Neither by default nor to that very generation, whoever asks again, also after a pause."""
    acme.upgrade()
    done = acme.rollback()
    jobs, entries = acme.jobs(), len(History("acme").entries())
    for again in (acme.rollback(), acme.rollback(to=first()), acme.rollback(keeps_state=True)):
        assert (again.outcome, again.is_good) == ("rolled back already", True)
        assert again.facts == {"job_id": "j3", "generation": done.facts["generation"]}
    assert (acme.jobs(), len(History("acme").entries())) == (jobs, entries)
    commands.pause(chosen(acme.folder), print, 60)
    with pytest.raises(UserError, match="rolled back already, expected --to"):
        acme.rollback()
    commands.resume(chosen(acme.folder), print, 60)
    assert acme.rollback().outcome == "rolled back already"
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j3", 0)


def test_what_runs_is_gone_back_to_already(acme: Commands) -> None:
    """A deployment that was refused leaves its roll-back nothing to do."""
    assert acme.rollback(to=first()).outcome == "rolled back already"
    assert acme.jobs() == [("RUNNING", None, 0)]


def test_an_older_generation_is_gone_back_to_all_the_same(acme: Commands) -> None:
    """After a roll-back of one step, and by the number in the list."""
    acme.upgrade()
    acme.upgrade(OTHER)
    acme.rollback()
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j2", 5)
    assert acme.rollback(to=first()).outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)
    assert acme.rollback(to=first()).outcome == "rolled back already"


def test_what_was_undone_by_itself_is_no_roll_back_of_the_version_before(acme: Commands) -> None:
    """A bad upgrade leads back to the version that held; a roll-back then goes to the one before that."""
    acme.upgrade()
    acme.watch_fault = UnhealthyError("bad")
    assert acme.upgrade(OTHER).outcome == "rolled back"
    acme.watch_fault = None
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)


def test_the_way_back_is_open_again_after_another_upgrade(acme: Commands) -> None:
    """The same version again, which is then rolled back again."""
    acme.upgrade()
    acme.rollback()
    acme.upgrade()
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j3", 0)


def test_what_cannot_be_judged_is_not_upgraded(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink shows no metrics of the job that runs; nothing is touched."""
    monkeypatch.setattr(upgrading, "observe", lambda *_: health(7)._replace(is_counted=False))
    monkeypatch.setattr(upgrading, "_COUNTED_S", 0)
    with pytest.raises(UnavailableError, match=r"shows no metrics of it.*: restart the JobManager"):
        acme.upgrade()
    assert acme.jobs() == [("RUNNING", None, 0)]


def test_without_an_earlier_launch_there_is_no_number(acme: Commands) -> None:
    """It is said so, in place of a range without numbers."""
    with pytest.raises(UserError, match="no launch before"):
        acme.rollback(to=1)


def late(monkeypatch: pytest.MonkeyPatch, *, ends: str) -> None:
    """Let savepoints take longer than anybody waits, and then end the job with one, or in another way.

    Between the savepoint and the job's end there is a while, as with Flink.
    """
    take = Cluster.savepoint
    looks = iter(["IN_PROGRESS", "IN_PROGRESS", "COMPLETED", "COMPLETED"])

    def checkpoints(self: Cluster, job_id: str) -> dict[str, Any]:
        return {"latest": self.find(job_id)["latest"], "history": self.find(job_id).get("history", [])}

    def jobs(self: Cluster) -> list[dict[str, Any]]:
        running = [each for each in self.known if each["state"] == "RUNNING"]
        for each in running if asked else ():
            status = next(looks, None)
            each["history"] = [
                {"is_savepoint": True, "checkpoint_type": "SYNC_SAVEPOINT", "status": status or "FAILED"}
            ]
            if status is None and ends == "saved":
                take(self, each["jid"], stop=True)
            elif status is None and ends:
                self.end(each["jid"], ends)
        return self.known

    asked: list[str] = []

    def ask(self: Cluster, job_id: str, *, stop: bool, deadline_s: float = 120.0) -> str:
        del self, stop, deadline_s
        asked.append(job_id)
        raise UnavailableError("none in time")

    monkeypatch.setattr(Cluster, "savepoint", ask)
    monkeypatch.setattr(Cluster, "checkpoints", checkpoints)
    monkeypatch.setattr(Cluster, "jobs", jobs)


def rescaled(acme: Commands) -> Done:
    """Rescale acme."""
    return rescale(chosen(acme.folder), print, 3, 60)


def test_a_savepoint_that_comes_late_is_gone_on_with(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink cannot be told to give one up, and nobody is left without a job."""
    late(monkeypatch, ends="saved")
    assert rescaled(acme).outcome == "rescaled"
    assert acme.jobs() == [("FINISHED", None, 0), ("RUNNING", SAVED, 0)]


def test_a_savepoint_that_never_comes_leaves_the_job(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said so only when it cannot end the job any more."""
    late(monkeypatch, ends="")
    with pytest.raises(UnavailableError, match="none in time"):
        rescaled(acme)
    assert acme.jobs() == [("RUNNING", None, 0)]
    entry = History("acme").entries()[-1]
    assert (entry.action, entry.outcome) == ("rescale", "failed")


@pytest.mark.parametrize("state", ["FAILED", "FINISHED"])
def test_an_older_savepoint_is_none_that_the_job_stopped_with(
    acme: Commands, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A canary took it an hour ago; the job has ended in another way since."""
    acme.cluster.find("j1")["latest"]["savepoint"] = {
        "external_path": "file:/savepoint-canary",
        "latest_ack_timestamp": 1,
    }
    late(monkeypatch, ends=state)
    with pytest.raises(UnavailableError, match="none in time"):
        rescaled(acme)
    assert acme.jobs() == [(state, None, 0)]


def test_a_roll_back_whose_ways_both_failed_leads_back_later(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was to leave is not taken for what it was to lead to."""
    acme.upgrade()
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait", _refuse)
        with pytest.raises(UnavailableError):
            acme.rollback()
    for each in acme.cluster.known:
        if each["state"] == "RUNNING":
            acme.cluster.end(each["jid"], "FAILED")
    assert acme.rollback().outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", SAVED, 0)


def _refuse(*_: object) -> str:
    raise UnavailableError("no slots")


def test_a_roll_back_that_keeps_the_state_goes_on_with_a_late_savepoint(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rescaling does."""
    acme.upgrade()
    late(monkeypatch, ends="saved")
    assert acme.rollback(keeps_state=True).outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j2", 0)
