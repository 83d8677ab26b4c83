"""Share one rendering of each shipped client among the tests, and a kubectl that is made up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.runners.k8s.fake import Cluster
from tests.unit.runners.k8s.rendering import CLUSTER, IN_CLUSTER, Manifests, config_of, launch_of, rendered
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink import checkpoints
from tillstream.runners.k8s import deploying


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Manifests]:
    """Return the manifests of a shipped client; they are shared, so leave them as they are."""
    folder = tmp_path_factory.mktemp("templates")
    return functools.cache(lambda client: rendered(launch_of(config_of(client), folder)))


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Return a cluster that is the only kubectl, and is not waited for; the history is the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("TILLSTREAM_HISTORY", str(tmp_path / "history"))
    for name, value in IN_CLUSTER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(deploying, "_POLL_S", 0)
    monkeypatch.setattr(checkpoints, "_match_remote", _out_of_reach)
    return Cluster(folder)


@pytest.fixture
def values(tmp_path: Path) -> str:
    """Return a file that says what the cluster is like."""
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(CLUSTER), encoding="utf-8")
    return str(path)


def _out_of_reach(path: str, scheme: str) -> list[str]:
    raise UserError(f"{path}: found no way to read {scheme}:// here")
