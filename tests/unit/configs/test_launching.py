"""What a launch fixes is put in its place where the job runs, and only there."""

# What is unpickled here was pickled here.
# ruff: noqa: S301

from __future__ import annotations

import pickle
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import (
    LAUNCH_VARIABLE,
    AtLaunch,
    CanaryLaunch,
    LaunchParameters,
    current_launch,
    differences,
    new_generation,
    overridden,
)

BUILT: dict[str, Any] = {
    "client": "acme",
    "source": {"kafka": {"bootstrap_servers": "built:9092"}},
    "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["a/b~"]}},
    "sinks": {"a/b~": {"type": "files", "path": "/built"}},
}


def config() -> ClientConfig:
    """Return the config that a template was built of."""
    plain = {**BUILT, "entities": {"things": {**BUILT["entities"]["things"], "sinks": ["out"]}}}
    return ClientConfig.model_validate({**plain, "sinks": {"out": BUILT["sinks"]["a/b~"]}})


def test_differences_and_overridden_are_inverse() -> None:
    """What differs, put in its place, gives the other value; names may hold any character."""
    launched = {**BUILT, "sinks": {"a/b~": {"type": "files", "path": "/launched"}}}
    found = differences(BUILT, launched)
    assert found == {"/sinks/a~1b~0/path": "/launched"}
    assert overridden(BUILT, found) == launched
    assert differences(BUILT, BUILT) == {}
    assert overridden(BUILT, differences(BUILT, {"other": 1})) == {"other": 1}


def test_a_place_that_is_not_there_is_refused() -> None:
    """An override of another config's field is no silent nothing."""
    with pytest.raises(LookupError):
        overridden(BUILT, {"/sinks/nowhere/path": 1})


def test_a_pickled_config_takes_the_launch_s_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a launched job it comes back as it was; within one, as the launch has it."""
    pickled = pickle.dumps(config())
    assert pickle.loads(pickled) == config()
    launch = LaunchParameters(5, 2, {"/source/kafka/bootstrap_servers": "launched:9092"})
    monkeypatch.setenv(LAUNCH_VARIABLE, launch.encode())
    found = pickle.loads(pickled)
    assert found.kafka.bootstrap_servers == "launched:9092"
    assert found.sinks == config().sinks


def test_a_stand_in_becomes_the_launch_s_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generation that was left open is an ordinary number where the job runs, and stays open elsewhere."""
    pickled = pickle.dumps((AtLaunch("generation"), AtLaunch("parallelism")))
    assert {type(each) for each in pickle.loads(pickled)} == {AtLaunch}
    monkeypatch.setenv(LAUNCH_VARIABLE, LaunchParameters(1_700_000_000_000, 2).encode())
    assert pickle.loads(pickled) == (1_700_000_000_000, 2)
    assert {type(each) for each in pickle.loads(pickled)} == {int}


def test_parameters_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 is read, also as it was before there were shadows; another one is refused."""
    launch = LaunchParameters(5, 2, {"/a": [1]})
    older = '{"generation":5,"parallelism":2,"overrides":{"/a":[1]},"version":1}'
    assert LaunchParameters.decode(older) == launch
    assert launch.encode().startswith(older[:-1])
    monkeypatch.setenv(LAUNCH_VARIABLE, launch.encode())
    assert current_launch() == launch
    with pytest.raises(ValueError, match="found version 2, expected 1"):
        LaunchParameters.decode(launch.encode().replace('"version":1', '"version":2'))


def test_a_shadow_has_a_name_of_its_own() -> None:
    """Its bounds travel with it, and its job's name is no client's."""
    shadow = CanaryLaunch("new", "/shadow/new", {"t.public.sales": (17, 0)})
    launch = LaunchParameters(5, 2, canary=shadow)
    assert LaunchParameters.decode(launch.encode()) == launch
    assert launch.job_name("acme") == "acme-canary-new"
    assert LaunchParameters(5, 2).job_name("acme") == "acme"


def test_a_generation_is_newer_than_the_one_before() -> None:
    """Also where that was given out by a clock that is ahead."""
    now = new_generation()
    assert new_generation(now) > now
    assert new_generation(now + 10**9) == now + 10**9 + 1
