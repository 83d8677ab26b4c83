"""A shadow is done when all was read and written; whatever else becomes of it refuses the new version."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import CanaryLaunch, LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.canary import shadows as module
from tillstream.runners.jobs.canary.shadows import (
    INTERRUPTED,
    Shadow,
    ShadowFailedError,
    run_shadows,
    shadow_parameters,
)
from tillstream.runners.jobs.job import ClientJob

CONFIG = ClientConfig.model_validate(
    {
        "client": "acme",
        "source": {"kafka": {"bootstrap_servers": "b:9092"}},
        "entities": {"sales": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
        "sinks": {"out": {"type": "files", "path": "out"}},
        "delivery": {"checkpoint_interval_ms": 60_000},
    }
)


class Cluster:
    """Be a cluster whose shadows read all at once.

    Args:
        slots: that are free.
    """

    def __init__(self, slots: int = 8) -> None:
        self.url = "http://cluster"
        self.slots = slots
        self.state = "RUNNING"
        self.trace = ""
        self.completed = [7, 7, 8, 8, 9, 9]
        self.log: list[str] = []

    def overview(self) -> dict[str, int]:
        """Return its slots."""
        return {"slots-available": self.slots}

    def job(self, job_id: str) -> dict[str, str]:
        """Return a job's state."""
        self.log.append(f"look {job_id}")
        return {"state": self.state}

    def root_cause(self, job_id: str) -> str:  # noqa: ARG002
        """Return why it has failed."""
        return self.trace

    def checkpoints(self, job_id: str) -> dict[str, Any]:  # noqa: ARG002
        """Return one that is under way, and the newest that is complete, which goes on."""
        done = self.completed.pop(0) if len(self.completed) > 1 else self.completed[0]
        return {"history": [{"id": 8}, {"id": done}], "latest": {"completed": {"id": done}}}

    def cancel(self, job_id: str) -> None:
        """End a job."""
        self.log.append(f"end {job_id}")


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the jobs that are started."""
    found: list[str] = []

    def submit(rest: Any, template: Path, parameters: LaunchParameters, **_: Any) -> str:
        del rest, template
        found.append(parameters.job_name("acme"))
        return found[-1]

    monkeypatch.setattr(module, "submit", submit)
    return found


def shadow(cluster: Cluster, folder: Path, side: Any = "new", *, is_read: bool = True) -> Shadow:
    """Return a shadow of two partitions, which it has read or has not."""
    launch = CanaryLaunch(side, str(folder / side), {"t": (9, 4)})
    marks = folder / side / "reached"
    marks.mkdir(parents=True)
    (marks / "t~0").write_text("2 9")
    if is_read:
        (marks / "t~1").write_text("4 4")
    parameters = LaunchParameters(1, 2, canary=launch)
    return Shadow(cast(FlinkRest, cluster), side, folder / "jar", parameters)


def job(cluster: Cluster) -> ClientJob:
    """Return the client's job."""
    return cast(ClientJob, SimpleNamespace(rest=cluster, client="acme", say=lambda _: None))


def test_all_is_written_two_checkpoints_after_it_was_read(tmp_path: Path, submitted: list[str]) -> None:
    """The first of them begins after the one that was under way when the last mark was seen."""
    cluster = Cluster()
    found = shadow(cluster, tmp_path)
    found.start("savepoint")
    # Of these, 8 was under way: 9 is the first that holds all, and 10 tells that it was written.
    cluster.completed = [7, 8, 8, 9, 9, 10]
    assert [found.is_done() for _ in range(6)] == [False, False, False, False, False, True]
    assert (found.source_changes, submitted) == (7, ["acme-canary-new"])


@pytest.mark.parametrize(
    ("state", "trace", "reason"),
    [
        ("RUNNING", "java.lang.IllegalStateException: process died", "process died"),
        ("FAILED", "", "its job is FAILED"),
        ("CANCELED", "", "its job is CANCELED"),
    ],
)
@pytest.mark.usefixtures("submitted")
def test_a_job_that_fails_is_refused(tmp_path: Path, state: str, trace: str, reason: str) -> None:
    """Though Flink may have started it again: what it writes twice could not be told apart."""
    cluster = Cluster()
    found = shadow(cluster, tmp_path)
    found.start("savepoint")
    cluster.state, cluster.trace = state, trace
    with pytest.raises(ShadowFailedError, match=f"the new version failed in the canary: .*{reason}"):
        found.is_done()


def test_a_job_that_cannot_be_started_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the launch's own words."""

    def submit(*_: Any, **__: Any) -> str:
        raise UserError("found state of a stage that the job no longer has")

    monkeypatch.setattr(module, "submit", submit)
    with pytest.raises(ShadowFailedError, match="found state of a stage"):
        shadow(Cluster(), tmp_path).start("savepoint")


@pytest.mark.usefixtures("submitted")
def test_a_job_that_is_too_slow_is_refused(tmp_path: Path) -> None:
    """It says how far it has come."""
    cluster = Cluster()
    slow = shadow(cluster, tmp_path, is_read=False)
    with pytest.raises(ShadowFailedError, match="it has read 1 of 2 partitions"):
        run_shadows(job(cluster), [slow], "savepoint", 0.0, Event())


@pytest.mark.usefixtures("submitted")
def test_a_person_may_end_it(tmp_path: Path) -> None:
    """At the next look."""
    cluster, stop = Cluster(), Event()
    stop.set()
    with pytest.raises(ShadowFailedError, match=INTERRUPTED):
        run_shadows(job(cluster), [shadow(cluster, tmp_path)], "savepoint", 60.0, stop)


@pytest.mark.parametrize(("slots", "first_end"), [(4, 2), (2, 1)])
def test_both_run_at_once_where_slots_suffice(
    slots: int, first_end: int, tmp_path: Path, submitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one after the other: they start from the same savepoint and read the same."""
    cluster = Cluster(slots)
    monkeypatch.setattr(module, "_POLL_S", 0.001)
    monkeypatch.setattr(Shadow, "is_done", lambda _: True)
    started_at_end: list[int] = []
    monkeypatch.setattr(Shadow, "stop", lambda _: started_at_end.append(len(submitted)))
    run_shadows(
        job(cluster), [shadow(cluster, tmp_path, side) for side in ("old", "new")], "savepoint", 60.0, Event()
    )
    assert submitted == ["acme-canary-old", "acme-canary-new"]
    assert started_at_end == [first_end, 2]


def test_missing_slots_are_counted(tmp_path: Path, submitted: list[str]) -> None:
    """Nothing is started."""
    cluster = Cluster(slots=1)
    with pytest.raises(
        ShadowFailedError, match=r"found 1 free slots at .*, expected 2, better 4: 1 are missing"
    ):
        run_shadows(
            job(cluster), [shadow(cluster, tmp_path, side) for side in ("old", "new")], "s", 1.0, Event()
        )
    assert submitted == []


def test_a_shadow_has_a_group_of_its_own_and_soon_a_checkpoint() -> None:
    """The client's group is not named; what it overrides otherwise stays."""
    launch = CanaryLaunch("old", "/shadow/old", {"t": (9,)})
    found = shadow_parameters(LaunchParameters(5, 2, {"/flink/shards": 4}), CONFIG, launch)
    version = CONFIG.at_launch(found)
    assert (version.group_id, version.flink.shards) == ("tillstream-acme-canary-old", 4)
    assert (version.delivery.checkpoint_interval_ms, found.canary) == (1000, launch)
    assert found.generation > 5
