"""Run one Kafka Connect worker with the Debezium connector."""

from __future__ import annotations

from tillstream.runners.local.http import request
from tillstream.runners.local.process import Command
from tillstream.runners.local.service import BRISK, NotReadyError, Service, java_command, write_properties

__all__ = ["Connect"]

_HEAP_MB = 384
_OK = 200


class Connect(Service):
    """Run the worker in distributed mode, so that its connectors survive a restart."""

    name = port = "connect"
    listens = ("connect",)
    scheme = "http://"

    def prepare(self) -> None:
        """Write the configuration."""
        self.data.mkdir(exist_ok=True)
        write_properties(self.data / "worker.properties", self.properties())

    def command(self) -> Command:
        """Return the worker's command."""
        java = java_command(
            self.context,
            self.name,
            heap_mb=_HEAP_MB,
            options=BRISK,
            classpath=[self.context.jars.connect],
            main="org.apache.kafka.connect.cli.ConnectDistributed",
        )
        return Command([*java, self.data / "worker.properties"])

    def check(self) -> None:
        """List the connectors."""
        status, _ = request("GET", f"{self.address}/connectors")
        if status != _OK:
            raise NotReadyError(f"GET /connectors answered {status}")

    def properties(self) -> dict[str, object]:
        """Return the worker's configuration."""
        json = "org.apache.kafka.connect.json.JsonConverter"
        return {
            "bootstrap.servers": self.context.address("kafka"),
            "group.id": "tillstream-connect",
            "listeners": self.address,
            "rest.advertised.host.name": self.address.rpartition("//")[2].partition(":")[0],
            "plugin.path": self.context.jars.plugins,
            # All plugins here have manifests (KIP-898). Looking at each class instead, "only_scan", costs
            # 9 s of CPU, two thirds of the time that the whole stack takes to start.
            "plugin.discovery": "service_load",
            "key.converter": json,
            "key.converter.schemas.enable": "false",
            "value.converter": json,
            "value.converter.schemas.enable": "false",
            "config.storage.topic": "connect-configs",
            "config.storage.replication.factor": 1,
            "offset.storage.topic": "connect-offsets",
            "offset.storage.replication.factor": 1,
            "offset.storage.partitions": 1,
            "status.storage.topic": "connect-status",
            "status.storage.replication.factor": 1,
            "status.storage.partitions": 1,
            # How far a source's log is read is known, and the log freed, this much later.
            "offset.flush.interval.ms": 1000,
            # There is no second worker to wait for.
            "scheduled.rebalance.max.delay.ms": 0,
            # A worker that misses the broker for longer than a heartbeat's interval gives up its tasks. New
            # ones would then wait minutes for the slot and the metrics of the old ones, which hang in a
            # send: outlast a restart of the broker instead.
            "heartbeat.interval.ms": 60_000,
            "session.timeout.ms": 180_000,
            # So a killed worker is a member still when its successor joins, which waits for it this long.
            "rebalance.timeout.ms": 6000,
            # It starts together with the broker, which takes a few seconds.
            "reconnect.backoff.max.ms": 250,
            "admin.reconnect.backoff.max.ms": 250,
            "config.providers": "directory",
            "config.providers.directory.class": (
                "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
            ),
            "config.providers.directory.param.allowed.paths": self.context.layout.secrets,
        }
