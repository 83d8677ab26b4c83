"""A client is found by its name, or by its config's path."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.clients import config_path


def test_the_nearest_config_of_a_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder one is in comes before `clients/`, and that before what is shipped."""
    monkeypatch.chdir(tmp_path)
    assert config_path("acme").parent.name == "clients"
    assert config_path("acme").is_absolute()
    (tmp_path / "clients").mkdir()
    (tmp_path / "clients" / "acme.yaml").touch()
    assert config_path("acme") == Path("clients/acme.yaml")
    (tmp_path / "acme.yaml").touch()
    assert config_path("acme") == Path("acme.yaml")


@pytest.mark.parametrize("path", ["acme.yaml", "./acme", "configs/acme.yml", "Acme"])
def test_a_path_stays_one(path: str) -> None:
    """What has a folder, a suffix, or not the form of a name, is a path; that it is there is seen later."""
    assert config_path(path) == Path(path)


def test_an_unknown_name_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places are named."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"found no nobody\.yaml in \., clients, configs/clients, /"):
        config_path("nobody")
