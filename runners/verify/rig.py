"""Set up what is verified: a local stack, captured tables, and one client's job with its sinks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import StackError, TillstreamError
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import ENDED, FlinkRest
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.rescale import rescale_job
from tillstream.runners.local.capture import Capture, register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import SERVICES, LocalStack
from tillstream.runners.local.toolchain import ensure_jars
from tillstream.runners.nursery.forked import forked
from tillstream.runners.verify.sinks import FilesReader, KafkaReader, PostgresReader, Reader
from tillstream.runners.verify.workload import TABLES

__all__ = ["SINKS", "Rig", "await_", "each"]

Progress = Callable[[str], None]

SINKS = ("postgres", "kafka", "files")
SPARE = "taskmanager2"
_PARTITIONS = 2
_RUNNING_S_MAX = 90.0
_POLL_S = 0.1
_CAUSE_CHARS = 2_000


class Rig:
    """Be the place where one run is verified.

    Args:
        stack: that it runs on; need not be up.
        client: name of the client; one run uses one.
        sinks: kinds of the sinks.
        flink: settings of the job beside its parallelism, as the config has them.
    """

    def __init__(self, stack: LocalStack, client: str, sinks: Sequence[str], **flink: Any) -> None:
        self.stack = stack
        self.client = client
        self.sinks = tuple(sinks)
        self.flink = flink
        self.capture = Capture(client, client, tuple(f"{client}.{table.name}" for table in TABLES))
        self.job_id = ""

    def up(self, progress: Progress) -> None:
        """Start the stack and its spare TaskManager."""
        # Not the ports that people's own stacks ask for first.
        ports = None if self.stack.layout.state_file.exists() else unusual_ports()
        self.stack.up([*SERVICES, SPARE], ports=ports, progress=progress)

    def create_tables(self, connection: psycopg.Connection[Any]) -> None:
        """Create the source's tables."""
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(self.client)))
        for table in TABLES:
            parts: list[sql.Composable] = [
                # Definitions are constants, hence SQL.
                sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
                for name, kind in table.columns.items()
            ]
            key = sql.SQL(", ").join(map(sql.Identifier, table.key))
            parts.append(sql.SQL("primary key ({})").format(key))
            connection.execute(
                sql.SQL("create table {} ({})").format(
                    sql.Identifier(self.client, table.name), sql.SQL(", ").join(parts)
                )
            )

    def launch(self, progress: Progress) -> None:
        """Start the connector and the job."""
        register_debezium(self.stack, self.client, self.client, self.capture.tables, partitions=_PARTITIONS)
        progress(f"connector {self.capture.connector} captures {len(TABLES)} tables")
        if "files" in self.sinks:
            self.kept_files.mkdir(parents=True)
            self.files.symlink_to(self.kept_files)
        jars = ensure_jars(progress).flink_runner
        self.job_id = launch(
            self.config(), jars, history=History(self.client, self.stack.layout.history), progress=progress
        ).job_id
        progress(f"job {self.client} runs: {self.stack.addresses.flink}/#/job/running/{self.job_id}")

    @property
    def rest(self) -> FlinkRest:
        """Return the cluster's REST interface."""
        return FlinkRest(self.stack.addresses.flink)

    def source(self) -> psycopg.Connection[Any]:
        """Connect to the source, in autocommit mode."""
        return psycopg.connect(self.stack.addresses.source.dsn(), autocommit=True)

    def warehouse(self) -> psycopg.Connection[Any]:
        """Connect to the warehouse, in autocommit mode."""
        return psycopg.connect(self.stack.addresses.warehouse.dsn(), autocommit=True, connect_timeout=5)

    def readers(self) -> list[Reader]:
        """Return a reader for each sink."""
        return [self._reader(kind) for kind in self.sinks]

    def _reader(self, kind: str) -> Reader:
        if kind == "files":
            return FilesReader(self.kept_files)
        if kind == "kafka":
            return KafkaReader(self.stack.addresses.kafka, self._prefix)
        return PostgresReader(self.stack.addresses.warehouse, self.client)

    @property
    def _prefix(self) -> str:
        """Return what the Kafka sink's topics begin with."""
        return f"{self.client}-out"

    @property
    def files(self) -> Path:
        """Return the path of the files sink: a link, which can be put elsewhere in one step."""
        return self.kept_files.with_name("files")

    @property
    def kept_files(self) -> Path:
        """Return the folder that the files sink's path leads to."""
        return self.stack.layout.data / "verify" / self.client / "kept"

    def config(self) -> ClientConfig:
        """Return the client's config."""
        entities = {
            table.name: {
                "topic": topic,
                "key": list(table.key),
                "contract": table.contract,
                "sinks": list(self.sinks),
            }
            for table, topic in zip(TABLES, self.capture.topics, strict=True)
        }
        return ClientConfig.model_validate(
            {
                "client": self.client,
                "source": {
                    "kafka": {"bootstrap_servers": self.stack.addresses.kafka, "discovery_interval_s": 1}
                },
                "entities": entities,
                "sinks": {kind: self._sink(kind) for kind in self.sinks},
                # Two writers, so that the order of each key is not a matter of course.
                "flink": {"rest_url": self.stack.addresses.flink, "parallelism": 2, **self.flink},
            }
        )

    def _sink(self, kind: str) -> dict[str, Any]:
        if kind == "files":
            return {"type": "files", "path": str(self.files)}
        if kind == "kafka":
            servers = self.stack.addresses.kafka
            return {"type": "kafka", "bootstrap_servers": servers, "topic_prefix": self._prefix}
        return self.stack.addresses.warehouse.as_sink()

    @property
    def parallelism(self) -> int:
        """Return how many subtasks each stage of the job has."""
        info = self.rest.info(self.job_id)
        assert info is not None  # this launched it
        return info.launch.parallelism

    def rescale(self, parallelism: int) -> None:
        """Run the job with another parallelism.

        Raises:
            TillstreamError: if it does not; StackError if it runs as before.
        """
        job = ClientJob(self.config(), history=History(self.client, self.stack.layout.history))
        done = rescale_job(job, parallelism, _RUNNING_S_MAX)
        self.job_id = done.facts["job_id"]
        if not done.is_good:
            raise StackError(f"rescale to {parallelism}: {done.outcome}: {done.detail}")

    def problem(self) -> str:
        """Return why the job is over, or an empty string while it goes on or the cluster is away."""
        try:
            state = self.rest.job(self.job_id)["state"]
        except TillstreamError:
            return ""
        return f"job {self.client} is {state}" if state in ENDED else ""

    def cause(self) -> str:
        """Return why the job failed last, if it did and the cluster says."""
        try:
            return self.rest.root_cause(self.job_id)[-_CAUSE_CHARS:]
        except TillstreamError as error:
            return str(error)

    def is_running(self) -> bool:
        """Say whether every task of the job runs."""
        try:
            job = self.rest.job(self.job_id)
        except TillstreamError:
            return False
        return job["state"] == "RUNNING" and all(each["status"] == "RUNNING" for each in job["vertices"])

    def host(self) -> str:
        """Return the name of the TaskManager part that runs the sinks' stage.

        Raises:
            StackError: if no TaskManager does.
        """
        job = self.rest.job(self.job_id)
        # Later stages come later, and the last ones write.
        found = self.rest.task_managers(self.job_id, job["vertices"][-1]["id"])
        for part in ("taskmanager", SPARE):
            if (self.stack.layout.data / part / "resource-id").read_text(encoding="ascii") in found:
                return part
        raise StackError(f"no TaskManager runs job {self.job_id}: found {json.dumps(sorted(found))}")

    def running_host(self) -> str:
        """Return the TaskManager that runs the job, as soon as one does.

        Raises:
            StackError: if none does in time.
        """

        def find() -> str:
            try:
                return self.host() if self.is_running() else ""
            except TillstreamError:
                return ""

        return str(await_(find, "a TaskManager that runs the job", _RUNNING_S_MAX))

    def process(self, part: str) -> psutil.Process:
        """Return the process of a part.

        Raises:
            StackError: if it does not run.
        """
        pid = next((each.pid for each in self.stack.ps() if each.service == part), None)
        if pid is None:
            raise StackError(f"{part} does not run: see 'tillstream ps'")
        return psutil.Process(pid)

    def harnesses(self, part: str) -> list[psutil.Process]:
        """Return the Python processes of a TaskManager."""
        return forked(self.process(part))


def await_(condition: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
    """Return the condition's value as soon as it is true.

    Raises:
        StackError: if it is not in time.
    """
    end_s = time.monotonic() + deadline_s
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise StackError(f"waited {deadline_s:.0f} s for {what}: see 'tillstream ps' and the logs")
        time.sleep(_POLL_S)
    return found


def each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], Any]) -> None:
    """Do something to each process that is still there."""
    for process in processes:
        try:
            do(process)
        except psutil.NoSuchProcess:
            continue
