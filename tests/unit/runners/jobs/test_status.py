"""A client's status says how it is, and what is wrong."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs.launching import LaunchParameters
from tillstream.runners.jobs import status
from tillstream.runners.jobs.health import Counts, Health
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.manifest import JobInfo

from .cluster import NO_ANSWER, Cluster, chosen, install, manifest_of

TRACE = "tillstream.pipelines.errors.SinkError: sink out: no room\n\tat x"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster without jobs."""
    monkeypatch.setattr(status, "_lag", lambda _: 7)
    return install(monkeypatch, tmp_path)


def run(cluster: Cluster, tmp_path: Path) -> str:
    """Run acme's job."""
    config = chosen(tmp_path).load()
    return cluster.add(JobInfo(manifest_of(config), LaunchParameters(42, 2)), None)


def observed(monkeypatch: pytest.MonkeyPatch, **seen: Any) -> None:
    """Let its job look so."""
    now_ms = time.time() * 1000
    point = {"latest_ack_timestamp": now_ms - seen.pop("age_s", 2.0) * 1000, "external_path": "file:/chk-1"}
    point |= {"state_size": 100, "end_to_end_duration": 30}
    since_ms = now_ms - seen.pop("running_s", 600) * 1000
    failed_s = seen.pop("failed_s", None)
    failures = [] if failed_s is None else [{"timestamp": now_ms - failed_s * 1000}]
    found = {"state": "RUNNING", "tasks": 5, "tasks_running": 5, "restarts": 0, "cause": ""}
    found |= {"job_id": "j1", "checkpoints": 3, "checkpoint_age_s": 2.0, "settled_ms": None}
    health = Health(**{**found, "counts": Counts(9, 8, 1), **seen})
    monkeypatch.setattr(status, "observe", lambda *_: health)
    monkeypatch.setattr(Cluster, "job", lambda *_: {"timestamps": {"RUNNING": since_ms}})
    monkeypatch.setattr(Cluster, "exceptions", lambda *_: failures)
    # Flink counts those too that it could not begin because tasks were not there yet; they are in no history.
    told = {"counts": {"failed": 7}, "history": [{"status": "FAILED"}, {"status": "COMPLETED"}] * 2}
    monkeypatch.setattr(Cluster, "checkpoints", lambda *_: {**told, "latest": {"completed": point}})


def test_a_job_that_is_well(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows version, newest checkpoint, lag and counts."""
    run(cluster, tmp_path)
    observed(monkeypatch)
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy, found.troubles) == ("running", True, ())
    assert (found.generation, found.parallelism, found.lag) == (42, 2, 7)
    assert (found.events_read, found.mutations_written, found.dead_letters) == (9, 8, 1)
    assert found.checkpoint is not None
    assert (found.checkpoint.failed, found.checkpoint.path) == (2, "file:/chk-1")
    assert found.checkpoint.age_s == pytest.approx(2, abs=1)


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        ({"tasks_running": 3, "running_s": 5}, ("starting", "3 of its 5 stages run")),
        (
            {"tasks_running": 0, "restarts": 4, "cause": TRACE, "failed_s": 3},
            ("restarting", "0 of its 5 stages run: sink out: no room"),
        ),
        (
            {"restarts": 1, "cause": TRACE, "failed_s": 12.2},
            ("running", "it failed 12 s ago: sink out: no room"),
        ),
        ({"age_s": 61}, ("running", "no checkpoint was complete for 60 s")),
    ],
)
def test_what_is_wrong_is_a_sentence(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen: dict[str, Any],
    wrong: tuple[str, str],
) -> None:
    """With tillstream's own words for the cause."""
    run(cluster, tmp_path)
    observed(monkeypatch, **seen)
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy, *found.troubles) == (wrong[0], False, wrong[1])


def test_a_canary_is_told(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its jobs are not the client's, and bear names of their own."""
    observed(monkeypatch)
    run(cluster, tmp_path)
    for name, state in (("acme-canary-old", "RUNNING"), ("acme-canary-new", "CANCELED")):
        run(cluster, tmp_path)
        cluster.known[-1] |= {"name": name, "state": state}
    found = status.status_of(chosen(tmp_path).load())
    assert (found.job_id, found.canary) == ("j1", ["acme-canary-old"])


def test_an_old_failure_is_no_news(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a job late that has only begun."""
    run(cluster, tmp_path)
    observed(monkeypatch, failed_s=90, cause=TRACE, age_s=500, running_s=20)
    found = status.status_of(chosen(tmp_path).load())
    assert (found.is_healthy, found.cause) == (True, "sink out: no room")


@pytest.mark.parametrize(
    ("flink", "cause", "state", "is_healthy"),
    [
        ("FAILED", TRACE, "failed", False),
        ("CANCELED", TRACE, "canceled", True),
        ("CANCELED", "the job has stopped itself: too much", "failed", False),
    ],
)
def test_a_job_that_has_ended(
    cluster: Cluster, tmp_path: Path, flink: str, cause: str, state: str, *, is_healthy: bool
) -> None:
    """Somebody may have wanted it so, or not; a cancelled one may have stopped itself."""
    cluster.end(run(cluster, tmp_path), flink, cause)
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy) == (state, is_healthy)
    assert is_healthy or cause.rpartition(": ")[2].splitlines()[0] in found.troubles[0]


def test_a_job_that_was_stopped_behind_our_back(cluster: Cluster, tmp_path: Path) -> None:
    """Nobody noted a pause: a command died between two jobs, or somebody used Flink's own."""
    cluster.end(run(cluster, tmp_path), "FINISHED", "")
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy) == ("finished", False)
    assert "'tillstream launch acme' goes on" in found.troubles[0]


def test_an_upgrade_that_never_came_to_its_end(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing runs, and the history says what was under way."""
    cluster.end(run(cluster, tmp_path), "CANCELED", "")
    History("acme").append(Entry("upgrade", "started", generation=6, template="t", parallelism=1))
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy) == ("canceled", False)
    assert "'tillstream rollback acme' goes on" in found.troubles[0]


@pytest.mark.parametrize(("action", "state"), [("pause", "paused"), ("cancel", "canceled")])
def test_what_somebody_ended_is_well(cluster: Cluster, tmp_path: Path, action: str, state: str) -> None:
    """And says what it goes on from."""
    assert cluster.known == []
    History("acme").append(Entry(action, "done", job_id="j1", taken="file:/s"))
    found = status.status_of(chosen(tmp_path).load())
    assert (found.state, found.is_healthy, found.savepoint) == (state, True, "file:/s")


def test_what_is_not_known_is_said_so(cluster: Cluster, tmp_path: Path) -> None:
    """A client that was never launched is no trouble; one that is forgotten is; so is no answer."""
    config = chosen(tmp_path).load()
    assert (status.status_of(config).state, status.status_of(config).is_healthy) == ("absent", True)
    History("acme").append(Entry("launch", "done", job_id="j1"))
    found = status.status_of(config)
    assert (found.state, found.is_healthy) == ("unknown", False)
    assert "does not know job j1, which was launched at" in found.troubles[0]
    Cluster.fault = NO_ANSWER
    found = status.status_of(config)
    assert (found.state, found.troubles) == ("unknown", (str(NO_ANSWER),))
    assert cluster.slots == 8
