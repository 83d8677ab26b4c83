"""Tell which retained checkpoints and savepoints of a client nothing needs any more, and delete those.

Flink retains the checkpoints of jobs that ended, and deletes no savepoint. What is needed is told by the
client's history: the last launches with all that they were started from and have left, and the place where
the next launch goes on. Whatever a job that runs has written is not touched, nor what the history does not
know of.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.places import local_path
from tillstream.runners.flink.rest import ENDED
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.resuming import place_of

__all__ = ["Retained", "delete", "needed_from", "retained"]

_HOUR_S = 3600.0
_METADATA = "_metadata"
_JOB_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Retained:
    """Name a folder that Flink has left.

    Attributes:
        path: of a job's checkpoints, or of one savepoint.
        size_bytes: of all that is in it.
        why: it is kept, in words; empty where nothing needs it.
    """

    path: Path
    size_bytes: int
    why: str

    @property
    def is_needed(self) -> bool:
        """Tell whether it is kept."""
        return bool(self.why)


def retained(job: ClientJob, *, launches: int, age_h_min: float) -> list[Retained]:
    """Return what Flink has left of a client's jobs, those known to its history.

    Args:
        job: the client's.
        launches: how many of the last ones keep all that they need.
        age_h_min: what was written in the last hours is kept, whatever the history says.

    Raises:
        UserError: if the cluster's checkpoints do not lie in folders of this machine.
        UnavailableError: if the cluster does not answer.
    """
    entries = job.history.entries()
    settings = job.rest.settings()
    needs = _needs(job, entries, launches)
    root, savepoints = (_folder(settings, f"state.{name}.dir") for name in ("checkpoints", "savepoints"))
    folders = [root / name for name in _job_ids(entries) if (root / name).is_dir()]
    folders += [
        path
        for path in dict.fromkeys(map(_local, _paths(entries)))
        if path.parent == savepoints and (path / _METADATA).is_file()
    ]
    youngest_s = time.time() - age_h_min * _HOUR_S
    found = []
    for folder in folders:
        size_bytes, changed_s = _measured(folder)
        young = "" if changed_s < youngest_s else f"written in the last {age_h_min:g} h"
        found.append(Retained(folder, size_bytes, needs.why(folder) or young))
    return found


@dataclass(frozen=True)
class _Needs:
    running: frozenset[str]
    recent: frozenset[str]
    paths: frozenset[Path]
    launches: int

    def why(self, folder: Path) -> str:
        if folder.name in self.running:
            return "its job runs"
        if any(path.is_relative_to(folder) for path in self.paths):
            return "a launch goes on from there, or has"
        return f"of the last {self.launches} launches" if folder.name in self.recent else ""


def _needs(job: ClientJob, entries: Sequence[Entry], launches: int) -> _Needs:
    recent = entries[needed_from(entries, launches) :]
    running = frozenset(str(each["jid"]) for each in job.rest.jobs() if each["state"] not in ENDED)
    paths = [_local(path) for path in _paths(recent)]
    if job.running_id() is None:
        place = place_of(job).path
        paths += [] if place is None else [_local(place)]
    return _Needs(running, frozenset(_job_ids(recent)), frozenset(paths), launches)


def needed_from(entries: Sequence[Entry], launches: int) -> int:
    """Return the index of the first entry of the last launches of a history."""
    generations = list(dict.fromkeys(each.generation for each in entries if each.generation is not None))
    first = generations[-launches:][:1]
    return next((index for index, each in enumerate(entries) if each.generation in first), 0)


def delete(found: Sequence[Retained]) -> list[Retained]:
    """Delete what nothing needs, and return it."""
    gone = [each for each in found if not each.is_needed]
    for each in gone:
        shutil.rmtree(each.path)
    return gone


def _job_ids(entries: Sequence[Entry]) -> list[str]:
    found = dict.fromkeys(each.job_id for each in entries if each.job_id is not None)
    # They become names of folders that are deleted.
    return [each for each in found if _JOB_ID.fullmatch(each)]


def _paths(entries: Sequence[Entry]) -> Iterator[str]:
    for each in entries:
        yield from (path for path in (each.savepoint, each.taken) if path is not None)


def _folder(settings: dict[str, str], name: str) -> Path:
    value = settings.get(name, "")
    found = local_path(value)
    if found is None:
        raise UserError(
            f"{name}: found {value or 'nothing'!r}, expected a folder, file:///...: let the storage's own "
            "rules of life cycle delete what is old, see docs/flink.md"
        )
    return found


def _local(path: str) -> Path:
    return local_path(path) or Path(path)


def _measured(folder: Path) -> tuple[int, float]:
    """Return the bytes in a folder, and when it was changed last, seconds since 1970 UTC."""
    size_bytes, changed_s = 0, folder.stat().st_mtime
    for each in folder.rglob("*"):
        # A job that runs deletes its older ones meanwhile.
        with suppress(FileNotFoundError):
            stat = each.stat()
            size_bytes += stat.st_size
            changed_s = max(changed_s, stat.st_mtime)
    return size_bytes, changed_s
