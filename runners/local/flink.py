"""Run a Flink session cluster, one JobManager and one TaskManager, out of apache-flink-libraries."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tillstream.runners.local.http import request
from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.process import Command
from tillstream.runners.local.secret_files import ensure_password
from tillstream.runners.local.service import (
    BRISK,
    Context,
    NotReadyError,
    Service,
    java_command,
    package_folder,
)
from tillstream.runners.local.sizes import Sizes

__all__ = ["JobManager", "SpareTaskManager", "TaskManager", "flink_settings"]

_OK = 200
# What Flink's own scripts pass to a Java of version 17 (conf/config.yaml, env.java.opts.all).
_OPENED = (
    *(
        "java.net",
        "java.io",
        "java.nio",
        "sun.nio.ch",
        "java.lang",
        "java.lang.reflect",
        "java.text",
        "java.time",
    ),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks"),
)
_EXPORTED = (
    "java.base/sun.net.util",
    "java.rmi/sun.rmi.registry",
    "java.security.jgss/sun.security.krb5",
)
_FRAMEWORK_HEAP_MB = 128
_FRAMEWORK_OFF_HEAP_MB = 128
# Of 32 KiB each.
_FLOATING_BUFFERS = 1024


def _taskmanager_memory(sizes: Sizes) -> dict[str, object]:
    # A TaskManager that is started without Flink's scripts must be told each size. Managed memory is unused
    # by the heap state backend and by harnesses with limits of their own.
    return {
        "taskmanager.cpu.cores": "2",
        "taskmanager.memory.task.heap.size": f"{sizes.task_heap_mb}m",
        "taskmanager.memory.framework.heap.size": f"{_FRAMEWORK_HEAP_MB}m",
        "taskmanager.memory.task.off-heap.size": f"{sizes.task_off_heap_mb}m",
        "taskmanager.memory.framework.off-heap.size": f"{_FRAMEWORK_OFF_HEAP_MB}m",
        "taskmanager.memory.network.min": f"{sizes.network_mb}m",
        "taskmanager.memory.network.max": f"{sizes.network_mb}m",
        # A bundle's batches leave the reading stage at once. With Flink's ten buffers it would wait, idle,
        # until the next stage had worked through them.
        "taskmanager.network.memory.floating-buffers-per-gate": _FLOATING_BUFFERS,
        "taskmanager.network.memory.max-buffers-per-channel": _FLOATING_BUFFERS,
        "taskmanager.memory.managed.size": "64m",
        "taskmanager.memory.jvm-metaspace.size": f"{sizes.metaspace_mb}m",
        "taskmanager.memory.jvm-overhead.min": "192m",
        "taskmanager.memory.jvm-overhead.max": "192m",
    }


def flink_settings(context: Context) -> dict[str, object]:
    """Return the cluster's configuration (Flink 1.19 documentation, "Configuration")."""
    data = context.layout.data / "flink"
    return {
        "jobmanager.rpc.address": LOOPBACK,
        "jobmanager.rpc.port": context.ports["jobmanager"],
        "jobmanager.bind-host": LOOPBACK,
        # Jobs and where their newest checkpoints are outlive the JobManager
        # (docs/decisions/0005-jobs-outlive-the-jobmanager.md).
        "high-availability.type": "zookeeper",
        "high-availability.zookeeper.quorum": context.address("zookeeper"),
        "high-availability.storageDir": (data / "ha").as_uri(),
        "high-availability.jobmanager.port": str(context.ports["jobmanager"]),
        "high-availability.zookeeper.client.session-timeout": context.sizes.session_ms,
        "high-availability.zookeeper.client.retry-wait": 500,
        # Jobs go on while ZooKeeper is being restarted, as long as their session lasts.
        "high-availability.zookeeper.client.tolerate-suspended-connections": True,
        "taskmanager.host": LOOPBACK,
        "taskmanager.bind-host": LOOPBACK,
        "rest.address": LOOPBACK,
        "rest.bind-address": LOOPBACK,
        "rest.port": context.ports["flink"],
        "rest.bind-port": str(context.ports["flink"]),
        "taskmanager.numberOfTaskSlots": context.sizes.slots,
        "state.backend.type": "hashmap",
        "state.checkpoints.dir": (data / "checkpoints").as_uri(),
        "state.checkpoints.num-retained": 3,
        "state.savepoints.dir": (data / "savepoints").as_uri(),
        # What a stage of an idle job keeps goes into the checkpoint's own file, not one beside it.
        "state.storage.fs.memory-threshold": "64kb",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "web.upload.dir": str(data / "upload"),
        "io.tmp.dirs": str(data / "tmp"),
        # A far side that is down for an hour costs an hour, not the job.
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": "500 ms",
        "restart-strategy.exponential-delay.max-backoff": "5 s",
        "restart-strategy.exponential-delay.backoff-multiplier": 1.5,
        "restart-strategy.exponential-delay.reset-backoff-threshold": "20 s",
        "restart-strategy.exponential-delay.jitter-factor": 0.1,
        # Two heartbeats that cannot be sent tell that a process is gone; one that hangs has the timeout.
        "heartbeat.interval": context.sizes.heartbeat_ms,
        "heartbeat.timeout": 20000,
        # What REST says of a job may be so old: launches wait for it. The dashboard asks as often.
        "web.refresh-interval": 500,
        # Metrics are fetched when they are asked for, and at most so often: an upgrade is judged by them.
        "metrics.fetcher.update-interval": 1000,
    }


class _Flink(Service):
    """Hold what JobManager and TaskManager share: class path, configuration, address."""

    port = "flink"
    scheme = "http://"

    def prepare(self) -> None:
        """Write the configuration, one copy each, since both may start at once."""
        self.data.mkdir(exist_ok=True)
        for name in ("checkpoints", "savepoints", "upload", "tmp", "ha"):
            (self.context.layout.data / "flink" / name).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(flink_settings(self.context), sort_keys=False)
        (self.data / "config.yaml").write_text(text, encoding="utf-8")

    def _java(self, main: str, *, heap_mb: int, options: Sequence[str]) -> list[str | Path]:
        opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
        exported = [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED]
        java = java_command(
            self.context,
            self.name,
            heap_mb=heap_mb,
            options=[*options, *opened, *exported],
            classpath=[package_folder("pyflink") / "lib", self.context.jars.flink_runner],
            main=main,
        )
        return [*java, "--configDir", self.data]

    def _environment(self) -> dict[str, str]:
        return {
            # The harness of this installation, whichever else there is.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "FLINK_PLUGINS_DIR": str(package_folder("pyflink") / "plugins"),
            "TILLSTREAM_SECRETS_DIR": str(self.context.layout.secrets),
            # Of one stack's TaskManagers: what a killed one was at is found by its successor.
            "TILLSTREAM_FLIGHTS_DIR": str(self.context.layout.data / "flights"),
        }

    def _get(self, path: str) -> dict[str, Any]:
        status, answer = request("GET", f"{self.address}{path}")
        if status != _OK:
            raise NotReadyError(f"GET {path} answered {status}")
        return dict(answer)


class JobManager(_Flink):
    """Run the JobManager with its dashboard."""

    name = "jobmanager"
    listens = ("flink", "jobmanager")
    needs = ("zookeeper",)

    def command(self) -> Command:
        """Return the JobManager's command."""
        java = self._java(
            "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
            heap_mb=self.context.sizes.jobmanager_heap_mb,
            options=BRISK,
        )
        return Command(java, self._environment())

    def check(self) -> None:
        """Ask for the cluster's overview."""
        self._get("/overview")


class TaskManager(_Flink):
    """Run the TaskManager, which starts a Python harness for each job."""

    name = "taskmanager"
    needs = ("zookeeper",)

    def prepare(self) -> None:
        """Write the configuration, and give this start a name that no earlier one had."""
        super().prepare()
        # Of the hashes and tokens that take the place of personal data (`privacy.salt`).
        ensure_password(self.context.layout.secrets / "privacy_salt")
        self._id_file.write_text(f"taskmanager-{secrets.token_hex(4)}", encoding="ascii")

    def command(self) -> Command:
        """Return the TaskManager's command."""
        sizes = self.context.sizes
        direct_mb = sizes.task_off_heap_mb + _FRAMEWORK_OFF_HEAP_MB + sizes.network_mb
        java = self._java(
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            heap_mb=sizes.task_heap_mb + _FRAMEWORK_HEAP_MB,
            options=[
                *(BRISK if sizes.are_many else ()),
                f"-XX:MaxDirectMemorySize={direct_mb}m",
                f"-XX:MaxMetaspaceSize={sizes.metaspace_mb}m",
            ],
        )
        memory = _taskmanager_memory(sizes)
        settings = [part for name, value in memory.items() for part in ("-D", f"{name}={value}")]
        identity = ("-D", f"taskmanager.resource-id={self._id_file.read_text(encoding='ascii')}")
        # What was forked for its jobs belongs to it.
        adopt = package_folder("tillstream") / "runners" / "nursery" / "adopt.py"
        adopting: list[str | Path] = [sys.executable, "-I", "-S", adopt]
        return Command([*adopting, *java, *settings, *identity], self._environment())

    def check(self) -> None:
        """See that the JobManager knows this TaskManager, and not just one that was killed before."""
        known = self._get("/taskmanagers")["taskmanagers"]
        name = self._id_file.read_text(encoding="ascii")
        slots = sum(manager["slotsNumber"] for manager in known if manager["id"] == name)
        wanted = self.context.sizes.slots
        if slots < wanted:
            raise NotReadyError(f"the JobManager has {slots} of {wanted} slots of {name}")

    @property
    def _id_file(self) -> Path:
        return self.data / "resource-id"


class SpareTaskManager(TaskManager):
    """Run a second TaskManager, so that jobs need not wait for the first one's restart."""

    name = "taskmanager2"
    is_spare = True
