"""What a template carries is unpacked where its launch lies, and found before everything else."""

from __future__ import annotations

import importlib
import os
import stat
import subprocess
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
    """Before a file of that name as it is now."""
    code = artifact(tmp_path / "built", "AMOUNT = 1\n")
    (tmp_path / "built" / "carried_module.py").write_text("AMOUNT = 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "built"))
    launch = tmp_path / "flights" / "1"
    other = beam_runner_api_pb2.ArtifactInformation(role_urn="beam:artifact:role:staging_to:v1")
    place = look_in_carried([other, code], launch)
    assert place is not None
    assert place.parent == launch
    assert importlib.import_module("carried_module").AMOUNT == 1


def test_what_others_have_put_there_is_not_imported(tmp_path: Path) -> None:
    """Clients' processes are of one user, and can write in each other's folders."""
    code = artifact(tmp_path / "built", "AMOUNT = 1\n")
    for name in ("code", "code-planted", f"code.{os.getpid()}"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "carried_module.py").write_text("AMOUNT = 3\n")
    place = look_in_carried([code], tmp_path)
    assert place is not None
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert importlib.import_module("carried_module").AMOUNT == 1


def test_each_process_has_its_own_folder_and_the_next_one_removes_it(tmp_path: Path) -> None:
    """A job that starts over and over fills no disk; what is in use stays."""
    code, launch = artifact(tmp_path / "built", "AMOUNT = 1\n"), tmp_path / "1"
    (tmp_path / "artifact").write_bytes(code.SerializeToString())
    program = (
        "import sys; from pathlib import Path; "
        "from apache_beam.portability.api import beam_runner_api_pb2 as api; "
        "from tillstream.runners.carried import look_in_carried; "
        "code = api.ArtifactInformation.FromString(Path(sys.argv[1]).read_bytes()); "
        "print(look_in_carried([code], Path(sys.argv[2])).name)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "artifact"), str(launch)]
    left = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120).stdout.strip()
    assert (launch / left).is_dir()
    places = [look_in_carried([code], launch) for _ in range(2)]
    assert None not in places
    assert sorted(launch.iterdir()) == sorted(place for place in places if place is not None)


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
