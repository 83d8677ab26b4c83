"""Run a nursery: listen, import, and be what is forked."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tillstream.runners.nursery.kernel import name_process
from tillstream.runners.nursery.peers import is_alive
from tillstream.runners.nursery.server import Nursery, Request

__all__ = ["main", "serve"]

# On which whoever starts it waits for its end.
_READY_FD = 3
_BACKLOG = 256


def serve(
    folder: str,
    name: str,
    taskmanager: int,
    preload: Callable[[], object],
    run: Callable[[Request], object],
) -> None:
    """Listen, import, then fork until the TaskManager has ended; in what was forked, run.

    Args:
        folder: of the socket.
        name: of the socket.
        taskmanager: process that is served.
        preload: imports all that is wanted; starts no thread.
        run: does what a forked process is for, in an environment and a session of its own.
    """
    path = Path(folder, name)
    _clean(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    listener.bind(f"/proc/self/fd/{parent}/{name}")
    listener.listen(_BACKLOG)
    os.close(parent)
    os.close(_READY_FD)
    os.chdir("/")
    # Whatever is freed while modules are imported would leave holes that are filled by each process anew.
    gc.disable()
    preload()
    gc.collect()
    gc.freeze()
    request = Nursery(listener, path, taskmanager).serve()
    if request is not None:
        gc.enable()
        _settle(request)
        run(request)


def _clean(path: Path) -> None:
    """Remove what those of ended TaskManagers have left, and the socket of a predecessor."""
    path.unlink(missing_ok=True)
    for entry in path.parent.iterdir():
        taskmanager = entry.name.partition("-")[0]
        if taskmanager.isdigit() and not Path("/proc", taskmanager).exists():
            entry.unlink(missing_ok=True)


def _settle(request: Request) -> None:
    """Take over environment and working folder of the process that stands for this one."""
    content = Path(f"/proc/{request.waiter}/environ").read_bytes()
    os.chdir(f"/proc/{request.waiter}/cwd")
    if not is_alive(request.handle):
        # It may have been another's, that has its number since.
        sys.exit(f"process {request.waiter} has ended")
    os.close(request.handle)
    pairs = [each.partition(b"=") for each in content.split(b"\0") if each]
    os.environ.clear()
    os.environ.update({os.fsdecode(key): os.fsdecode(value) for key, _, value in pairs})
    time.tzset()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        # Python's own random numbers start anew after a fork by themselves.
        numpy.random.seed()


def main(folder: str, name: str, taskmanager: str) -> None:
    """Serve a TaskManager with processes for its jobs."""
    from tillstream.runners.nursery.preload import preload

    serve(folder, name, int(taskmanager), preload, _run)


def _run(request: Request) -> None:
    from tillstream.runners import harness
    from tillstream.runners.nursery.client import NAME

    name_process([NAME, *harness.words(), *request.arguments[:1], f"--waiter={request.waiter}"])
    sys.argv = [NAME, *request.arguments]
    harness.main(request.arguments, request.is_abandoned)
