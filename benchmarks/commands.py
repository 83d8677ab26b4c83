"""Measure what the commands measure themselves: latency through the demo, recovery through verify."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["latency", "recovery"]

_LATENCY_RATE = 2000
_LATENCY_S = 30


def _last_line(*arguments: str) -> dict[str, Any]:
    """Run a command and return the JSON object of its last line.

    Raises:
        RuntimeError: if it prints none.
    """
    command = Path(sys.executable).with_name("tillstream")
    ended = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise RuntimeError(f"tillstream {' '.join(arguments)}: {ended.stderr[-2000:]}") from error
    return found


def latency(folder: Path) -> dict[str, Any]:
    """Return milliseconds from a commit in the source to its row in the warehouse, 2,000 events/s.

    Args:
        folder: of a stack of its own.
    """
    return _last_line(
        *("demo", "--json", "--rate", str(_LATENCY_RATE), "--duration", str(_LATENCY_S)),
        *("--dir", str(folder)),
    )


def recovery(folder: Path) -> dict[str, Any]:
    """Return seconds from the SIGKILL of a TaskManager to the next new row.

    Args:
        folder: of a stack of its own.
    """
    return _last_line(
        *("verify", "--json", "--sink", "postgres", "--faults", "taskmanager", "--rounds", "3"),
        *("--seed", "1", "--dir", str(folder)),
    )
