"""A launch in the place of a job that has left no state begins where that one began."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.jobs.commands import From, cancel, launch, pause, resume

from . import cluster as cluster_module
from .cluster import Cluster, chosen, install

START = "/source/kafka/start"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster on which acme runs, from `latest`, without a checkpoint."""
    latest = cluster_module.CONFIG.replace('"b:9092"', '"b:9092", start: latest')
    monkeypatch.setattr(cluster_module, "CONFIG", latest)
    found = install(monkeypatch, tmp_path)
    launch(chosen(tmp_path), print, From())
    return found


def begins(cluster: Cluster) -> list[object]:
    """Return where each job begins."""
    return [each["info"].launch.overrides[START] for each in cluster.known]


def _fail(cluster: Cluster, folder: Path) -> None:
    cluster.end("j1", "FAILED")
    launch(chosen(folder), print, From())


def _cancel(_: Cluster, folder: Path) -> None:
    cancel(chosen(folder), print, 1, forget=False)
    launch(chosen(folder), print, From())


def _pause(cluster: Cluster, folder: Path) -> None:
    type(cluster).refusal = UnavailableError("took too long")
    pause(chosen(folder), print, 1)
    resume(chosen(folder), print, 1)


@pytest.mark.parametrize("again", [_fail, _cancel, _pause])
def test_latest_stays_the_instant_that_it_was(
    cluster: Cluster, tmp_path: Path, again: Callable[[Cluster, Path], None]
) -> None:
    """What has come before its first checkpoint, and while it did not run, is read."""
    again(cluster, tmp_path)
    first, second = begins(cluster)
    assert isinstance(first, dict)
    assert first == second
    assert cluster.known[-1]["from"] is None
    # And so once more.
    cluster.end("j2", "FAILED")
    launch(chosen(tmp_path), print, From())
    assert begins(cluster)[2] == first


@pytest.mark.parametrize("forget", [True, False])
def test_from_nothing_latest_is_now(cluster: Cluster, tmp_path: Path, *, forget: bool) -> None:
    """Where it was asked for so."""
    cancel(chosen(tmp_path), print, 1, forget=forget)
    launch(chosen(tmp_path), print, From(fresh=not forget))
    first, second = begins(cluster)
    assert first != second


def test_another_start_holds(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The config may ask for more than `latest` was."""
    cluster.end("j1", "FAILED")
    earliest = cluster_module.CONFIG.replace("latest", "earliest")
    monkeypatch.setattr(cluster_module, "CONFIG", earliest)
    launch(chosen(tmp_path), print, From())
    info = cluster.info("j2")
    assert info is not None
    assert info.config().kafka.start == "earliest"
