"""Run what was rendered for Kubernetes as its pods would, as processes of this machine.

The containers' commands are those of the operator's standalone mode (CmdStandaloneJobManagerDecorator) and of
Flink's image, the configuration is the rendered one. Other than there, ZooKeeper keeps what ConfigMaps would.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local import flink as local_flink
from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.service import package_folder
from tillstream.runners.local.toolchain import JAVA_FOLDER, ensure_jars, ensure_java

_RESULT = "BASH_JAVA_UTILS_EXEC_RESULT:"
_JAVA_OPTIONS = [
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in local_flink._OPENED),
    *(f"--add-exports={package}=ALL-UNNAMED" for package in local_flink._EXPORTED),
    f"-Dlog4j.configurationFile={(JAVA_FOLDER / 'log4j2.properties').as_uri()}",
]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind((LOOPBACK, 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Application:
    """Be the pods of one FlinkDeployment.

    Args:
        manifests: as rendered.
        folder: for all that they write.
        zookeeper: its address, in place of Kubernetes' ConfigMaps.
        secrets: folder that stands for the mount of the Secrets.
        more: variables of the processes, as of the image or the pods' identity.
    """

    def __init__(
        self,
        manifests: list[dict[str, Any]],
        folder: Path,
        zookeeper: str,
        secrets: Path,
        more: dict[str, str],
    ) -> None:
        by_kind = {each["kind"]: each for each in manifests}
        self.spec = by_kind["FlinkDeployment"]["spec"]
        self._folder, self._secrets, self._more = folder, secrets, more
        self._processes: list[subprocess.Popen[bytes]] = []
        rest, rpc, blob = _free_ports(3)
        self.rest = FlinkRest(f"http://{LOOPBACK}:{rest}")
        home = folder / "flink"
        for name in ("lib", "usrlib", "log", "tmp", "conf"):
            (home / name).mkdir(parents=True, exist_ok=True)
        jar = home / "usrlib" / "job.jar"
        jar.write_bytes(base64.b64decode(by_kind["ConfigMap"]["binaryData"]["job.jar"]))
        self._home = home
        settings = {
            name: value
            for name, value in self.spec["flinkConfiguration"].items()
            if not name.startswith(("kubernetes.", "metrics.reporter."))
        }
        self.settings = settings | {
            # What the operator adds.
            "parallelism.default": self.spec["job"]["parallelism"],
            "pipeline.classpaths": jar.as_uri(),
            "$internal.pipeline.job-id": "0" * 31 + "1",
            "execution.shutdown-on-application-finish": False,
            "taskmanager.memory.process.size": self.spec["taskManager"]["resource"]["memory"],
            # What is another thing on one machine.
            "high-availability.type": "zookeeper",
            "high-availability.zookeeper.quorum": zookeeper,
            "high-availability.cluster-id": f"/{by_kind['FlinkDeployment']['metadata']['name']}",
            "high-availability.zookeeper.client.session-timeout": 3000,
            "high-availability.jobmanager.port": str(rpc),
            "blob.server.port": str(blob),
            "rest.port": rest,
            "rest.bind-port": str(rest),
            "taskmanager.rpc.port": "0",
            "taskmanager.cpu.cores": "1",
            "io.tmp.dirs": str(home / "tmp"),
            "rest.address": LOOPBACK,
            "rest.bind-address": LOOPBACK,
            "jobmanager.bind-host": LOOPBACK,
            "taskmanager.host": LOOPBACK,
            "taskmanager.bind-host": LOOPBACK,
        }
        (home / "conf" / "config.yaml").write_text(yaml.safe_dump(self.settings), encoding="utf-8")

    def start(self) -> None:
        """Start a JobManager and a TaskManager."""
        entry = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
        job = ["--job-classname", self.spec["job"]["entryClass"], "--host", LOOPBACK]
        self._run("jobmanager", ["-Xmx256m"], entry, job)
        options, sizes = self._worker_sizes()
        self._run("taskmanager", options, "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", sizes)

    def kill(self) -> None:
        """End all of its processes at once, as a node that goes away does."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes.clear()

    def log(self) -> str:
        """Return the end of what the processes said."""
        texts = [
            path.read_text(encoding="utf-8", errors="replace")[-6000:]
            for path in sorted((self._home / "log").glob("*"))
        ]
        return "\n".join(texts)

    def _worker_sizes(self) -> tuple[list[str], list[str]]:
        """Return a TaskManager's JVM options and sizes of memory, as Flink's own scripts compute them."""
        main = "org.apache.flink.runtime.util.bash.BashJavaUtils"
        command = self._java("sizes", ["-Xmx64m"], main)
        conf = str(self._home / "conf")
        arguments = ["GET_TM_RESOURCE_PARAMS", "--configDir", conf, "--binDir", conf, "--libDir", conf]
        answer = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, env=self._environment()
        )
        found = [line[len(_RESULT) :] for line in answer.stdout.splitlines() if line.startswith(_RESULT)]
        assert len(found) == 2, answer.stdout + answer.stderr
        return found[0].split(), found[1].split()

    def _run(self, name: str, options: list[str], main: str, arguments: list[str]) -> None:
        command = [*self._java(name, options, main), "--configDir", str(self._home / "conf"), *arguments]
        with (self._home / "log" / f"{name}.out").open("ab") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, env=self._environment(), start_new_session=True
            )
        self._processes.append(process)

    def _java(self, name: str, options: list[str], main: str) -> list[str]:
        flink, runner = package_folder("pyflink"), ensure_jars().flink_runner
        own = f"{flink}/bin/bash-java-utils.jar" if name == "sizes" else f"{runner}/*"
        path = f"{flink}/lib/*:{own}"
        log = f"-Dlog.file={self._home / 'log' / name}.log"
        return [str(ensure_java()), *options, *_JAVA_OPTIONS, log, "-cp", path, main]

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # Flink looks for usrlib beside it.
            "FLINK_LIB_DIR": str(self._home / "lib"),
            "TILLSTREAM_SECRETS_DIR": str(self._secrets),
            "TILLSTREAM_FLIGHTS_DIR": str(self._folder / "flights"),
            **self._more,
        }
