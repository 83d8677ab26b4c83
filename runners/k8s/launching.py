"""Make a template into what the chart is given: the jar of one launch, and what a cluster must know of it."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import ClientConfig, FilesSink
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.launch import parameters_of
from tillstream.runners.flink.template import ENTRY_CLASS, launchable, read_manifest
from tillstream.runners.k8s.names import resource_of
from tillstream.runners.k8s.placing import place
from tillstream.runners.k8s.reach import endpoints_of

__all__ = ["ClusterLaunch"]

# Of all that is in a ConfigMap, by Kubernetes; its base64 does not count.
_CONFIG_MAP_BYTES_MAX = 1_000_000


@dataclass(frozen=True)
class ClusterLaunch:
    """Hold one launch of a client's job on Kubernetes.

    Attributes:
        config: the client's, as it is wanted; its addresses are those that pods reach.
        template: as `jar.write_jar` writes it.
        generation: of the launch, milliseconds since 1970 UTC.
        namespace: of the client.
        savepoint: path of the savepoint to start from; None for the newest checkpoint.
        suspended: keep state and position, and do not run.
        drops_state: let go state that no stage asks for, and go on from a savepoint, which allows for that.
    """

    config: ClientConfig
    template: Path
    generation: int
    namespace: str
    savepoint: str | None = None
    suspended: bool = False
    drops_state: bool = False

    def at(self, generation: int) -> ClusterLaunch:
        """Return the same launch as of another generation."""
        return replace(self, generation=generation)

    def digest(self) -> str:
        """Return twelve hexadecimal digits that change with anything but the time of the launch."""
        content = read_manifest(self.template).encode() + self.at(0).parameters().encode().encode()
        return hashlib.sha256(content).hexdigest()[:12]

    def values(self) -> dict[str, Any]:
        """Return what the chart needs to know of the client and of its job.

        Raises:
            UserError: if an address is one that pods do not reach, the job ends by itself, the template is
                another client's, or the jar is too large.
        """
        config, placed, parameters = self._wanted(), place(self.config), self.parameters()
        jar, flink = self._jar(parameters), config.flink
        size = len(jar) + sum(len(base64.b64decode(each)) for each in placed.files.values())
        if size > _CONFIG_MAP_BYTES_MAX:
            raise UserError(
                f"{self.template}: found a job of {size // 1000} kB, expected at most "
                f"{_CONFIG_MAP_BYTES_MAX // 1000}, which fit into a ConfigMap: put large modules "
                "into the image"
            )
        return {
            "client": {
                "name": config.client,
                "resource": resource_of(config.client),
                "secrets": sorted(placed.secrets),
                "endpoints": [asdict(each) | {"ports": list(each.ports)} for each in endpoints_of(config)],
                "folders": [
                    {"sink": name, "path": sink.path}
                    for name, sink in config.sinks.items()
                    if isinstance(sink, FilesSink)
                ],
            },
            "job": {
                "jar": base64.b64encode(jar).decode(),
                # The generation too: what an older FlinkDeployment refers to must not change.
                "digest": f"{self.digest()}-{self.generation:x}",
                "generation": self.generation,
                "entryClass": ENTRY_CLASS,
                "parallelism": parameters.parallelism,
                "processes": flink.processes,
                "memoryMb": flink.memory_mb_max or 0,
                "rocksdbMemoryMb": flink.rocksdb_memory_mb if flink.state_backend == "rocksdb" else 0,
                "files": placed.files,
                "savepoint": self.savepoint or "",
                "dropsState": self.drops_state,
                "state": "suspended" if self.suspended else "running",
            },
        }

    def parameters(self) -> LaunchParameters:
        """Return what the launch fixes, with all in the places where a pod has it.

        Raises:
            UserError: as `values` does.
        """
        config, built = self._wanted(), read_manifest(self.template).model()
        if built.client != config.client:
            raise UserError(
                f"{self.template}: found a template of client {built.client}, expected one of {config.client}"
            )
        found = parameters_of(built, config, self.generation)
        # Where secrets lie shapes no stage, so it is open everywhere.
        return msgspec.structs.replace(found, overrides=found.overrides | place(config).overrides)

    def _wanted(self) -> ClientConfig:
        config = self.config
        if config.source.kafka is None:
            raise UserError(
                f"client {config.client}: found source.files, expected source.kafka: on Kubernetes a job "
                "runs until it is stopped; read files with 'tillstream run'"
            )
        # `latest` means the time of the launch, whenever this is rendered.
        start = dt.datetime.fromtimestamp(self.generation / 1000, dt.timezone.utc)
        source = config.source.model_copy(update={"kafka": config.source.kafka.starting_at(start)})
        rest_url = f"http://{resource_of(config.client)}-rest.{self.namespace}:8081"
        flink = config.flink.model_copy(update={"rest_url": rest_url})
        return config.model_copy(update={"source": source, "flink": flink})

    def _jar(self, parameters: LaunchParameters) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            jar = Path(folder, "job.jar")
            launchable(self.template, jar, parameters)
            return jar.read_bytes()
