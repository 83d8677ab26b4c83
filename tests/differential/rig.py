"""Set up what is compared: a local stack, captured tables, and a job that writes them to the warehouse."""

from __future__ import annotations

import random
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg import sql

from tests.differential.compare import Difference, differences
from tests.differential.model import Table, Tables
from tests.differential.reading import letters_of, source_side, warehouse_side
from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import StackError, UnavailableError
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.jobs.history import History
from tillstream.runners.local.capture import Capture, register_debezium
from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import SERVICES, LocalStack
from tillstream.runners.local.toolchain import ensure_jars
from tillstream.runners.verify.faults import FAULTS
from tillstream.runners.verify.rig import Progress, Rig, await_

__all__ = ["RESTARTS", "DifferentialRig"]

# What is ended and started again in between: a part that is killed, or the job by way of a savepoint.
RESTARTS = (
    *("taskmanager", "relaunch", "harness", "source", "jobmanager", "kafka", "connect", "warehouse"),
    "zookeeper",
)
_PARTITIONS = 2
_SESSION = "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres"
_SAVEPOINT_S_MAX = 90.0


class DifferentialRig(Rig):
    """Be the place where source and warehouse are compared.

    Args:
        stack: that it runs on; need not be up.
        client: name of the client, and of the schema on both sides.
        tables: what the generator has made.
        atomicity: of the job's delivery.
    """

    def __init__(self, stack: LocalStack, client: str, tables: Tables, atomicity: str = "row") -> None:
        super().__init__(stack, client, ("postgres",))
        self._atomicity = atomicity
        self._tables = tables
        self._entities: dict[str, dict[str, Any]] = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="restart")
        self._ending: Future[None] | None = None
        self._source: psycopg.Connection[Any] | None = None

    def up(self, progress: Progress) -> None:
        """Start the stack."""
        ports = None if self.stack.layout.state_file.exists() else unusual_ports()
        try:
            self.stack.up(SERVICES, ports=ports, progress=progress)
        except StackError as error:
            # On a busy machine a part gives up before what it needs is there; another try finds that.
            progress(str(error).splitlines()[0])
            self.stack.up(SERVICES, progress=progress)
        self.execute(f"create schema {self.client}")

    def execute(self, *statements: str, commit: bool = True) -> None:
        """Run statements in the source, in one transaction."""
        connection = self._connected()
        with connection.transaction(force_rollback=not commit):
            for statement in statements:
                connection.execute(statement.encode())

    def capture_all(self, progress: Progress) -> None:
        """Capture the tables that there are, and have the job know all that there ever were."""
        for table in self._tables.values():
            self._entities.setdefault(table.name, self._entity(table))
        names = tuple(f"{self.client}.{name}" for name in self._tables)
        tells = {"schemas": True, "transactions": self._atomicity == "transaction"}
        self.capture = Capture(self.client, self.client, names, _PARTITIONS, **tells)
        register_debezium(self.stack, self.client, self.client, names, partitions=_PARTITIONS, **tells)
        progress(f"connector {self.capture.connector} captures {len(names)} tables")

    def launch(self, progress: Progress) -> None:
        """Start the job, or start it anew from a savepoint that stops it."""
        savepoint = None
        if self.job_id:
            savepoint = await_(self._savepoint, "a savepoint", _SAVEPOINT_S_MAX)
        jars = ensure_jars(progress).flink_runner
        history = History(self.client, self.stack.layout.history)
        launched = launch(self.config(), jars, savepoint=savepoint, history=history, progress=progress)
        self.job_id = launched.job_id

    def restart(self, kind: str, dice: random.Random, progress: Progress) -> None:
        """End a part and start it again; what can go on meanwhile does.

        Args:
            kind: one of RESTARTS.
            dice: decides on everything random about it.
            progress: called with a line at each step.
        """
        if kind == "relaunch":
            self.launch(progress)
        elif kind == "source":
            self.stack.kill("source")
            self._disconnect()
            self.stack.up(["source"])
        else:
            self._ending = self._pool.submit(FAULTS[kind](self, dice))

    def whole(self) -> None:
        """Wait until what was ended runs again."""
        ending, self._ending = self._ending, None
        if ending is not None:
            ending.result()

    def difference(self) -> Difference | None:
        """Return the first difference between source and warehouse, if there is one."""
        with self.warehouse() as warehouse:
            warehouse.execute("set TimeZone = 'UTC'")
            source = self._connected()
            sides = {name: source_side(source, self.client, name) for name in self._tables}
            letters = letters_of(warehouse, self.client, {name: key for name, (_, key) in sides.items()})
            for letter in letters:
                if letter.table not in self._entities:
                    return Difference(letter.table or "?", f"dead letter {letter.reason}: {letter.detail}")
            for name, (side, key) in sides.items():
                found = warehouse_side(warehouse, self.client, name, side, key)
                table = self._tables[name]
                for each in differences(
                    name, side, found, letters, table.stray, unavailable=table.loses_values
                ):
                    return each
        return None

    def rows(self) -> int:
        """Return how many rows the source has."""
        connection = self._connected()
        counts = [
            connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(name))).fetchone()
            for name in self._tables
        ]
        return sum(count[0] for count in counts if count is not None)

    def cause(self) -> str:
        """Return why the job failed last, without where in the code."""
        lines = super().cause().splitlines()
        return " ".join(line for line in lines if not line.lstrip().startswith(("at ", "...", "File ")))

    def close(self) -> None:
        """End what was started here; the stack stays as it is."""
        self._disconnect()
        self._pool.shutdown()

    def config(self) -> ClientConfig:
        """Return the client's config."""
        return ClientConfig.model_validate(
            {
                "client": self.client,
                "source": {
                    "kafka": {"bootstrap_servers": self.stack.addresses.kafka, "discovery_interval_s": 1}
                },
                "entities": self._entities,
                "sinks": {"postgres": self._sink("postgres")},
                "delivery": {"atomicity": self._atomicity},
                "schema_evolution": {"columns": "evolve", "types": "evolve"},
                # Two writers, so that the order of each key is not a matter of course.
                "flink": {"rest_url": self.stack.addresses.flink, "parallelism": 2},
            }
        )

    def _entity(self, table: Table) -> dict[str, Any]:
        """Return the config of a table as it is now; what it becomes later, the job has to find out."""
        contract = {name: kind.contract for name, kind in table.key}
        contract |= {"version": "int64"}
        contract |= {column.name: column.kind.contract for column in table.columns}
        return {
            "topic": f"{self.client}.{self.client}.{table.name}",
            **({"keyless": "full_row"} if table.keyless else {"key": table.key_names}),
            "contract": contract,
            "sinks": ["postgres"],
        }

    def _savepoint(self) -> str:
        """Stop the job with a savepoint; between two attempts of the job there is nothing to be saved."""
        if not self.is_running():
            return ""
        try:
            return self.rest.savepoint(self.job_id, stop=True)
        except (JobFailedError, UnavailableError):
            return ""

    def _connected(self) -> psycopg.Connection[Any]:
        if self._source is None:
            options = f"{_SESSION} -c search_path={self.client}"
            dsn = self.stack.addresses.source.dsn()
            self._source = psycopg.connect(dsn, autocommit=True, options=options)
        return self._source

    def _disconnect(self) -> None:
        connection, self._source = self._source, None
        if connection is not None:
            connection.close()

    def host(self) -> str:
        """Return the name of the one TaskManager."""
        return "taskmanager"
