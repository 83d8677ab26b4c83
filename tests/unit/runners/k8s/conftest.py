"""Share one rendering of each shipped client among the tests."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.unit.runners.k8s.rendering import Manifests, config_of, launch_of, rendered


@pytest.fixture(scope="session")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Manifests]:
    """Return the manifests of a shipped client; they are shared, so leave them as they are."""
    folder = tmp_path_factory.mktemp("templates")
    return functools.cache(lambda client: rendered(launch_of(config_of(client), folder)))
