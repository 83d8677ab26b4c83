"""Tell where a local stack can be reached."""

from __future__ import annotations

import psutil

from tillstream.runners.local.process import marked
from tillstream.runners.local.stack import LocalStack

__all__ = ["beyond_loopback", "listening"]

_MARKER = "TILLSTREAM_STACK"
_LOOPBACK = ("127.0.0.1", "::1")


def listening(stack: LocalStack) -> dict[psutil.Process, list[str]]:
    """Return the processes of a stack, those of its jobs too, each with `address:port` where it listens."""
    return {process: _addresses(process) for process in marked(_MARKER, str(stack.layout.root))}


def beyond_loopback(stack: LocalStack) -> list[str]:
    """Return what of a stack can be reached from another machine: `address:port` and the process's name."""
    return [
        f"{address} {process.name()}"
        for process, addresses in listening(stack).items()
        for address in addresses
        if address.rpartition(":")[0] not in _LOOPBACK
    ]


def _addresses(process: psutil.Process) -> list[str]:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        # Flink and Postgres have short-lived helpers.
        return []
    return [
        f"{each.laddr.ip.removeprefix('::ffff:')}:{each.laddr.port}"
        for each in connections
        if each.status == psutil.CONN_LISTEN
    ]
