"""One command at a time works on a client's job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.jobs.exclusive import exclusive

HOLDER = """
import sys
from pathlib import Path
from tillstream.runners.jobs.exclusive import exclusive
with exclusive(Path(sys.argv[1]), "ann@desk", "upgrade"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_told_who_is_at_it(tmp_path: Path) -> None:
    """Until that ends, however it ends."""
    path = tmp_path / "acme.lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(UnavailableError, match="client acme: ann@desk is at upgrade since") as caught,
            exclusive(path, "bob@desk", "launch"),
        ):
            pass
        assert f"process {other.pid}" in str(caught.value)
        other.kill()
        other.wait(10)
    with exclusive(path, "bob@desk", "launch"):
        pass


def test_a_command_may_be_made_of_others(tmp_path: Path) -> None:
    """The inner one neither waits nor lets go."""
    path = tmp_path / "acme.lock"
    with exclusive(path, "ann", "upgrade"):
        with exclusive(path, "ann", "launch"):
            pass
        command = [sys.executable, "-c", HOLDER, str(path)]
        found = subprocess.run(command, capture_output=True, text=True, check=False, input="")
        assert "ann is at upgrade" in found.stderr
