"""Let one command at a time work on a client's job, and say who is at it."""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tillstream.pipelines.errors import UnavailableError

__all__ = ["exclusive"]

# What this process holds, by thread: one command is made of others.
_held: dict[Path, int] = {}


@contextmanager
def exclusive(path: Path, actor: str, what: str) -> Iterator[None]:
    """Hold a file's lock (flock(2)), which the kernel frees when its holder dies; again in the same thread.

    Args:
        path: of the file, which stays.
        actor: who holds it, for others to read.
        what: the command.

    Raises:
        UnavailableError: if another command holds it.
    """
    if _held.get(path) == threading.get_ident():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UnavailableError(
                f"client {path.stem}: {_holder(file.read())}: wait for it, or end it"
            ) from None
        file.truncate(0)
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        file.write(json.dumps({"actor": actor, "pid": os.getpid(), "what": what, "at": now}))
        file.flush()
        _held[path] = threading.get_ident()
        try:
            yield
        finally:
            del _held[path]
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        found = json.loads(text)
        return f"{found['actor']} is at {found['what']} since {found['at']} (process {found['pid']})"
    except (ValueError, KeyError, TypeError):
        # Between taking the lock and writing its name.
        return "another command is at it"
