"""Whatever a canary leaves, on the cluster or on disk, is cleared: at its end, or by the next one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.jobs.canary.place import Place, place_of
from tillstream.runners.jobs.job import ClientJob


class Cluster:
    """Be a cluster, and the client's job on it, that notes what is done."""

    def __init__(self, folder: Path) -> None:
        self.client = "acme"
        self.rest = self
        self.history = SimpleNamespace(folder=folder)
        self.names = {"acme": "j1", "acme-canary-old": "j2", "acme-canary-new": "j3"}
        self.disposed: list[str] = []
        self.said: list[str] = []
        self.newest = "newer"

    def running(self, name: str) -> list[str]:
        """Return the ids of jobs of a name."""
        return [self.names[name]] if name in self.names else []

    def running_id(self) -> str:
        """Return the client's own."""
        return self.names["acme"]

    def cancel(self, job_id: str) -> None:
        """End a job."""
        self.names = {name: each for name, each in self.names.items() if each != job_id}

    def newest_checkpoint(self, job_id: str) -> str:
        """Return what the job would be restored from."""
        assert job_id == "j1"
        return self.newest

    def dispose(self, savepoint: str) -> None:
        """Delete a savepoint."""
        self.disposed.append(savepoint)

    def say(self, line: str) -> None:
        """Take a line."""
        self.said.append(line)


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return a cluster with the client's job and both of its shadows."""
    return Cluster(tmp_path)


def _leave(cluster: Cluster) -> Place:
    place = Place(cast(ClientJob, cluster), cluster.history.folder / "canary")
    place.make()
    place.remember("j1", "savepoint")
    (place.folder / "rows").write_bytes(b"rows")
    return place


def test_the_next_canary_clears_what_one_has_left(cluster: Cluster) -> None:
    """Its jobs, its files and its savepoint, and nothing of the client's own job."""
    _leave(cluster)
    with place_of(cast(ClientJob, cluster), None) as place:
        assert (cluster.names, cluster.disposed) == ({"acme": "j1"}, ["savepoint"])
        assert list(place.folder.iterdir()) == []
        assert place.folder.stat().st_mode & 0o77 == 0
    assert not place.folder.exists()
    assert cluster.said == ["clears what an earlier canary left"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_went_wrong_clears_too(cluster: Cluster, error: type[BaseException]) -> None:
    """Also Ctrl-C, and what is told is that."""
    folder = cluster.history.folder / "canary" / "acme"

    def go_wrong() -> None:
        with place_of(cast(ClientJob, cluster), None) as place:
            cluster.names["acme-canary-new"] = "j9"
            place.remember("j1", "savepoint")
            raise error

    with pytest.raises(error):
        go_wrong()
    assert (cluster.names, cluster.disposed) == ({"acme": "j1"}, ["savepoint"])
    assert not folder.exists()


def test_a_savepoint_that_is_the_newest_stays(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the job's newest checkpoint would be given what is gone."""
    monkeypatch.setattr("tillstream.runners.jobs.canary.place._SUPERSEDED_S_MAX", 0.05)
    cluster.newest = "savepoint"
    _leave(cluster).clear()
    assert cluster.disposed == []
    assert cluster.said == ["keeps savepoint savepoint: the job has no newer checkpoint yet"]


def test_a_cluster_that_is_away_is_said_before_anything_is_done(cluster: Cluster) -> None:
    """A shadow of an earlier canary may be running."""

    def away(name: str) -> list[str]:
        raise UnavailableError(name)

    cast(Any, cluster).running = cast(Callable[[str], list[str]], away)
    with pytest.raises(UnavailableError), place_of(cast(ClientJob, cluster), None):
        pytest.fail("must not begin")


def test_a_folder_that_cannot_be_made_is_said(cluster: Cluster) -> None:
    """With what it must be like."""
    with (
        pytest.raises(UserError, match="expected one that can be written"),
        place_of(cast(ClientJob, cluster), Path("/proc/none")),
    ):
        pytest.fail("must not begin")
