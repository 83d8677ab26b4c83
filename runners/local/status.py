"""Tell how a part of the stack is."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from tillstream.runners.local.process import ProcessId, alive
from tillstream.runners.local.service import NotReadyError, Service

__all__ = ["ServiceStatus", "status_of"]

_MIB = 1024 * 1024


@dataclass(frozen=True)
class ServiceStatus:
    """Tell how one part is.

    Attributes:
        service: its name.
        health: `ok`, `stopped`, or `down: ` and what is wrong although it runs.
        address: where it is reached, if the stack was ever started.
        pid: of its process, if it runs.
        rss_mb: resident memory of it and all that it started, in mebibytes.
        log: path of its log file, if the stack was ever started.
    """

    service: str
    health: str
    address: str | None
    pid: int | None
    rss_mb: int
    log: str | None

    @property
    def is_healthy(self) -> bool:
        """Tell whether it serves."""
        return self.health == "ok"

    @classmethod
    def never_started(cls, service: str) -> ServiceStatus:
        """Return the status of a part of a stack that does not exist."""
        return cls(service, "stopped", None, None, 0, None)


def status_of(service: Service, identity: ProcessId | None) -> ServiceStatus:
    """Return a part's status, found as its clients would.

    Args:
        service: the part.
        identity: what was started as it.
    """
    running = alive(identity)
    health = "stopped"
    if running is not None:
        try:
            service.check()
            health = "ok"
        except (NotReadyError, OSError) as error:
            health = f"down: {error}"
    return ServiceStatus(
        service=service.name,
        health=health,
        address=service.address,
        pid=running.pid if running is not None else None,
        rss_mb=_rss_mb(running),
        log=str(service.context.layout.log(service.name)),
    )


def _rss_mb(running: psutil.Process | None) -> int:
    if running is None:
        return 0
    total = 0
    try:
        for process in (running, *running.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total // _MIB
