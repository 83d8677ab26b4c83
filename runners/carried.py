"""Unpack, where a job runs, the code that its template carries (`runners/jobs/code.py` packs it)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE

if TYPE_CHECKING:
    from apache_beam.portability.api import beam_runner_api_pb2

__all__ = ["CODE_ROLE", "look_in_carried", "opened"]

# Which of an environment's artifacts it is (beam_runner_api.proto, ArtifactInformation.role_urn).
CODE_ROLE = "tillstream:artifact:role:code:v1"
_FOLDER = "code"


def look_in_carried(
    dependencies: Iterable[beam_runner_api_pb2.ArtifactInformation], folder: Path | None = None
) -> Path | None:
    """Unpack what a job carries and let its modules be found first; return where, None for nothing.

    The folder is that of the launch: it is the client's alone, readable however the process is confined, and
    goes when a later launch begins.

    Args:
        dependencies: artifacts of the environment, by the provision service.
        folder: of the launch; by default the one that the harness has noted.
    """
    for each in dependencies:
        if each.role_urn == CODE_ROLE:
            place = Path(os.environ[FLIGHTS_VARIABLE]) if folder is None else folder
            found = _unpack(_embedded(each.type_payload), place)
            sys.path.insert(0, str(found))
            return found
    return None


@contextmanager
def opened(content: bytes) -> Iterator[zipfile.ZipFile]:
    """Open a zip that lies in memory, for reading."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        with zipfile.ZipFile(file) as packed:
            yield packed


def _embedded(payload: bytes) -> bytes:
    from apache_beam.portability.api import beam_runner_api_pb2

    content: bytes = beam_runner_api_pb2.EmbeddedFilePayload.FromString(payload).data
    return content


def _unpack(content: bytes, folder: Path) -> Path:
    """Unpack into a folder that all processes of a launch share; who comes first makes it."""
    target, part = folder / _FOLDER, folder / f"{_FOLDER}.{os.getpid()}"
    if target.is_dir():
        return target
    part.mkdir(parents=True, exist_ok=True)
    with opened(content) as packed:
        packed.extractall(part)
    try:
        part.rename(target)
    except OSError:
        shutil.rmtree(part)  # another process of this launch was first
    return target
