"""Measure Quix Streams on a task.

It wants older versions of confluent-kafka and pydantic than this project runs on, so it gets an environment
of its own: installed beside, it would change what is compared with it.
"""

from __future__ import annotations

import subprocess
import venv
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from benchmarks.task import Task, run_apart

__all__ = ["run"]

_FOLDER = Path(__file__).resolve().parent / ".venv-quix"
_NEEDS = ("quixstreams", "psycopg", "orjson")


def run(task: Task) -> dict[str, Any]:
    """Return its figures, and its version."""
    python = _environment()
    script = "from importlib.metadata import version; print(version('quixstreams'), end='')"
    version = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True).stdout
    return {**run_apart("benchmarks.quix_worker", task, python), "version": version}


def _environment() -> Path:
    """Return the interpreter of the environment, which is made the first time."""
    python, ready = _FOLDER / "bin" / "python", _FOLDER / "ready"
    if not ready.exists():
        venv.create(_FOLDER, with_pip=True, clear=True)
        wanted = {
            need.split(";")[0].strip() for need in requires("tillstream") or [] if need.startswith(_NEEDS)
        }
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *sorted(wanted)], check=True)
        ready.touch()
    return python
