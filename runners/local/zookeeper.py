"""Run one small ZooKeeper, which remembers Flink's jobs while the JobManager is away."""

from __future__ import annotations

import socket

from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.process import Command
from tillstream.runners.local.service import (
    BRISK,
    NotReadyError,
    Service,
    java_command,
    package_folder,
    write_properties,
)

__all__ = ["ZooKeeper"]

_HEAP_MB = 64
_CHECK_TIMEOUT_S = 2.0
# The server that Flink's distribution carries for its own tools.
_MAIN = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain"
# A session lasts between 2 and 20 ticks, whatever its client asks for, unless the server is told otherwise.
_TICK_MS, _SESSION_TICKS_MAX = 500, 20


class ZooKeeper(Service):
    """Run one server (ZooKeeper administrator's guide, "Single Server and Developer Setup")."""

    name = port = "zookeeper"
    listens = ("zookeeper",)
    is_base = True

    def prepare(self) -> None:
        """Write the configuration."""
        self.data.mkdir(exist_ok=True)
        write_properties(self.data / "zoo.cfg", self.properties())

    def command(self) -> Command:
        """Return the server's command."""
        java = java_command(
            self.context,
            self.name,
            heap_mb=_HEAP_MB,
            options=BRISK,
            classpath=[package_folder("pyflink") / "lib"],
            main=_MAIN,
        )
        return Command([*java, self.data / "zoo.cfg"])

    def check(self) -> None:
        """Ask for its state with the four-letter word that is allowed by default."""
        with socket.create_connection(
            (LOOPBACK, self.context.ports[self.port]), timeout=_CHECK_TIMEOUT_S
        ) as connection:
            connection.sendall(b"srvr")
            answer = connection.recv(64)
        if not answer.startswith(b"Zookeeper version"):
            raise NotReadyError(f"srvr answered {answer.decode(errors='replace')!r}")

    def properties(self) -> dict[str, object]:
        """Return the server's configuration."""
        return {
            "tickTime": _TICK_MS,
            "maxSessionTimeout": max(self.context.sizes.session_ms, _SESSION_TICKS_MAX * _TICK_MS),
            "dataDir": self.data / "log",
            "clientPort": self.context.ports[self.port],
            "clientPortAddress": LOOPBACK,
            "admin.enableServer": "false",
            "autopurge.snapRetainCount": 3,
            "autopurge.purgeInterval": 1,
        }
