"""What one look at a job shows, and what is wrong with it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.health import Counts, as_json, observe

from .test_watching import health

NOW_MS = int(time.time() * 1000)
METRICS = "/jobs/j/vertices/{}/subtasks/metrics"


def checkpoint(age_s: int, status: str = "COMPLETED", *, savepoint: bool = False) -> dict[str, Any]:
    """Return a checkpoint of Flink's history."""
    return {"status": status, "trigger_timestamp": NOW_MS - 1000 * age_s, "is_savepoint": savepoint}


class Rest(FlinkRest):
    """Answer as Flink 1.19 does, in part."""

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        assert method == "GET"
        assert not arguments
        names = ["0.Read.tillstream_events_read", "0.Read.tillstream_events_kept", "numRecordsIn"]
        letters = "[2]{A__B}.tillstream_dead_letters"
        return {
            "/jobs/j": {
                "state": "RUNNING",
                "vertices": [{"id": "r", "status": "RUNNING"}, {"id": "w", "status": "CREATED"}],
            },
            "/jobs/j/checkpoints": {
                "counts": {"completed": 4},
                "history": [
                    checkpoint(1, "IN_PROGRESS"),
                    checkpoint(2, savepoint=True),
                    checkpoint(3),
                    checkpoint(5),
                    checkpoint(4),
                ],
            },
            "/jobs/j/metrics?get=numRestarts": [{"id": "numRestarts", "value": "2"}],
            "/jobs/j/exceptions": {"root-exception": None},
            METRICS.format("r"): [{"id": each} for each in [*names, letters]],
            f"{METRICS.format('r')}?get=0.Read.tillstream_events_read%2C%5B2%5D%7BA__B%7D.tillstream_dead_letters"
            "&agg=sum": [{"id": names[0], "sum": 7.0}, {"id": letters, "sum": 2.0}],
            METRICS.format("w"): [{"id": letters}],
            f"{METRICS.format('w')}?get=%5B2%5D%7BA__B%7D.tillstream_dead_letters&agg=sum": [
                {"id": letters, "sum": 1.0}
            ],
        }[path]


def test_a_look_gathers_what_the_cluster_tells() -> None:
    """Counters of all stages are added up; savepoints are no checkpoints."""
    found = observe(Rest("http://cluster"), "j")
    assert found.counts == Counts(events_read=7, mutations_written=0, dead_letters=3)
    assert (found.state, found.tasks, found.tasks_running, found.restarts) == ("RUNNING", 2, 1, 2)
    assert (found.checkpoints, found.settled_ms, found.cause) == (4, NOW_MS - 4000, "")
    # The clock of the answers stands still since this module was imported.
    assert found.checkpoint_age_s == pytest.approx(3 + time.time() - NOW_MS / 1000, abs=5)
    assert as_json(found)["counts"]["events_read"] == 7


def test_no_metrics_at_all_are_no_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JobManager may not hear of its TaskManagers' any more: nothing is counted then."""
    monkeypatch.setattr(Rest, "sums", lambda *_: None)
    found = observe(Rest("http://cluster"), "j")
    assert (found.is_counted, found.counts) == (False, Counts())
    monkeypatch.setattr(Rest, "sums", lambda *_: {})
    assert observe(Rest("http://cluster"), "j").is_counted


def test_a_vertex_without_metrics_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs has Flink's own."""
    rest = FlinkRest("http://cluster")
    monkeypatch.setattr(rest, "_call", lambda *_: [])
    assert rest.sums("j", "r", [".x"]) is None
    monkeypatch.setattr(rest, "_call", lambda *_: [{"id": "0.numRecordsIn"}])
    assert rest.sums("j", "r", [".x"]) == {}


def test_rates_of_nothing_are_zero() -> None:
    """Before anything was read there is nothing to divide by."""
    assert (Counts().dead_letter_rate, Counts().rows_rate) == (0.0, 0.0)
    assert (Counts(4, 6, 1).dead_letter_rate, Counts(4, 6, 1).rows_rate) == (0.25, 1.5)


def test_a_cluster_that_does_not_answer_is_no_verdict() -> None:
    """Whoever asks decides how long to wait."""
    with pytest.raises(UnavailableError):
        observe(FlinkRest("http://127.0.0.1:9"), "j")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"state": "FINISHED"}, ["job j has ended as FINISHED"]),
        ({"tasks_running": 3, "state": "FAILING"}, ["job j is FAILING, and 3 of its 4 stages run"]),
        ({"checkpoint_age_s": None}, []),
        ({"checkpoint_age_s": 11.0}, ["its newest checkpoint is 11 s old, expected 10 s"]),
    ],
)
def test_troubles(change: dict[str, Any], said: list[str]) -> None:
    """A sentence each."""
    assert health(**change).troubles(10) == said
