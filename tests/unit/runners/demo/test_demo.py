"""Tests of how a demo leaves what it brought up; what it plays is in the integration tests."""

import io
from typing import Any

import pytest
from rich.console import Console

from tillstream.runners.demo import demo
from tillstream.runners.demo.demo import DemoOptions, run
from tillstream.runners.demo.outcome import Outcome

OUTCOME = Outcome(
    events=1,
    rows=1,
    missing=1,
    extra=0,
    mismatched=0,
    latency_ms_p50=1,
    latency_ms_p95=1,
    throughput_per_s=1.0,
)


class FakeSite:
    """Count how often it is left."""

    left = 0

    def leave(self) -> None:
        """Note it."""
        self.left += 1


def play(monkeypatch: pytest.MonkeyPatch, end: Any, *, keep: bool) -> FakeSite:
    """Play a demo that ends with an outcome or an exception; returns the site."""

    def end_play(_: Any) -> Outcome:
        if isinstance(end, BaseException):
            raise end
        assert isinstance(end, Outcome)
        return end

    monkeypatch.setattr(demo._Demo, "play", end_play)
    site: Any = FakeSite()
    options = DemoOptions(keep=keep)
    if isinstance(end, BaseException):
        with pytest.raises(type(end)):
            run(options, site, Console(file=io.StringIO()))
    else:
        assert run(options, site, Console(file=io.StringIO())) == end
    return site


def test_finished_demo_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --keep everything is taken down after the verdict."""
    assert play(monkeypatch, OUTCOME, keep=False).left == 1


def test_finished_demo_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --keep nothing is taken down after the verdict, not even after a bad one."""
    assert play(monkeypatch, OUTCOME, keep=True).left == 0


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("keep", [False, True])
def test_broken_demo_is_left(monkeypatch: pytest.MonkeyPatch, end: BaseException, *, keep: bool) -> None:
    """Ctrl-C and errors take down what was brought up, also with --keep."""
    assert play(monkeypatch, end, keep=keep).left == 1
