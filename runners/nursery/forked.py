"""Find the processes that were forked for the jobs of a TaskManager."""

from __future__ import annotations

import psutil

from tillstream.runners.nursery.client import NAME

__all__ = ["forked"]


def forked(taskmanager: psutil.Process, client: str | None = None) -> list[psutil.Process]:
    """Return them, youngest last, without those that only wait for them.

    Args:
        taskmanager: started so that it adopts orphans (`nursery.adopt`).
        client: whose job they are of; all by default.
    """
    wanted = [NAME] if client is None else [NAME, client]
    found = [each for each in taskmanager.children(recursive=True) if _words(each)[: len(wanted)] == wanted]
    return sorted(found, key=lambda each: each.create_time())


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        # It ends, or has ended and is waited for by nobody.
        return []
