"""What Flink has left is deleted only where nothing can need it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.retained import delete, needed_from, retained

from .cluster import Cluster, chosen, install

_OLD_S = 1_700_000_000
OTHERS = f"{99:032x}"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster that has run four jobs, and runs the last of them."""
    found = install(monkeypatch, tmp_path)
    folders = {name: (tmp_path / name).as_uri() for name in ("checkpoints", "savepoints")}
    monkeypatch.setattr(
        Cluster, "settings", lambda _: {f"state.{name}.dir": path for name, path in folders.items()}
    )
    for number in (1, 2, 3, 4):
        job_id, state = f"{number:032x}", "RUNNING" if number == 4 else "FINISHED"
        found.known.append(
            {"jid": job_id, "name": "acme", "state": state, "start-time": number, "latest": {}}
        )
    for job_id in (*(each["jid"] for each in found.known), OTHERS):
        _age(tmp_path / "checkpoints" / job_id / "chk-7")
    for name in ("1", "2", "3", "by-hand"):
        _age(tmp_path / "savepoints" / f"savepoint-{name}")
    return found


@pytest.fixture
def job(cluster: Cluster, tmp_path: Path) -> ClientJob:
    """Return the job, whose history has a savepoint between each two launches."""
    found = ClientJob(chosen(tmp_path).load())
    assert len(found.rest.jobs()) == len(cluster.known)
    paths = [None, *((tmp_path / "savepoints" / f"savepoint-{number}").as_uri() for number in (1, 2, 3))]
    for number, savepoint in enumerate(paths, 1):
        entry = Entry("launch", "started", generation=number, template="t", savepoint=savepoint)
        found.history.append(entry)
        found.note(entry, "done", job_id=f"{number:032x}")
    return found


def _age(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "_metadata").write_bytes(b"state")
    for path in (folder / "_metadata", folder, folder.parent):
        os.utime(path, (_OLD_S, _OLD_S))


def _deleted(job: ClientJob, launches: int, age_h_min: float = 1.0) -> set[str]:
    return {each.path.name for each in delete(retained(job, launches=launches, age_h_min=age_h_min))}


def test_what_the_last_launches_need_stays(job: ClientJob, tmp_path: Path) -> None:
    """Older jobs' checkpoints and savepoints go; what a person or another client has made stays."""
    assert _deleted(job, launches=2) == {f"{1:032x}", f"{2:032x}", "savepoint-1"}
    left = {path.name for path in tmp_path.glob("*points/*")}
    assert left == {f"{3:032x}", f"{4:032x}", OTHERS, "savepoint-2", "savepoint-3", "savepoint-by-hand"}


def test_a_job_that_runs_keeps_all_that_it_has_written(job: ClientJob, cluster: Cluster) -> None:
    """Even where the history says that it was over long ago."""
    cluster.find(f"{1:032x}")["state"] = "RESTARTING"
    cluster.find(f"{4:032x}")["state"] = "FINISHED"
    assert f"{1:032x}" not in _deleted(job, launches=1)


def test_where_the_next_launch_goes_on_stays(job: ClientJob, cluster: Cluster, tmp_path: Path) -> None:
    """Without a job the place that the next one starts from is needed, however old it is."""
    cluster.cancel(f"{4:032x}")
    place = (tmp_path / "checkpoints" / f"{1:032x}" / "chk-7").as_uri()
    job.history.append(Entry("cancel", "done", job_id=f"{4:032x}", taken=place))
    assert f"{1:032x}" not in _deleted(job, launches=1)


def test_what_is_fresh_stays(job: ClientJob, tmp_path: Path) -> None:
    """Somebody else's cluster may run what this one does not know of; it writes."""
    fresh = tmp_path / "checkpoints" / f"{1:032x}" / "chk-8"
    fresh.mkdir()
    assert f"{1:032x}" not in _deleted(job, launches=1)


def test_storage_that_is_no_folder_is_left_to_its_own_rules(
    job: ClientJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects in a bucket are refused, with what to do."""
    monkeypatch.setattr(Cluster, "settings", lambda _: {"state.checkpoints.dir": "s3://bucket/c"})
    with pytest.raises(UserError, match="life cycle"):
        retained(job, launches=1, age_h_min=1)


def test_a_history_cannot_name_another_folder(job: ClientJob, tmp_path: Path) -> None:
    """What is no id of a job is no folder of one."""
    job.history.append(Entry("launch", "done", job_id="../savepoints"))
    job.history.append(Entry("launch", "done", generation=9, template="t", job_id=f"{4:032x}"))
    assert "savepoint-by-hand" not in _deleted(job, launches=1)
    assert (tmp_path / "savepoints" / "savepoint-by-hand").is_dir()


def test_a_short_history_is_kept_whole(job: ClientJob) -> None:
    """With fewer launches than are kept nothing goes."""
    assert needed_from(job.history.entries(), 10) == 0
    assert needed_from([], 1) == 0
