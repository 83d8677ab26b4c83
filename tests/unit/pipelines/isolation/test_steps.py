"""What a DoFn does outside of records names it, is bounded, and ends the job with its reason."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.isolation import guard as guard_module
from tillstream.pipelines.isolation.budget import STOPPED, StopNote, last_stop
from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE, Shared
from tillstream.pipelines.isolation.strikes import StrikeStore
from tillstream.transforms.api import info_of, parameters_of, transform
from tillstream.transforms.flow_runner import FlowRunner
from tillstream.transforms.flows import Flow
from tillstream.transforms.packing import MutationPacker

pytestmark = pytest.mark.usefixtures("untraced")

STEPS = ("setup", "start_bundle", "finish_bundle", "teardown")
NAMED = "transform 'acme.odd@1.0.0' of entity 'orders': "


@pytest.fixture(autouse=True)
def process() -> None:
    """Make what the process shares before a test sets the folder of a launch: it is made once."""
    guard_module.shared()


def runner(step: str, deed: Any, *, stops: bool = True) -> FlowRunner:
    """Return the runner of a DoFn that does something odd in one step."""
    odd = type("Odd", (beam.DoFn,), {step: lambda _: deed(), "process": lambda _, __: ()})
    dofn = transform("acme.odd@1.0.0")(odd)
    flow = Flow("orders", "orders", "record", dofn, info_of(dofn), parameters_of("x", dofn))
    return FlowRunner(flow, MutationPacker({}, {}, {}), Limits(record_timeout_ms=200), stops=stops)


def fail() -> None:
    """Raise what any code may."""
    raise OSError("no model file")


def leave() -> None:
    """Raise what is no Exception."""
    sys.exit(3)


def spin() -> None:
    """Never return."""
    while True:
        pass


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("deed", "said"), [(fail, "OSError: no model file"), (leave, "SystemExit: 3")])
def test_what_it_raises_ends_the_job_with_the_reason(
    step: str, deed: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names transform and step, and a note keeps the next process from trying for ever."""
    monkeypatch.setenv(FLIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(TransformError) as caught:
        getattr(runner(step, deed), step)()
    assert str(caught.value) == f"{STOPPED}{NAMED}{step} raised {said}"
    assert last_stop() is caught.value
    assert StopNote.read(tmp_path) == StopNote(1, str(caught.value))


def test_what_a_version_raises_that_a_replay_asks_for_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a matter of that replay."""
    monkeypatch.setenv(FLIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(TransformError, match="setup raised OSError"):
        runner("setup", fail, stops=False).setup()
    assert (last_stop(), StopNote.read(tmp_path)) == (None, None)


def _exhaust() -> None:
    raise MemoryError


@pytest.mark.parametrize("step", ["start_bundle", "finish_bundle"])
@pytest.mark.parametrize(
    ("deed", "said"),
    [(spin, "did not end within limits.record_timeout_ms"), (_exhaust, "met flink.memory_mb_max")],
)
def test_what_takes_too_much_costs_a_restart_then_ends_the_job(
    step: str, deed: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first time may be an accident; where nobody starts the process again it is the last one."""
    with pytest.raises(TransformError, match=f"{step} {said}$"):
        getattr(runner(step, deed), step)()
    assert last_stop() is not None
    shared = Shared(None)
    shared.strikes = StrikeStore(tmp_path)
    monkeypatch.setattr(shared, "end_soon", lambda: None)
    monkeypatch.setattr(guard_module, "shared", lambda: shared)
    for stopped in (False, True, True):
        odd = runner(step, deed)
        with pytest.raises(TransformError, match=f"{step} {said}" + (", twice$" if stopped else "$")):
            getattr(odd, step)()
        assert (last_stop() is not None) is stopped
