"""Remember who did what to a client's job: an audit log that only grows, one file of JSON lines a client.

Each line holds the digest of the line before it, so that a line that was changed or taken out shows. The
templates that were launched are kept beside the log, for whoever goes back to one.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import getpass
import hashlib
import logging
import os
import shutil
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.exclusive import exclusive

__all__ = ["ACTOR_VARIABLE", "HISTORY_VARIABLE", "Entry", "History", "history_folder"]

HISTORY_VARIABLE = "TILLSTREAM_HISTORY"
ACTOR_VARIABLE = "TILLSTREAM_ACTOR"
_VERSION = 1
_log = logging.getLogger(__name__)


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say what happened to a client's job, one thing.

    Attributes:
        action: launch, pause, resume, upgrade, rollback, rescale, canary or cancel; on Kubernetes apply or
            savepoint.
        outcome: started, done, refused, failed or rolled_back.
        at: when, ISO 8601, UTC.
        actor: who, by TILLSTREAM_ACTOR, else user@host.
        job_id: of the job that runs afterwards, or ran.
        generation: of its launch, milliseconds since 1970 UTC.
        savepoint: that it was started from.
        taken: the savepoint that its end left.
        template: digest of the jar that was launched, in `jars` beside the log.
        parallelism: of the launch.
        transforms: by entity, name and version.
        reason: a sentence, where something was refused, failed or rolled back.
        forgotten: the client starts from nothing next.
        previous: digest of the line before.
        version: of this form; a field may be appended without raising it.
        overrides: of the launch, by JSON pointer; see `configs/launching.py`.
        undoes: the first generation that a roll-back takes back; 0 for none.
        horizons: by `since` and `until`, and by sink, when what was undone wrote; see `aftermath.Horizon`.
        replaces: generation of the launch whose job an upgrade takes the place of; 0 for none.
        where: it happened, kubernetes:<context>/<namespace>; empty for the config's own cluster.
    """

    action: str
    outcome: str
    at: str = ""
    actor: str = ""
    job_id: str | None = None
    generation: int | None = None
    savepoint: str | None = None
    taken: str | None = None
    template: str | None = None
    parallelism: int | None = None
    transforms: dict[str, str] = {}
    reason: str | None = None
    previous: str = ""
    version: int = _VERSION
    forgotten: bool = False
    overrides: dict[str, Any] = {}
    undoes: int = 0
    horizons: dict[str, Any] = {}
    replaces: int = 0
    where: str = ""


def history_folder() -> Path:
    """Return where histories lie: TILLSTREAM_HISTORY, else `history` in the local stack's folder."""
    named = os.environ.get(HISTORY_VARIABLE)
    return Path(named or Path(os.environ.get("TILLSTREAM_DIR") or ".tillstream", "history")).absolute()


class History:
    """Be one client's audit log.

    Args:
        client: the client's name.
        folder: of all histories; by default `history_folder()`.
    """

    def __init__(self, client: str, folder: Path | None = None) -> None:
        self.folder = history_folder() if folder is None else folder
        self.path = self.folder / f"{client}.jsonl"

    def append(self, entry: Entry) -> Entry:
        """Add an entry, with time, actor and the digest of the line before it, and return it as written.

        A line that was not written to its end, because the disk was full or the machine died, is taken out:
        nobody was told that it is there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.seek(0)
            held = log.read()
            whole = _whole(held)
            if len(whole) < len(held):
                _log.warning("%s: took out a last line that was cut short: %r", self.path, held[len(whole) :])
                log.truncate(len(whole))
            lines = whole.splitlines()
            written = msgspec.structs.replace(
                entry,
                at=entry.at or dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds"),
                actor=entry.actor or _actor(),
                previous=_digest(lines[-1]) if lines else "",
            )
            log.write(msgspec.json.encode(written) + b"\n")
            log.flush()
            os.fsync(log.fileno())
        return written

    def entries(self, where: str | None = "") -> list[Entry]:
        """Return the entries of one place, oldest first; a last line that was cut short is none.

        Of what runs elsewhere no job of the config's own cluster can go on, nor be gone back to.

        Args:
            where: as entries have it; None for all places.

        Raises:
            UserError: if a line was changed, taken out, or is of another version; names file and line.
        """
        try:
            lines = _whole(self.path.read_bytes()).splitlines()
        except FileNotFoundError:
            return []
        found: list[Entry] = []
        previous = ""
        for number, line in enumerate(lines, 1):
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise UserError(
                    f"{self.path}:{number}: found {error}, expected an entry of a history"
                ) from error
            if entry.version != _VERSION:
                raise UserError(f"{self.path}:{number}: found version {entry.version}, expected {_VERSION}")
            if entry.previous != previous:
                raise UserError(
                    f"{self.path}:{number}: does not follow the line before it: the history was edited"
                )
            if where is None or entry.where == where:
                found.append(entry)
            previous = _digest(line)
        return found

    def exclusive(self, what: str) -> AbstractContextManager[None]:
        """Keep other commands away from the client while one works on it, on this machine.

        Args:
            what: the command, for others to read.

        Raises:
            UnavailableError: on entering, if another one works on it; it names who.
        """
        return exclusive(self.folder / f"{self.path.stem}.lock", _actor(), what)

    def keep(self, template: Path) -> str:
        """Keep a template that is being launched, and return its digest."""
        digest = hashlib.sha256(template.read_bytes()).hexdigest()[:12]
        target = self.jar(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f"{target.name}.{os.getpid()}")
            shutil.copyfile(template, part)
            part.replace(target)
        return digest

    def jar(self, digest: str) -> Path:
        """Return the file of a template that was kept."""
        return self.folder / "jars" / f"{digest}.jar"


def _whole(held: bytes) -> bytes:
    """Return the lines of a log that were written to their ends."""
    return held[: held.rfind(b"\n") + 1]


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:16]


def _actor() -> str:
    return os.environ.get(ACTOR_VARIABLE) or f"{getpass.getuser()}@{socket.gethostname()}"
