"""Run one Kafka broker that is its own controller (KRaft, KIP-500 and KIP-853)."""

from __future__ import annotations

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from tillstream.pipelines.errors import StackError
from tillstream.runners.local.process import Command
from tillstream.runners.local.service import NotReadyError, Service, java_command, write_properties

__all__ = ["Kafka"]

_HEAP_MB = 384
_FORMAT_DEADLINE_S = 120.0
_CHECK_TIMEOUT_S = 2.0


class Kafka(Service):
    """Run the broker. Topics are created when they are first written to."""

    name = port = "kafka"
    listens = ("kafka", "controller")
    is_base = True

    def prepare(self) -> None:
        """Write the configuration and format the log folder at the first start."""
        self.data.mkdir(exist_ok=True)
        write_properties(self.data / "server.properties", self.properties())
        if (self._log / "meta.properties").exists():
            return
        shutil.rmtree(self._log, ignore_errors=True)
        arguments: list[str | Path] = ["format", "--standalone", "--config", self.data / "server.properties"]
        done = subprocess.run(
            [*self._java("kafka.tools.StorageTool"), *arguments, f"--cluster-id={_cluster_id()}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FORMAT_DEADLINE_S,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"kafka: the log folder could not be formatted:\n{done.stdout.strip()}")

    def command(self) -> Command:
        """Return the broker's command."""
        return Command([*self._java("kafka.Kafka"), self.data / "server.properties"])

    def check(self) -> None:
        """Ask for the metadata of all topics."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        try:
            metadata = admin.list_topics(timeout=_CHECK_TIMEOUT_S)
        except KafkaException as error:
            raise NotReadyError(f"no metadata: {error.args[0].str()}") from error
        if not metadata.brokers:
            raise NotReadyError("the metadata names no broker")

    def properties(self) -> dict[str, object]:
        """Return the broker's configuration."""
        controller = self.context.address("controller")
        listeners = f"BROKER://{self.address},CONTROLLER://{controller}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.bootstrap.servers": controller,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "BROKER",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "log.dirs": self._log,
            "num.partitions": 1,
            "auto.create.topics.enable": "true",
            # There is one broker, so nothing can have a second replica.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            # Groups of one machine are complete at once.
            "group.initial.rebalance.delay.ms": 0,
            "num.network.threads": 2,
            "num.io.threads": 4,
            "log.cleaner.dedupe.buffer.size": 8 * 1024 * 1024,
            "log.segment.bytes": 256 * 1024 * 1024,
        }

    def _java(self, main: str) -> list[str | Path]:
        return java_command(
            self.context,
            self.name,
            heap_mb=_HEAP_MB,
            options=["-XX:+UseSerialGC"],
            classpath=[self.context.jars.broker],
            main=main,
        )

    @property
    def _log(self) -> Path:
        return self.data / "log"


def _cluster_id() -> str:
    """Return a random id in Kafka's form: URL-safe base64 of a UUID, and no leading dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
