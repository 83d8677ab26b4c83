"""Start parts of a stack side by side and wait until each serves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from tillstream.pipelines.errors import StackError
from tillstream.runners.local import process
from tillstream.runners.local.service import NotReadyError, Service

__all__ = ["Starter", "tail"]

_POLL_S = 0.1
_SHOWN_LOG_LINES = 15
_SHOWN_LOG_BYTES = 16_384


class _AbandonedError(Exception):
    """Say that another part failed, so that waiting is of no use."""


@dataclass(frozen=True)
class Starter:
    """Start parts and see to it that they serve.

    Nothing waits for anything else to start: a JVM loads classes for seconds before it asks for another
    part, and all of them ask again until it is there.

    Attributes:
        services: the parts.
        idle: names of those that do not run.
        marker: environment variable that all processes of the stack have.
        remember: called with name and process as soon as a part was started.
        progress: called with a line when a part serves.
        deadline_s: how long each may take, in seconds.
    """

    services: Sequence[Service]
    idle: frozenset[str]
    marker: Mapping[str, str]
    remember: Callable[[str, process.ProcessId], None]
    progress: Callable[[str], None]
    deadline_s: float
    _abandoned: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Start what is idle and wait for all.

        Raises:
            StackError: of the first part that did not come up; the others are left as they are.
        """
        with ThreadPoolExecutor(max_workers=len(self.services)) as pool:
            futures = [pool.submit(self._bring_up, service) for service in self.services]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._abandoned.set()
            for future in done:
                future.result()

    def _bring_up(self, service: Service) -> None:
        began_s = time.monotonic()
        if service.name not in self.idle:
            self._await(service, None, began_s)
            self.progress(f"{service.name} runs already at {service.address}")
            return
        service.prepare()
        for attempt in range(1, service.attempts + 1):
            identity = self._start(service)
            if self._await(service, identity, began_s):
                self.progress(
                    f"{service.name} serves at {service.address} ({time.monotonic() - began_s:.1f} s)"
                )
                return
            if attempt < service.attempts:
                self._abandoned.wait(_POLL_S * 2**attempt)
        raise StackError(f"{service.name} ended while it started; {tail(service)}")

    def _start(self, service: Service) -> process.ProcessId:
        layout = service.context.layout
        output = layout.output(service.name)
        output.unlink(missing_ok=True)
        command = service.command()
        command = replace(command, environment={**command.environment, **self.marker})
        identity = process.start(command, output, layout.root)
        self.remember(service.name, identity)
        return identity

    def _await(self, service: Service, identity: process.ProcessId | None, began_s: float) -> bool:
        """Return whether a part serves; false if it ended.

        Raises:
            StackError: if it neither ends nor serves in time.
        """
        problem = "nothing yet"
        while time.monotonic() - began_s < self.deadline_s:
            if identity is not None and process.alive(identity) is None:
                return False
            try:
                service.check()
            except (NotReadyError, OSError) as error:
                problem = str(error)
            else:
                return True
            if self._abandoned.wait(_POLL_S):
                raise _AbandonedError
        raise StackError(
            f"{service.name} at {service.address} does not serve after {self.deadline_s:.0f} s: {problem}; "
            f"{tail(service)}"
        )


def tail(service: Service) -> str:
    """Return where a part's log is and how it ends."""
    layout = service.context.layout
    for file in (layout.output(service.name), layout.log(service.name)):
        lines = _last_lines(file)
        if lines:
            return f"its log {file} ends with:\n" + "\n".join(lines)
    return f"its log {layout.log(service.name)} is empty"


def _last_lines(file: Path) -> list[str]:
    try:
        with file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - _SHOWN_LOG_BYTES))
            lines: list[str] = log.read().decode(errors="replace").splitlines()
            return lines[-_SHOWN_LOG_LINES:]
    except FileNotFoundError:
        return []
