"""A job that has stopped itself is ended for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from tillstream.pipelines.errors import (
    ErrorBudgetError,
    ExpectationError,
    SchemaFrozenError,
    TillstreamError,
    TransformError,
    UnavailableError,
)
from tillstream.pipelines.isolation.budget import StopNote, last_stop, stop_job
from tillstream.runners.flink import rest
from tillstream.runners.stopping import obey_stop, stop_of


class Cluster:
    """Be a Flink cluster that runs one job of acme's."""

    cancelled: list[str]
    said: str

    def __init__(self, url: str) -> None:
        self.url = url

    def running(self, name: str) -> list[str]:
        """Return its job."""
        return ["j1"] if name == "acme" else []

    def jobs(self) -> list[dict[str, Any]]:
        """Return its jobs, of which the newest has stopped itself."""
        names = (("j0", "FAILED", 1), ("j1", "CANCELED", 3), ("j2", "FAILED", 2))
        found = [{"jid": name, "state": state, "start-time": at} for name, state, at in names]
        return [{**job, "name": "acme"} for job in found] + [{**found[1], "name": "globex", "jid": "g"}]

    def root_cause(self, job_id: str) -> str:
        """Return what Flink keeps of it."""
        return (
            f"RuntimeError: ExpectationError: {Cluster.said} [while running]\n\tat X"
            if job_id == "j1"
            else ""
        )

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """Return its newest checkpoint."""
        return {"latest": {"completed": {"external_path": f"file:/{job_id}"}}}

    def ask_to_cancel(self, job_id: str) -> None:
        """Take note."""
        if self.url == "away":
            raise UnavailableError("Flink does not answer")
        Cluster.cancelled.append(job_id)


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the place of Flink's REST interface."""
    Cluster.cancelled = []
    monkeypatch.setattr(rest, "FlinkRest", Cluster)


def test_a_note_cancels_the_clients_job_once(tmp_path: Path) -> None:
    """Then the note is done with: the same launch may be started again."""
    StopNote(1, "too much").write(tmp_path)
    for _ in range(2):
        obey_stop(tmp_path, "acme", "here")
    assert Cluster.cancelled == ["j1"]


def test_without_an_answer_the_note_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The job's steps then raise the reason at each restart, and the log says why it is not cancelled."""
    StopNote(1, "too much").write(tmp_path)
    obey_stop(tmp_path, "acme", "away")
    assert StopNote.read(tmp_path) == StopNote(1, "too much")
    assert "too much; cannot cancel it: Flink does not answer" in caplog.text


def test_a_note_is_for_its_own_client(tmp_path: Path) -> None:
    """Without a job of that name nothing is cancelled."""
    StopNote(1, "too much").write(tmp_path)
    obey_stop(tmp_path, "globex", "here")
    assert Cluster.cancelled == []


@pytest.mark.parametrize("kind", [ErrorBudgetError, ExpectationError, SchemaFrozenError, TransformError])
def test_the_next_launch_is_told(kind: type[TillstreamError]) -> None:
    """Of the client's last job: why it has stopped itself, whatever the reason, and its newest checkpoint."""
    with pytest.raises(kind) as caught:
        stop_job(kind("entity a:\n why."))
    last_stop()
    Cluster.said = str(caught.value)
    cluster = cast("rest.FlinkRest", Cluster("here"))
    assert stop_of(cluster, "acme") == (
        "job j1: the job has stopped itself: entity a: why. [while running] Its newest checkpoint: file:/j1"
    )
    assert stop_of(cluster, "globex") is None
    assert stop_of(cluster, "initech") is None
