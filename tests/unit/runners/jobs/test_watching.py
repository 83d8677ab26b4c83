"""What is held against a new version, and what is not."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from tillstream.configs.upgrade import Upgrade
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.jobs import watching
from tillstream.runners.jobs.health import Counts, Health
from tillstream.runners.jobs.watching import Look, UnhealthyError, await_running, judge, rows_of, watch

LIMITS = Upgrade()
BEFORE = Counts(events_read=1000, mutations_written=2000, dead_letters=10)


def health(
    read: int = 0, written: int = 0, letters: int = 0, checkpoints: int = 9, settled_ms: int = 0, **more: Any
) -> Health:
    """Return a look at a job that does well but for what is said."""
    found = Health(
        job_id="j",
        state="RUNNING",
        tasks=4,
        tasks_running=4,
        restarts=0,
        checkpoints=checkpoints,
        checkpoint_age_s=0.5,
        counts=Counts(read, written, letters),
        settled_ms=settled_ms,
        cause="",
    )
    return found._replace(**more)


def looks(*found: Health, lag: list[int] | None = None) -> list[Look]:
    """Return one look a second."""
    lags = lag or [0] * len(found)
    return [Look(1000 * number, each, lags[number]) for number, each in enumerate(found)]


@pytest.mark.parametrize(
    ("last", "said"),
    [
        pytest.param(health(), "", id="well"),
        pytest.param(
            health(state="FAILED", cause="Caused by: x.E: out of room"), "FAILED: out of room", id="ended"
        ),
        pytest.param(health(state="RESTARTING", tasks_running=0), "0 of its 4 stages run", id="restarting"),
        pytest.param(health(restarts=1), "restarted it 1 times, expected at most 0", id="restarts"),
        pytest.param(health(checkpoint_age_s=61.0), "61 s old, expected 60 s", id="old checkpoint"),
        pytest.param(health(read=100, letters=4), "", id="few dead letters"),
        pytest.param(
            health(read=100, letters=5), "5 of 100 events became dead letters, 5.0%", id="dead letters"
        ),
        pytest.param(health(read=1000, letters=20), "", id="no more than before"),
        pytest.param(health(read=1000, letters=21), "expected at most 2.0%; before it were 1.0%", id="more"),
    ],
)
def test_what_shows_at_once(last: Health, said: str) -> None:
    """It need not be watched to its end to be judged."""
    found = judge(looks(last), BEFORE, LIMITS, is_over=False)
    assert said in "; ".join(found)
    assert bool(found) is bool(said)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        pytest.param(looks(health(checkpoints=0)), "no checkpoint", id="no checkpoint"),
        pytest.param(looks(health(is_counted=False)), "Flink shows no metrics of it", id="not counted"),
        pytest.param(looks(health(read=100, checkpoints=2)), "not known what became of them", id="silent"),
        pytest.param(looks(health(read=99, checkpoints=2)), "", id="quiet"),
        pytest.param(looks(health(), health(), lag=[1000, 1001]), "1001 events wait", id="lag grows"),
        pytest.param(looks(health(), health(), lag=[2000, 1999]), "", id="lag falls"),
        pytest.param(looks(health(), health(), lag=[10, 1000]), "", id="little lag"),
    ],
)
def test_what_shows_at_the_end(found: list[Look], said: str) -> None:
    """Before the end it is none of its business."""
    assert said in "; ".join(judge(found, None, LIMITS, is_over=True))
    assert bool(judge(found, None, LIMITS, is_over=True)) is bool(said)
    assert judge(found, None, LIMITS, is_over=False) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (299, "299 rows were written for 300 events, expected 1.00 to 4.00"),
        (300, ""),
        (2000, ""),
        (2001, "2001 rows"),
    ],
)
def test_rows_for_each_event_are_compared(written: int, said: str) -> None:
    """Of 300 events surely, and 500 perhaps, as many rows as half to twice those of before are well."""
    found = [
        Look(1000, health(100), 0),
        Look(1400, health(400), 0),
        Look(2000, health(600, written, settled_ms=1500), 0),
    ]
    assert rows_of(found) == (written, 300, 600)
    found[0] = Look(1000, health(100, settled_ms=1000), 0)
    assert rows_of(found) == (written, 300, 500)
    assert said in "; ".join(judge(found, BEFORE, LIMITS, is_over=True))
    assert bool(judge(found, BEFORE, LIMITS, is_over=True)) is bool(said)
    assert judge(found, None, LIMITS, is_over=True) == []


def test_rows_of_events_that_came_all_at_once() -> None:
    """Too few rows show; whether there are too many cannot be told."""
    found = [Look(1000, health(600), 0), Look(3000, health(600, 9000, settled_ms=1500), 0)]
    assert rows_of(found) == (9000, 600, None)
    assert judge(found, BEFORE, LIMITS, is_over=True) == []
    few = [found[0], Look(3000, health(600, 100, settled_ms=1500), 0)]
    assert "100 rows were written for 600 events" in judge(few, BEFORE, LIMITS, is_over=True)[0]


def test_a_version_that_comes_up_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JobManager that does not answer for a moment is no verdict; a task that fails is."""
    answers: list[Any] = [UnavailableError("gone"), health(tasks_running=1), health()]

    def observe(*_: object) -> Health:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(watching, "observe", observe)
    monkeypatch.setattr(watching, "_POLL_S", 0.0)
    await_running(object(), "j", LIMITS, 60, Event())  # type: ignore[arg-type]
    assert answers == []
    answers[:] = [
        health(state="RESTARTING", restarts=1, tasks_running=0, cause="Caused by: x.E: no such table")
    ]
    with pytest.raises(UnhealthyError, match="no such table"):
        await_running(object(), "j", LIMITS, 60, Event())  # type: ignore[arg-type]


@pytest.mark.parametrize(("is_set", "said"), [(True, "interrupted"), (False, "became dead letters")])
def test_a_watch_ends_as_soon_as_something_is_wrong(
    is_set: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's wish is enough; it does not wait for the end."""
    stop = Event()
    answers = [health(), health(read=10, letters=10)]
    monkeypatch.setattr(watching, "observe", lambda *_: answers.pop(0))
    monkeypatch.setattr(watching, "_POLL_S", 0.0)
    if is_set:
        stop.set()
    with pytest.raises(UnhealthyError, match=said):
        watch(
            object(),  # type: ignore[arg-type]
            "j",
            LIMITS,
            before=None,
            lag=lambda: 0,
            watch_s=600,
            stop=stop,
            say=lambda _: None,
        )
