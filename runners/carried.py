"""Unpack, where a job runs, the code that its template carries (`runners/jobs/code.py` packs it)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.pipelines.isolation.process import FLIGHTS_VARIABLE

if TYPE_CHECKING:
    from apache_beam.portability.api import beam_runner_api_pb2

__all__ = ["CODE_ROLE", "look_in_carried", "opened"]

# Which of an environment's artifacts it is (beam_runner_api.proto, ArtifactInformation.role_urn).
CODE_ROLE = "tillstream:artifact:role:code:v1"
_PREFIX = "code-"
_ATTEMPTS = 10
# Of file systems that cannot lock: there nothing is removed before a later launch.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})


def look_in_carried(
    dependencies: Iterable[beam_runner_api_pb2.ArtifactInformation], folder: Path | None = None
) -> Path | None:
    """Unpack what a job carries and let its modules be found first; return where, None for nothing.

    It lies in the folder of the launch, which is readable however the process is confined, and goes when the
    next process of the launch begins, or a later launch.

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
    """Unpack into a new folder of this process, so that nothing that another has put there is imported."""
    folder.mkdir(parents=True, exist_ok=True)
    _forget_ended(folder)
    for _ in range(_ATTEMPTS):
        target = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        try:
            _hold(target)
        except (BlockingIOError, FileNotFoundError):
            continue  # one who cleans up was there in between
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        if target.is_dir():
            with opened(content) as packed:
                packed.extractall(target)
            return target
    raise OSError(errno.EBUSY, f"found folders locked {_ATTEMPTS} times that were made just now", str(folder))


def _hold(folder: Path) -> int:
    """Lock a folder for as long as this process lives, or the returned file is open."""
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(found)
        raise
    return found


def _forget_ended(folder: Path) -> None:
    """Remove what processes of this launch have left that have ended."""
    for old in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is in use, or another removes it
            held = _hold(old)
            shutil.rmtree(old, ignore_errors=True)
            os.close(held)
