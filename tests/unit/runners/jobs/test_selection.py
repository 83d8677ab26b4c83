"""A command finds the clients that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.selection import select


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three clients, one of which cannot be read, and another file."""
    (tmp_path / "acme.yaml").write_text("client: acme\nlabels: {tier: gold, region: eu}\n")
    (tmp_path / "b.yaml").write_text("client: globex\nlabels: {tier: gold}\n")
    (tmp_path / "broken.yaml").write_text("client: [\n")
    (tmp_path / "notes.txt").write_text("client: nobody\n")
    return tmp_path


def names(folder: Path, **arguments: object) -> list[str]:
    """Return the names of those that are found."""
    return [each.client for each in select(folder=folder, **arguments)]  # type: ignore[arg-type]


def test_all_are_all_of_the_folder(folder: Path) -> None:
    """By the name in the file; one that is broken is among them, so that it is told of."""
    assert names(folder, everyone=True) == ["acme", "broken", "globex"]


@pytest.mark.parametrize(
    ("labels", "found"), [(["tier=gold"], ["acme", "globex"]), (["tier=gold", "region=eu"], ["acme"])]
)
def test_labels_choose_those_that_have_all(folder: Path, labels: list[str], found: list[str]) -> None:
    """Each further label leaves fewer."""
    assert names(folder, labels=labels) == found


def test_named_ones_are_found_once_in_their_order(folder: Path) -> None:
    """By name or by path, in the folder alone."""
    path = str(folder / "b.yaml")
    assert names(folder, clients=[path, "acme", path]) == ["globex", "acme"]
    with pytest.raises(UserError, match=r"found no initech\.yaml in /"):
        select(["initech"], folder=folder)


def test_the_nearest_folder_with_configs_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder it is the first with any; files that are no configs do not count there."""
    monkeypatch.chdir(folder)
    (folder / "compose.yaml").write_text("services: {}\n")
    assert [each.client for each in select(everyone=True)] == ["acme", "globex"]
    empty = folder / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert {each.path.parent.name for each in select(everyone=True)} == {"clients"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "found no client, expected CLIENT, --all, or --label"),
        ({"clients": ["acme"], "everyone": True}, "either names or a group"),
        ({"labels": ["tier"]}, "found 'tier', expected KEY=VALUE"),
        ({"labels": ["tier=tin"]}, "found no config for --label tier=tin"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, arguments: dict[str, object], said: str) -> None:
    """And said, with what is expected."""
    with pytest.raises(UserError, match=said):
        names(folder, **arguments)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """It may be a slip."""
    with pytest.raises(UserError, match="found no folder"):
        select(everyone=True, folder=tmp_path / "nowhere")
