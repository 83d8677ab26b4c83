"""Roll-backs that were done already, and savepoints that come when nobody waits for them any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.jobs import commands
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.rescale import rescale
from tillstream.runners.jobs.watching import UnhealthyError

from .cluster import Cluster, chosen, install
from .operations import Commands

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


def late(monkeypatch: pytest.MonkeyPatch, *, ends: bool) -> None:
    """Let savepoints take longer than anybody waits, and then end the job or not."""
    take = Cluster.savepoint
    looks = iter(range(3))

    def give_up(self: Cluster, job_id: str, *, stop: bool, deadline_s: float = 120.0) -> str:
        del self, job_id, stop, deadline_s
        raise UnavailableError("none in time")

    def checkpoints(self: Cluster, job_id: str) -> dict[str, Any]:
        told: dict[str, Any] = {"latest": self.find(job_id)["latest"]}
        if next(looks, None) is not None:
            return {**told, "history": [{"is_savepoint": True, "status": "IN_PROGRESS"}]}
        if ends and self.find(job_id)["state"] == "RUNNING":
            take(self, job_id, stop=True)
        return told

    monkeypatch.setattr(Cluster, "savepoint", give_up)
    monkeypatch.setattr(Cluster, "checkpoints", checkpoints)


def rescaled(acme: Commands) -> Done:
    """Rescale acme."""
    return rescale(chosen(acme.folder), print, 3, 60)


def test_a_savepoint_that_comes_late_is_gone_on_with(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flink cannot be told to give one up, and nobody is left without a job."""
    late(monkeypatch, ends=True)
    assert rescaled(acme).outcome == "rescaled"
    assert acme.jobs() == [("FINISHED", None, 0), ("RUNNING", SAVED, 0)]


def test_a_savepoint_that_never_comes_leaves_the_job(acme: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said so only when it cannot end the job any more."""
    late(monkeypatch, ends=False)
    with pytest.raises(UnavailableError, match="none in time"):
        rescaled(acme)
    assert acme.jobs() == [("RUNNING", None, 0)]
    entry = History("acme").entries()[-1]
    assert (entry.action, entry.outcome) == ("rescale", "failed")


def test_a_roll_back_that_keeps_the_state_goes_on_with_a_late_savepoint(
    acme: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a rescaling does."""
    acme.upgrade()
    late(monkeypatch, ends=True)
    assert acme.rollback(keeps_state=True).outcome == "rolled back"
    assert acme.jobs()[-1] == ("RUNNING", "file:/savepoint-j2", 0)
