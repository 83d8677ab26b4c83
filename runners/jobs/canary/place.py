"""Keep what a canary leaves on the way in one place, and clear it at the end, or when the next one starts."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from tillstream.configs.launching import CanaryLaunch, LaunchParameters
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.jobs.job import ClientJob

__all__ = ["Place", "Side", "place_of", "shadow_names"]

Side = Literal["old", "new"]
_SIDES: tuple[Side, ...] = ("old", "new")
_VERSION = 1
_SUPERSEDED_S_MAX = 30.0
_POLL_S = 0.2


class _Left(msgspec.Struct, frozen=True):
    """Hold what must be taken away beside the folder.

    Attributes:
        job_id: that the savepoint was taken of.
        savepoint: its path.
        version: of this form; a field may be appended without raising it.
    """

    job_id: str
    savepoint: str
    version: int = _VERSION


def shadow_names(client: str) -> list[str]:
    """Return the names that a client's shadows have on the cluster."""
    shadows = [LaunchParameters(0, 1, canary=CanaryLaunch(side, "", {})) for side in _SIDES]
    return [shadow.job_name(client) for shadow in shadows]


class Place:
    """Be the folder of one client's canary.

    Args:
        job: the client's.
        folder: of all canaries.
    """

    def __init__(self, job: ClientJob, folder: Path) -> None:
        self._job = job
        self._rest: FlinkRest = job.rest
        self.folder = folder / job.client

    def side(self, side: Side) -> Path:
        """Return the folder of a side."""
        return self.folder / side

    @property
    def old_template(self) -> Path:
        """Return where the running version's template is built, if it has to be."""
        return self.folder / "old.jar"

    def remember(self, job_id: str, savepoint: str) -> None:
        """Note a savepoint that goes with the rest."""
        (self.folder / "left.json").write_bytes(msgspec.json.encode(_Left(job_id, savepoint)))

    def make(self) -> None:
        """Make the folder, for its owner only; raises UserError where that cannot be."""
        try:
            self.folder.mkdir(parents=True, mode=0o700)
        except OSError as error:
            raise UserError(
                f"canary folder {self.folder}: {error.strerror}: expected one that can be written, and that "
                "the TaskManagers see too: name it by --canary-folder"
            ) from error

    def clear(self) -> None:
        """End the shadow's jobs, and take away their outputs and the savepoint; harmless without any.

        Raises:
            UnavailableError, JobFailedError: if the cluster does not answer, or a job does not end.
        """
        for name in shadow_names(self._job.client):
            for job_id in self._rest.running(name):
                self._rest.cancel(job_id)
        self._dispose()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _dispose(self) -> None:
        try:
            left = msgspec.json.decode((self.folder / "left.json").read_bytes(), type=_Left)
        except (OSError, msgspec.MsgspecError):
            return
        # It must not be the newest that is known of the job when it goes.
        if not self._is_superseded(left):
            self._job.say(f"keeps savepoint {left.savepoint}: the job has no newer checkpoint yet")
            return
        try:
            self._rest.dispose(left.savepoint)
        except TillstreamError as error:
            self._job.say(f"savepoint {left.savepoint} stays: {error}")

    def _is_superseded(self, left: _Left) -> bool:
        end_s = time.monotonic() + _SUPERSEDED_S_MAX
        while time.monotonic() < end_s:
            if self._job.running_id() != left.job_id:
                return True
            if self._job.newest_checkpoint(left.job_id) != left.savepoint:
                return True
            threading.Event().wait(_POLL_S)
        return False


@contextmanager
def place_of(job: ClientJob, folder: Path | None) -> Iterator[Place]:
    """Give a client's canary its place, cleared of what an earlier one left, and clear it in the end.

    Args:
        job: the client's.
        folder: of all canaries; by default beside the histories.

    Raises:
        UserError: if the folder cannot be made.
        UnavailableError: if the cluster does not answer.
    """
    place = Place(job, (job.history.folder / "canary" if folder is None else folder).absolute())
    if place.folder.exists():
        job.say("clears what an earlier canary left")
    place.clear()
    place.make()
    try:
        yield place
    except BaseException:
        # What went wrong is more worth telling than what is left; the next canary clears it.
        with contextlib.suppress(TillstreamError):
            place.clear()
        raise
    place.clear()
