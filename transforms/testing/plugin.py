"""Give pytest what tests of transforms need: fixtures, and how many seeds are tried.

Installed with tillstream as pytest's plugin `tillstream`. It imports nothing of weight until a fixture is
asked for, so that other tests pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tillstream.transforms.testing.settings import SETTINGS

if TYPE_CHECKING:
    from tillstream.pipelines.records import ChangeEvent

__all__ = ["pytest_addoption", "pytest_configure", "run_transform", "simulate", "tillstream_events"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("tillstream", "simulation of transforms")
    group.addoption(
        "--tillstream-seeds",
        type=int,
        metavar="N",
        help="How many seeds each simulation tries, whatever the tests say.",
    )
    group.addoption(
        "--tillstream-seed",
        type=int,
        metavar="S",
        help="The only seed that simulations try: to see one again.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Pass the options on to `simulate`."""
    SETTINGS.seeds = config.getoption("--tillstream-seeds")
    SETTINGS.seed = config.getoption("--tillstream-seed")


@pytest.fixture
def simulate() -> Callable[..., Any]:
    """Return `tillstream.testing.simulate`."""
    from tillstream import testing

    return testing.simulate


@pytest.fixture
def run_transform() -> Callable[..., Any]:
    """Return `tillstream.testing.run`."""
    from tillstream import testing

    return testing.run


@pytest.fixture
def tillstream_events(request: pytest.FixtureRequest) -> Callable[[str], list[ChangeEvent]]:
    """Return what loads a fixture of events by its path, relative to the test's own folder."""

    def load(path: str) -> list[ChangeEvent]:
        from tillstream import testing

        return testing.load_fixture(request.path.parent / path)

    return load
