"""A local stack for the tests of jobs, and a client whose topics they fill."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tillstream.configs import ClientConfig
from tillstream.runners.flink.launch import launch
from tillstream.runners.flink.rest import FlinkRest
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.local.toolchain import ensure_jars

_WAIT_S = 90.0
_LOG_LINES = 20


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = _WAIT_S) -> Any:
    """Return the condition's value as soon as it is true.

    Raises:
        AssertionError: if it never is within the deadline.
    """
    end_s = time.monotonic() + deadline_s
    while time.monotonic() < end_s:
        found = condition()
        if found:
            return found
        # Yields the processor between looks; what is waited for is the condition, not this.
        _pause()
    raise AssertionError(f"{what}: not within {deadline_s:.0f} s")


def _pause() -> None:
    import threading

    threading.Event().wait(0.1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a local stack that is up, and take it down afterwards."""
    local = LocalStack.open(tmp_path_factory.mktemp("jobs") / "stack")
    # A secret in the TaskManager's environment that no config names.
    os.environ["OTHERS_PASSWORD"] = "theirs"
    try:
        local.up(["warehouse", "kafka", "jobmanager", "taskmanager"])
        yield local
    finally:
        del os.environ["OTHERS_PASSWORD"]
        local.down(wipe=True)


def change(key: int, amount: str, offset: int, op: str = "u") -> bytes:
    """Return an envelope as Debezium's Postgres connector writes it."""
    row = {"id": key, "amount": amount}
    source = {"connector": "postgresql", "name": "t", "schema": "public", "table": "sales", "lsn": offset}
    source |= {"ts_ms": 1_700_000_000_000 + offset, "sequence": f'["{offset}","{offset}"]'}
    after = None if op == "d" else row
    before = row if op == "d" else None
    return json.dumps({"op": op, "before": before, "after": after, "source": source}).encode()


class Client:
    """Be one client of the stack: its topic, its job, its rows.

    Args:
        stack: where everything runs.
        name: of the client; tests use one each.
    """

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.topic = f"{name}.public.sales"
        self.rest = FlinkRest(stack.addresses.flink)
        self.producer = Producer({"bootstrap.servers": stack.addresses.kafka})

    def config(self, *, kafka: dict[str, Any] | None = None, **changes: Any) -> ClientConfig:
        """Return the client's config."""
        warehouse = self.stack.addresses.warehouse
        model = {
            "client": self.name,
            "source": {
                "kafka": {
                    "bootstrap_servers": self.stack.addresses.kafka,
                    "discovery_interval_s": 1,
                    **(kafka or {}),
                }
            },
            "entities": {
                "sales": {
                    "topic": self.topic,
                    "key": ["id"],
                    "contract": {"id": "int64", "amount": "decimal(12,2)"},
                    "sinks": ["warehouse"],
                }
            },
            "sinks": {"warehouse": warehouse.as_sink()},
            "flink": {"rest_url": self.stack.addresses.flink},
            **changes,
        }
        return ClientConfig.model_validate(model)

    def create_topic(self, partitions: int = 2) -> None:
        """Make the topic before anything is written to it."""
        admin = AdminClient({"bootstrap.servers": self.stack.addresses.kafka})
        for future in admin.create_topics([NewTopic(self.topic, partitions, 1)]).values():
            future.result()

    def produce(self, values: Any, topic: str | None = None) -> None:
        """Write (key, value) pairs and wait until the broker has them."""
        for key, value in values:
            self.producer.produce(topic or self.topic, value, key=key)
        assert self.producer.flush(60) == 0

    def sales(self, first: int, count: int, amount: str = "1.00") -> None:
        """Write one change for each of a range of keys."""
        self.produce((b'{"id":%d}' % key, change(key, amount, key)) for key in range(first, first + count))

    def launch(self, *, savepoint: str | None = None, **arguments: Any) -> str:
        """Launch the job, from a savepoint where one is given, and return its id."""
        return launch(self.config(**arguments), ensure_jars().flink_runner, savepoint=savepoint).job_id

    def savepoint(self, job_id: str) -> str:
        """Stop a job with a savepoint and return its path."""
        return self.rest.savepoint(job_id, stop=True)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return what a query of the warehouse finds; nothing while there is no such table yet."""
        with psycopg.connect(self.stack.addresses.warehouse.dsn(), autocommit=True) as connection:
            connection.execute(f"set search_path to {self.name}".encode())
            try:
                return connection.execute(statement.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def execute(self, statements: str) -> None:
        """Run statements in the client's schema of the warehouse."""
        with psycopg.connect(self.stack.addresses.warehouse.dsn(), autocommit=True) as connection:
            connection.execute(f"set search_path to {self.name}".encode())
            connection.execute(statements.encode())

    def rows(self) -> int:
        """Return how many rows the warehouse shows."""
        found = self.query("select count(*) from sales")
        return int(found[0][0]) if found else 0

    def describe(self) -> str:
        """Return what is known of this client's jobs, for whoever reads of a failure."""
        known = []
        for job in self.rest.jobs():
            if job["name"] == self.name:
                known.append(f"{job['state']} {self.rest.root_cause(job['jid'])}")
                known.append(json.dumps(self.rest.checkpoints(job["jid"]).get("counts")))
        log = self.stack.layout.log("taskmanager").read_text(encoding="utf-8", errors="replace")
        # Hundreds of lines say that all goes well, and would hide what the test says.
        wrong = [line for line in log.splitlines() if " INFO " not in line]
        return "\n".join([*known, *wrong[-_LOG_LINES:]])

    def cancel(self) -> None:
        """End every job of this client."""
        for job_id in self.rest.running(self.name):
            self.rest.cancel(job_id)


@pytest.fixture
def client(stack: LocalStack, request: pytest.FixtureRequest) -> Iterator[Client]:
    """Return a client of this test's own, and end its jobs afterwards."""
    number = zlib.crc32(request.node.name.encode())
    found = Client(stack, f"t{number:08x}")
    try:
        yield found
    finally:
        # Shown where the test has failed.
        print(found.describe())  # noqa: T201
        found.cancel()


@pytest.fixture
def runner_jars() -> Path:
    """Return the folder of the Flink runner's jars."""
    return ensure_jars().flink_runner
