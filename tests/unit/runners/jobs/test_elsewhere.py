"""What runs on Kubernetes leads no command of the cluster here, neither by its places nor its versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.runners.jobs import commands
from tillstream.runners.jobs.history import Entry, History
from tillstream.runners.jobs.resuming import beginning_of, last_stop
from tillstream.runners.jobs.rolling_back import ways_back
from tillstream.runners.jobs.status import status_of

from .cluster import Cluster, chosen, install
from .operations import Commands

WHERE = "kubernetes:prod/tillstream-acme"
LATER = 4_000_000_000_000


def note(folder: Path) -> None:
    """Have a history say that acme was applied elsewhere, from a savepoint, and that one was taken there."""
    history = History("acme")
    template = folder / "elsewhere.jar"
    template.write_bytes(b"another jar")
    digest = history.keep(template)
    applied = Entry(
        "apply",
        "done",
        job_id="k1",
        generation=LATER,
        savepoint="s3://state/savepoint-1",
        template=digest,
        overrides={"/source/kafka/start": {"timestamp": "2023-11-14T22:13:20Z"}},
        where=WHERE,
    )
    history.append(applied)
    history.append(Entry("savepoint", "done", job_id="k1", taken="s3://state/savepoint-2", where=WHERE))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster without jobs, where the client's history is of Kubernetes alone."""
    found = install(monkeypatch, tmp_path)
    note(tmp_path)
    return found


def test_a_first_launch_starts_from_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """Not from a savepoint that was taken there, nor where that job has begun."""
    client = chosen(tmp_path, "labels: {tier: gold}\n")
    done = commands.launch(client, print, commands.From())
    assert (done.outcome, cluster.known[-1]["from"]) == ("launched", None)


def test_a_pause_is_gone_on_from(cluster: Cluster, tmp_path: Path) -> None:
    """What was applied elsewhere since is no launch after it."""
    client = chosen(tmp_path)
    commands.launch(client, print, commands.From())
    commands.pause(client, print, 1)
    note(tmp_path)
    stop = last_stop(History("acme").entries())
    assert stop is not None
    assert stop.action == "pause"
    assert commands.resume(client, print, 1).outcome == "resumed"
    assert cluster.known[-1]["from"] == "file:/savepoint-j1"


@pytest.mark.usefixtures("cluster")
def test_nothing_of_it_is_shown_as_the_clusters_own(tmp_path: Path) -> None:
    """Neither as its status, nor as what a roll-back could go to, nor as where it began."""
    job = commands.ClientJob(chosen(tmp_path).load())
    assert status_of(job.config).job_id is None
    assert ways_back(job) == []
    assert beginning_of(job) == job.config


def test_a_roll_back_goes_to_the_version_that_ran_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was applied elsewhere, before and since."""
    acme = Commands(tmp_path, install(monkeypatch, tmp_path), monkeypatch)
    note(tmp_path)
    acme.upgrade()
    note(tmp_path)
    assert acme.rollback().facts["savepoint"] == "file:/savepoint-j1"
    assert [state for state, _, _ in acme.jobs()] == ["FINISHED", "FINISHED", "RUNNING"]
