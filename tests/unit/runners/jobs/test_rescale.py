"""A job gets another parallelism with its state, or keeps its own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.rest import ENDED, JobFailedError
from tillstream.runners.jobs.commands import From, launch
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.manifest import JobInfo
from tillstream.runners.jobs.many import Done
from tillstream.runners.jobs.rescale import rescale, scaled
from tillstream.runners.jobs.status import status_of

from .cluster import Cluster, chosen, install


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster that runs a job with one subtask."""
    found = install(monkeypatch, tmp_path)
    launch(chosen(tmp_path), print, From())
    return found


def _die(*_: object, **__: object) -> None:
    """Stand for a command that is killed."""
    raise KeyboardInterrupt


def _rescale(folder: Path, parallelism: int) -> Done:
    return rescale(chosen(folder), print, parallelism, 60)


def _running(cluster: Cluster) -> list[str]:
    return [each["jid"] for each in cluster.known if each["state"] not in ENDED]


def _parallelism(cluster: Cluster) -> int:
    (job_id,) = _running(cluster)
    info = cluster.info(job_id)
    assert info is not None
    assert info.config().flink.parallelism == info.launch.parallelism
    return info.launch.parallelism


def _entries() -> list[Entry]:
    return History("acme").entries()


def test_it_goes_on_with_all_state(cluster: Cluster, tmp_path: Path) -> None:
    """The same template starts from the savepoint that the stop has left; the history tells it."""
    done = _rescale(tmp_path, 3)
    assert (done.outcome, done.is_good, _parallelism(cluster)) == ("rescaled", True, 3)
    assert cluster.find(done.facts["job_id"])["from"] == done.facts["savepoint"] == "file:/savepoint-j1"
    # The stop and the start.
    rescaled = [("rescale", "started"), ("rescale", "done")] * 2
    actions = [(each.action, each.outcome) for each in _entries()]
    assert actions == [("launch", "started"), ("launch", "done"), *rescaled]
    assert _entries()[-1].template == _entries()[0].template


def test_a_death_between_the_jobs_loses_no_place(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch goes on from the savepoint that the history has, whatever the cluster has forgotten."""
    with monkeypatch.context() as patched:
        patched.setattr(ClientJob, "start", _die)
        with pytest.raises(KeyboardInterrupt):
            _rescale(tmp_path, 3)
    cluster.forget()
    checkpoint = tmp_path / "checkpoints" / "j1" / "chk-3" / "_metadata"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert launch(chosen(tmp_path), print, From()).facts["savepoint"] == "file:/savepoint-j1"


@pytest.mark.parametrize("step", ["start", "submit"])
def test_a_death_between_the_jobs_is_mended_by_doing_it_again(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It goes on from the savepoint, with the template that ran, to the parallelism that is asked for now."""
    with monkeypatch.context() as patched:
        if step == "start":
            patched.setattr(ClientJob, "start", _die)
        else:
            patched.setattr("tillstream.runners.jobs.job.submit", _die)
        with pytest.raises(KeyboardInterrupt):
            _rescale(tmp_path, 3)
    if step == "start":
        cluster.forget()
    done = _rescale(tmp_path, 3)
    assert (done.outcome, done.facts["before"], _parallelism(cluster)) == ("rescaled", 1, 3)
    assert cluster.find(done.facts["job_id"])["from"] == "file:/savepoint-j1"
    assert _rescale(tmp_path, 3).outcome == "has it already"


@pytest.mark.parametrize("by", ["forgotten", "others"])
def test_a_rescaling_is_not_finished_where_something_may_have_run_since(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """Its savepoint may be old: what it had started is forgotten, or others have launched another version."""
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait", _die)
        with pytest.raises(KeyboardInterrupt):
            _rescale(tmp_path, 3)
    cluster.end("j2", "FAILED")
    if by == "forgotten":
        cluster.forget()
    else:
        info = cluster.info("j2")
        assert info is not None
        launch_ = msgspec.structs.replace(info.launch, generation=info.launch.generation + 1)
        other = cluster.add(JobInfo(info.manifest, launch_), None)
        cluster.complete(other, "file:/others")
        cluster.end(other, "FAILED")
    with pytest.raises(UserError, match="found no job of it"):
        _rescale(tmp_path, 3)


def test_what_a_killed_rescaling_has_started_is_noted_by_the_next(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the history knows what runs."""
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait", _die)
        with pytest.raises(KeyboardInterrupt):
            _rescale(tmp_path, 3)
    assert _rescale(tmp_path, 3).outcome == "has it already"
    assert (_entries()[-1].outcome, _entries()[-1].job_id) == ("done", "j2")
    assert _running(cluster) == ["j2"]


def test_a_job_that_ended_after_a_rescaling_is_a_launchs_business(cluster: Cluster, tmp_path: Path) -> None:
    """Its savepoint of then is old; asked to rescale it, the command says what to do."""
    cluster.end(_rescale(tmp_path, 3).facts["job_id"], "FAILED")
    with pytest.raises(UserError, match="found no job of it"):
        _rescale(tmp_path, 2)
    assert _running(cluster) == []


def test_what_it_has_it_keeps(cluster: Cluster, tmp_path: Path) -> None:
    """Asked for again, nothing happens."""
    _rescale(tmp_path, 3)
    entries = len(_entries())
    assert _rescale(tmp_path, 3).outcome == "has it already"
    assert (len(cluster.known), len(_entries())) == (2, entries)


@pytest.mark.usefixtures("cluster")
def test_it_says_what_later_launches_do(tmp_path: Path) -> None:
    """Where the config asks for another parallelism than the job has, the answer says so."""
    assert "flink.parallelism is 1: set it to 3" in _rescale(tmp_path, 3).detail
    assert "flink.parallelism" not in _rescale(tmp_path, 1).detail


def test_it_goes_back_where_it_does_not_start(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job runs as before, from the same savepoint, and the failure is in the history."""

    def start_few(self: Cluster, job_id: str, deadline_s: float) -> None:
        assert deadline_s > 0
        info = self.info(job_id)
        if info is not None and info.launch.parallelism > 1:
            raise JobFailedError(f"job {job_id} is RESTARTING: java.lang.Exception: no harness")

    monkeypatch.setattr(Cluster, "wait_for_tasks", start_few)
    done = _rescale(tmp_path, 3)
    assert (done.outcome, done.is_good, _parallelism(cluster)) == ("went back", False, 1)
    assert "no harness" in done.detail
    assert cluster.find(done.facts["job_id"])["from"] == done.facts["savepoint"] == "file:/savepoint-j1"
    assert [each.outcome for each in _entries()][-3:] == ["failed", "started", "done"]


def test_it_says_where_nothing_runs(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No TaskManager is there, for either number; its status is unwell, and doing it again mends it."""

    def start_none(_: Cluster, job_id: str, __: float) -> None:
        raise JobFailedError(f"job {job_id} is RESTARTING: no slots")

    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait_for_tasks", start_none)
        with pytest.raises(UnavailableError, match="Nothing of it runs: 'tillstream rescale' again"):
            _rescale(tmp_path, 3)
    cluster.cancel(cluster.known[-1]["jid"])
    found = status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy) == ("canceled", False)
    assert "its rescale failed" in found.troubles[0]
    assert _rescale(tmp_path, 3).outcome == "rescaled"


def test_it_runs_on_where_it_cannot_be_stopped(cluster: Cluster, tmp_path: Path) -> None:
    """Without a savepoint nothing is started; the history says why."""
    Cluster.refusal = JobFailedError("savepoint of job j1: too slow")
    with pytest.raises(JobFailedError, match="too slow"):
        _rescale(tmp_path, 3)
    assert _running(cluster) == ["j1"]
    assert (_entries()[-1].outcome, _entries()[-1].reason) == ("failed", "savepoint of job j1: too slow")


@pytest.mark.parametrize(
    ("parallelism", "found"),
    [(17, r"expected 1 to 16: flink\.shards 16"), (9, "7 free slots of 8, and 1 of its job that runs")],
)
def test_what_cannot_be_leaves_the_job_alone(
    cluster: Cluster, tmp_path: Path, parallelism: int, found: str
) -> None:
    """More subtasks than shards, or than slots, are refused before anything is stopped."""
    Cluster.slots = 7
    with pytest.raises((UserError, UnavailableError), match=found):
        _rescale(tmp_path, parallelism)
    assert _running(cluster) == ["j1"]


def test_without_a_job_it_says_what_to_do(cluster: Cluster, tmp_path: Path) -> None:
    """A client that is paused is told how it starts with another parallelism."""
    cluster.cancel("j1")
    with pytest.raises(UserError, match=r"set flink\.parallelism"):
        _rescale(tmp_path, 2)


def test_a_bounded_job_is_left_to_end(cluster: Cluster, tmp_path: Path) -> None:
    """A job that ends by itself is not rescaled."""
    info = cluster.info("j1")
    assert info is not None
    bounded = msgspec.structs.replace(info.manifest, bounded=True)
    cluster.find("j1")["info"] = msgspec.structs.replace(info, manifest=bounded)
    with pytest.raises(UserError, match="bounded"):
        _rescale(tmp_path, 2)


def test_other_parameters_stay_those_of_the_launch(cluster: Cluster) -> None:
    """Addresses and start are the job's own; the generation rises, and back again nothing is left over."""
    info = cluster.info("j1")
    assert info is not None
    wider = scaled(info, 2)
    assert wider.generation > info.launch.generation
    assert wider.overrides == {**info.launch.overrides, "/flink/parallelism": 2}
    assert scaled(msgspec.structs.replace(info, launch=wider), 1).overrides == info.launch.overrides
