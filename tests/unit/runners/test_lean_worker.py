"""What is taken from Beam's worker is what it says, and what its bundles need stays."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from apache_beam.runners.worker import statecache, statesampler
from apache_beam.utils.counters import CounterFactory

from tillstream.runners.lean_worker import make_lean, sizes_plainly, without_sampling


@pytest.fixture(autouse=True)
def _beams_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave Beam as it was."""
    for name in ("start", "stop"):
        monkeypatch.setattr(statesampler.StateSampler, name, getattr(statesampler.StateSampler, name))
    monkeypatch.setattr(statecache, "get_deep_size", statecache.get_deep_size)
    monkeypatch.setattr(grpc._common, "MAXIMUM_WAIT_TIMEOUT", grpc._common.MAXIMUM_WAIT_TIMEOUT)


def test_all_of_it_is_taken() -> None:
    """Of a newer Beam or gRPC what is replaced may be gone, or have another name."""
    before = (statesampler.StateSampler.start, statesampler.StateSampler.stop, statecache.get_deep_size)
    waited_s = grpc._common.MAXIMUM_WAIT_TIMEOUT
    make_lean()
    after = (statesampler.StateSampler.start, statesampler.StateSampler.stop, statecache.get_deep_size)
    assert not set(before) & set(after)
    assert 10 * waited_s < grpc._common.MAXIMUM_WAIT_TIMEOUT


def test_what_holds_itself_is_sized() -> None:
    """Beam's way sees what it has seen."""
    held: list[Any] = [b"x"]
    held += [held, held]
    thorough = statecache.get_deep_size(held)
    sizes_plainly()
    assert statecache.get_deep_size(held) == thorough


def test_a_bundle_is_tracked_without_a_thread() -> None:
    """Its steps are known while it runs, and it can be used again; nothing has to be waited for."""
    without_sampling()
    sampler = statesampler.StateSampler("stage", CounterFactory())
    threads = threading.active_count()
    for _ in range(2):
        sampler.start()
        assert statesampler.get_current_tracker() is sampler
        assert threading.active_count() == threads
        sampler.stop_if_still_running()
        assert statesampler.get_current_tracker() is None
        sampler.reset()


@pytest.mark.parametrize("value", [b"x" * 1000, [b"x" * 1000, b"y"], [], (1, "two", None), [[b"deep"] * 3]])
def test_plain_values_are_sized_by_their_parts(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As thoroughly as Beam does, but that what is there twice counts twice; it is not asked."""
    thorough = statecache.get_deep_size(value)
    monkeypatch.setattr(statecache, "get_deep_size", _unasked)
    sizes_plainly()
    assert thorough <= statecache.get_deep_size(value) <= 2 * thorough + 64


def _unasked(*_: Any) -> int:
    raise AssertionError("found Beam asked, expected a sum of the parts")


@pytest.mark.parametrize("value", [{"a": b"x" * 1000}, [{"a": 1}], [object()]])
def test_other_values_go_beams_way(value: Any) -> None:
    """What a value of another type refers to is for Beam to find."""
    thorough = statecache.get_deep_size(value)
    sizes_plainly()
    assert statecache.get_deep_size(value) == thorough


def test_a_cache_still_lets_go_what_is_too_much() -> None:
    """Of two values that do not fit, the older one goes."""
    sizes_plainly()
    cache = statecache.StateCache(1500)
    cache.put("a", [b"x" * 1000])
    cache.put("b", [b"x" * 1000])
    assert cache.peek("a") is None
    assert cache.peek("b") == [b"x" * 1000]
