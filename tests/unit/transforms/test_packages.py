"""A job runs with the versions of its transforms' packages that it was built with, or not at all."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.packages import PACKAGES_VARIABLE, check_packages


def test_the_same_version_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so does a job that needs no package, or that no template was launched for."""
    check_packages()
    monkeypatch.setenv(PACKAGES_VARIABLE, "{}")
    check_packages()
    monkeypatch.setenv(PACKAGES_VARIABLE, json.dumps({"pytest": metadata.version("pytest")}))
    check_packages()


@pytest.mark.parametrize(("name", "found"), [("pytest", metadata.version("pytest")), ("acme-rules", "none")])
def test_another_version_is_refused(name: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which was found where, and what to do."""
    monkeypatch.setenv(PACKAGES_VARIABLE, json.dumps({name: "0.0.7"}))
    message = (
        f"package {name}: found version {found} where the job runs, expected 0.0.7, .*install {name}==0.0.7"
    )
    with pytest.raises(TransformError, match=message):
        check_packages()
