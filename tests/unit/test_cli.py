"""The command line as a process: what it logs, and how it fails."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
from tillstream import cli

@cli.app.command()
def shout() -> None:
    for level in ("debug", "info", "warning"):
        getattr(logging.getLogger("tillstream.io"), level)("ours at %s", level)
        getattr(logging.getLogger("elsewhere"), level)("theirs at %s", level)

sys.argv = ["tillstream", *sys.argv[1:]]
cli.main()
"""


def _shout(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *options, "shout"]
    variables = {name: value for name, value in os.environ.items() if name != "TILLSTREAM_LOG"}
    return subprocess.run(
        command, env={**variables, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("options", "environment", "ours"),
    [
        ([], {}, ["warning"]),
        ([], {"TILLSTREAM_LOG": "info"}, ["info", "warning"]),
        ([], {"TILLSTREAM_LOG": "ERROR"}, []),
        (["--verbose"], {"TILLSTREAM_LOG": "error"}, ["debug", "info", "warning"]),
    ],
)
def test_logs_go_to_standard_error(options: list[str], environment: dict[str, str], ours: list[str]) -> None:
    """The level is that of tillstream's own logs; of other packages only warnings show. One line each."""
    finished = _shout(*options, **environment)
    assert (finished.returncode, finished.stdout) == (0, "")
    lines = [line.split(" ", 2)[2] for line in finished.stderr.splitlines()]
    expected = [f"{level.upper()} tillstream.io: ours at {level}" for level in ours]
    assert lines == [*expected, "WARNING elsewhere: theirs at warning"]


def test_an_unknown_level_is_named() -> None:
    """A level that logging does not know is said in one line, and nothing runs."""
    finished = _shout(TILLSTREAM_LOG="loud")
    assert finished.returncode == 2
    assert finished.stderr == (
        "error: TILLSTREAM_LOG: found 'loud', expected one of debug, info, warning, error\n"
    )
