"""Capture the changes of tables of the source database into Kafka with Debezium.

Settings: Debezium 3.3 documentation, "Debezium connector for PostgreSQL", "Connector configuration
properties", and Kafka 4.1 documentation, "Source Connector Configs" for topic creation.

Delivery guarantees: at-least-once. Debezium commits what it has sent of the log every second, so a worker
that is killed sends up to a second of changes again, with the same positions (`source.sequence`, `lsn`).
The slot keeps the log for as long as a connector is down: the source's disk is the bound.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import MissingToolError, StackError, UserError
from tillstream.runners.local.http import request
from tillstream.runners.local.secret_files import ensure_password

if TYPE_CHECKING:
    import psycopg

    from tillstream.runners.local.addresses import Database
    from tillstream.runners.local.stack import LocalStack

__all__ = ["Capture", "connector_config", "register_debezium"]

_ROLE = "debezium"
_PASSWORD_FILE = "debezium_password"  # noqa: S105 - the name of a file
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TABLE = re.compile(r"([a-z_][a-z0-9_]*)\.([a-z_][a-z0-9_]*)")
_OK = 200
_CREATED = 201
_NO_ANSWER = 0
_CONFLICT = 409
_INTERNAL_ERROR = 500
_POLL_S = 0.1
_SHOWN_TRACE_CHARS = 2000


@dataclass(frozen=True)
class Capture:
    """Name what captures one client's tables.

    Attributes:
        client: whose tables they are.
        topic_prefix: a table's topic is `<topic_prefix>.<schema>.<table>`.
        tables: each as `schema.table`.
        partitions: of each topic; fixed when a topic is first written to.
        schemas: whether each message carries its schema, which makes it some ten times as large.
        transactions: whether events name their transaction, and a topic tells of its begin and end.
    """

    client: str
    topic_prefix: str
    tables: tuple[str, ...]
    partitions: int = 1
    schemas: bool = False
    transactions: bool = False

    def __post_init__(self) -> None:
        """Refuse names that would need quoting in Postgres or in a regular expression."""
        if not _NAME.fullmatch(self.client):
            raise UserError(f"found client {self.client!r}, expected the form {_NAME.pattern}")
        wrong = [table for table in self.tables if not _TABLE.fullmatch(table)]
        if wrong or not self.tables:
            raise UserError(f"found tables {wrong}, expected one or more of the form schema.table")

    @property
    def connector(self) -> str:
        """Return the connector's name."""
        return f"{self.client}-source"

    @property
    def slot(self) -> str:
        """Return the name of the replication slot."""
        return f"tillstream_{self.client}"

    @property
    def publication(self) -> str:
        """Return the name of the publication."""
        return f"tillstream_{self.client}"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the tables' topics."""
        return tuple(f"{self.topic_prefix}.{table}" for table in self.tables)


def register_debezium(
    stack: LocalStack,
    client: str = "acme",
    topic_prefix: str = "acme",
    tables: Sequence[str] = (),
    *,
    partitions: int = 1,
    schemas: bool = False,
    transactions: bool = False,
    deadline_s: float = 60.0,
) -> Capture:
    """Capture tables, from a snapshot on; done again, it changes only what is different.

    The tables must exist. The role `debezium` may replicate and read these tables, and nothing else.

    Args:
        stack: a running one.
        client: gives connector, slot and publication their names.
        topic_prefix: what the topics' names start with.
        tables: each as `schema.table`.
        partitions: of topics that do not exist.
        schemas: as of `Capture`.
        transactions: as of `Capture`.
        deadline_s: how long the connector may take to run, in seconds.

    Raises:
        StackError: if Connect or the source refuses, or the connector does not run in time.
        UserError: for a name that has not the right form.
    """
    capture = Capture(
        client, topic_prefix, tuple(tables), partitions, schemas=schemas, transactions=transactions
    )
    password = ensure_password(stack.layout.secrets / _PASSWORD_FILE)
    _admit(stack.addresses.source, capture, password)
    _create_topics(stack.addresses.kafka, capture)
    secret = f"${{directory:{stack.layout.secrets}:{_PASSWORD_FILE}}}"
    config = connector_config(capture, stack.addresses.source, secret)
    _Connector(stack.addresses.connect, capture.connector, deadline_s).put(config)
    return capture


def connector_config(capture: Capture, source: Database, password: str) -> dict[str, str]:
    """Return the connector's configuration.

    Args:
        capture: what is captured.
        source: the database.
        password: of the role, as a reference that Connect resolves.
    """
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": source.host,
        "database.port": str(source.port),
        "database.dbname": source.database,
        "database.user": _ROLE,
        "database.password": password,
        "plugin.name": "pgoutput",
        "slot.name": capture.slot,
        # An administrator made the publication, so that the role need not own tables.
        "publication.name": capture.publication,
        "publication.autocreate.mode": "disabled",
        "topic.prefix": capture.topic_prefix,
        "table.include.list": ",".join(table.replace(".", r"\.") for table in capture.tables),
        "snapshot.mode": "initial",
        "tombstones.on.delete": "true",
        # By default truncates are left out.
        "skipped.operations": "none",
        # Exact numbers and readable times; the defaults are bytes and counts of units.
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": str(capture.schemas).lower(),
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": str(capture.schemas).lower(),
        "provide.transaction.metadata": str(capture.transactions).lower(),
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": str(capture.partitions),
        # A tenth of the default: how long a change may wait in the connector.
        "poll.interval.ms": "50",
        "status.update.interval.ms": "1000",
        # A killed connector holds its slot until Postgres notices.
        "slot.retry.delay.ms": "1000",
        "slot.max.retries": "120",
        "errors.max.retries": "-1",
        "retriable.restart.connector.wait.ms": "2000",
    }


def _admit(source: Database, capture: Capture, password: str) -> None:
    """Create role, grants and publication, as the source's administrator."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingToolError("found no psycopg: pip install 'tillstream[local]'") from error
    try:
        with psycopg.connect(source.dsn(), autocommit=True) as connection, connection.transaction():
            _create(connection, source.database, capture, password)
    except psycopg.Error as error:
        raise StackError(
            f"the source at {source.host}:{source.port} could not be prepared for capture: {error}"
        ) from error


def _create(connection: psycopg.Connection, database: str, capture: Capture, password: str) -> None:
    from psycopg import sql

    role = sql.Identifier(_ROLE)
    tables = [sql.Identifier(*table.split(".")) for table in capture.tables]
    schemas = sorted({table.split(".")[0] for table in capture.tables})
    publication = sql.Identifier(capture.publication)
    exists = connection.execute("select 1 from pg_roles where rolname = %s", (_ROLE,)).fetchone()
    verb = sql.SQL("alter" if exists else "create")
    statements = [
        sql.SQL("{} role {} login replication password {}").format(verb, role, sql.Literal(password)),
        sql.SQL("grant connect on database {} to {}").format(sql.Identifier(database), role),
        *(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(name), role) for name in schemas),
        sql.SQL("grant select on {} to {}").format(sql.SQL(", ").join(tables), role),
    ]
    published = connection.execute(
        "select 1 from pg_publication where pubname = %s", (capture.publication,)
    ).fetchone()
    clause = sql.SQL(
        "alter publication {} set table {}" if published else "create publication {} for table {}"
    )
    statements.append(clause.format(publication, sql.SQL(", ").join(tables)))
    for statement in statements:
        connection.execute(statement)


def _create_topics(bootstrap: str, capture: Capture) -> None:
    """Create the topics, so that a job finds also those of tables without a row."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    new = [
        NewTopic(topic, num_partitions=capture.partitions, replication_factor=1) for topic in capture.topics
    ]
    for topic, future in admin.create_topics(new).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackError(
                    f"kafka at {bootstrap} refuses topic {topic}: {error.args[0].str()}"
                ) from error


class _Connector:
    """Put one connector into Connect (Kafka 4.1 documentation, "REST API")."""

    def __init__(self, connect: str, name: str, deadline_s: float) -> None:
        self._url = f"{connect}/connectors/{name}"
        self._end_s = time.monotonic() + deadline_s
        self._deadline_s = deadline_s

    def put(self, config: dict[str, str]) -> None:
        """Create or change it and wait until it and its task run.

        Connect restarts a connector also for the configuration that it has, amid a snapshot if need be.
        """
        status, kept = self._request("GET", "/config")
        while status != _OK or {**kept, "name": None} != {**config, "name": None}:
            status, answer = self._request("PUT", "/config", config)
            if status in {_OK, _CREATED}:
                break
            # While workers form their group, or start, they ask to try again.
            if status not in {_NO_ANSWER, _CONFLICT} and status < _INTERNAL_ERROR:
                message = answer.get("message") if isinstance(answer, dict) else answer
                raise StackError(f"connect refuses {self._url}: {message}")
            self._pause(f"answered {status}")
        while not self._runs():
            self._pause("it does not run yet")

    def _runs(self) -> bool:
        status, answer = self._request("GET", "/status")
        if status != _OK:
            return False
        parts: list[dict[str, Any]] = [answer["connector"], *answer["tasks"]]
        for part in parts:
            if part["state"] == "FAILED":
                trace = str(part.get("trace", ""))[:_SHOWN_TRACE_CHARS]
                raise StackError(f"connector {self._url} failed: {trace}")
        return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts)

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        try:
            return request(method, self._url + path, body, timeout_s=30.0)
        except OSError as error:
            self._pause(str(error))
            return _NO_ANSWER, None

    def _pause(self, problem: str) -> None:
        if time.monotonic() > self._end_s:
            raise StackError(
                f"connector {self._url} does not run after {self._deadline_s:.0f} s: {problem}; see the log "
                f"of connect"
            )
        time.sleep(_POLL_S)
