"""Start, find and stop processes that outlive the command that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

__all__ = ["Command", "ProcessId", "alive", "kill", "marked", "start", "stop"]

# The kernel counts start times in ticks since boot; psutil adds the boot time, which shifts with the clock.
_START_TOLERANCE_S = 2.0
_KILL_WAIT_S = 10.0
_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessId:
    """Identify a process for good: the kernel gives a pid to others later.

    Attributes:
        pid: the process's id.
        started_s: when it started, in seconds since 1970.
    """

    pid: int
    started_s: float


@dataclass(frozen=True)
class Command:
    """Say how a process is started.

    Attributes:
        arguments: program and arguments; never a secret, since everyone on the machine can read them.
        environment: variables beside those of this process.
    """

    arguments: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)


def start(command: Command, output: Path, folder: Path) -> ProcessId:
    """Start a process in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    Args:
        command: what to start.
        output: file to which standard output and error are appended.
        folder: its working folder.
    """
    environment = {**os.environ, **command.environment}
    with output.open("ab") as log:
        child = subprocess.Popen(
            [str(argument) for argument in command.arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return ProcessId(child.pid, psutil.Process(child.pid).create_time())


def alive(identity: ProcessId | None) -> psutil.Process | None:
    """Return a process if it is still the same one and runs."""
    if identity is None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if _has_ended(process):
            return None
        same = abs(process.create_time() - identity.started_s) <= _START_TOLERANCE_S
    except psutil.Error:
        return None
    return process if same else None


def marked(variable: str, value: str) -> list[psutil.Process]:
    """Return the processes that have an environment variable, eldest first.

    It finds what a killed command started and could not write down any more, and what parts of the
    stack started in their turn.
    """
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # gone, or another user's
            continue
    return sorted(found, key=lambda process: process.create_time())


def stop(processes: Iterable[tuple[psutil.Process, signal.Signals]], grace_s: float) -> None:
    """Stop processes side by side: each with its own signal first, then with SIGKILL.

    Args:
        processes: each with the signal that asks it to end.
        grace_s: seconds they have, in all, before they are killed.
    """
    asked = []
    for process, kind in processes:
        try:
            process.send_signal(kind)
        except psutil.NoSuchProcess:
            continue
        asked.append(process)
    kill(_await_end(asked, grace_s))


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes together with all that they started, and wait until they are gone."""
    doomed = []
    for process in processes:
        try:
            doomed += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    for process in doomed:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _await_end(doomed, _KILL_WAIT_S)


def _await_end(processes: list[psutil.Process], deadline_s: float) -> list[psutil.Process]:
    """Wait until processes have ended, and return those that have not in time.

    A process that ended stays a zombie until its parent asks for it, for ever in a container whose first
    process never asks; psutil's own wait would wait for that too.
    """
    end_s = time.monotonic() + deadline_s
    while (
        left := [process for process in processes if not _has_ended(process)]
    ) and time.monotonic() < end_s:
        time.sleep(_POLL_S)
    return left


def _has_ended(process: psutil.Process) -> bool:
    try:
        if process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1):
            return False  # a zombie's other threads, while they end, keep its ports taken
        process.wait(0)  # frees the entry if it is a child of ours
    except psutil.Error:
        pass
    return True
