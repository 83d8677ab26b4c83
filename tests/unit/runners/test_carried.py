"""What a template carries is unpacked where its launch lies, and found before everything else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tillstream.runners.carried import CODE_ROLE, look_in_carried
from tillstream.runners.jobs.code import pack


def artifact(folder: Path, text: str) -> beam_runner_api_pb2.ArtifactInformation:
    """Return a module as the job's environment carries it."""
    folder.mkdir()
    (folder / "carried_module.py").write_text(text)
    payload = beam_runner_api_pb2.EmbeddedFilePayload(data=pack(["carried_module"], folder))
    return beam_runner_api_pb2.ArtifactInformation(
        role_urn=CODE_ROLE, type_payload=payload.SerializeToString()
    )


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "carried_module", raising=False)


def test_carried_modules_are_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a file of that name as it is now; a second process of the launch uses what is there."""
    code = artifact(tmp_path / "built", "AMOUNT = 1\n")
    (tmp_path / "built" / "carried_module.py").write_text("AMOUNT = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "built"))
    launch = tmp_path / "flights" / "1"
    other = beam_runner_api_pb2.ArtifactInformation(role_urn="beam:artifact:role:staging_to:v1")
    place = look_in_carried([other, code], launch)
    assert place == launch / "code"
    assert importlib.import_module("carried_module").AMOUNT == 1
    assert look_in_carried([code], launch) == place
    assert [each.name for each in launch.iterdir()] == ["code"]


def test_two_launches_do_not_meet(tmp_path: Path) -> None:
    """Each unpacks into its own folder."""
    places = [
        look_in_carried([artifact(tmp_path / name, f"AMOUNT = {name!r}\n")], tmp_path / "flights" / name)
        for name in ("acme", "globex")
    ]
    assert [place and (place / "carried_module.py").read_text() for place in places] == [
        "AMOUNT = 'acme'\n",
        "AMOUNT = 'globex'\n",
    ]


def test_a_job_without_code_changes_nothing(tmp_path: Path) -> None:
    """Transforms may all be installed."""
    before = list(sys.path)
    assert look_in_carried([], tmp_path) is None
    assert sys.path == before
