"""Say what captures one client's tables, and where that is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["Capture", "Login", "Place", "capture_of", "place_of"]

_NAME = re.compile(forms.CLIENT)
_TABLE = re.compile(forms.TABLE)
_SECRETS = "/run/secrets"


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
        role_name: of the role that Connect logs in as; empty for one of the client's own.
        replication_factor: of topics that are made; None for the cluster's.
        heartbeat_interval_s: how often a message is written into the database's log, in seconds.
        chunk_rows: that an incremental snapshot reads at a time.
        insert_only: those of the tables that are only ever inserted into, and so need no key.
        replay_topic: through which a running job is told of a resync; empty for the client's usual one.
        settings: further properties of the connector, which win.
    """

    client: str
    topic_prefix: str
    tables: tuple[str, ...]
    partitions: int = 1
    schemas: bool = False
    transactions: bool = False
    role_name: str = ""
    replication_factor: int | None = None
    heartbeat_interval_s: int = 10
    chunk_rows: int = 4096
    insert_only: tuple[str, ...] = ()
    replay_topic: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

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
    def role(self) -> str:
        """Return the name of the role that Connect logs in as."""
        return self.role_name or f"tillstream_{self.client}"

    @property
    def topics(self) -> tuple[str, ...]:
        """Return the tables' topics."""
        return tuple(f"{self.topic_prefix}.{table}" for table in self.tables)

    @property
    def signals_topic(self) -> str:
        """Return the topic through which the connector is asked for snapshots; it has one partition."""
        return f"tillstream.{self.client}.signals"

    @property
    def notifications_topic(self) -> str:
        """Return the topic in which the connector tells how far its snapshots are."""
        return f"tillstream.{self.client}.notifications"

    @property
    def messages_topic(self) -> str:
        """Return the topic of messages in the database's log (Debezium, "Message events")."""
        return f"{self.topic_prefix}.message"

    @property
    def own_topics(self) -> tuple[str, ...]:
        """Return the topics of which one partition is enough, or must be."""
        replays = self.replay_topic or f"tillstream.{self.client}.replay"
        # In one partition transactions come in the order of commits.
        transactions = (f"{self.topic_prefix}.transaction",) if self.transactions else ()
        return self.signals_topic, self.notifications_topic, self.messages_topic, replays, *transactions

    @property
    def heartbeat_topic(self) -> str:
        """Return the topic of the connector's heartbeats."""
        return f"__debezium-heartbeat.{self.topic_prefix}"

    @property
    def signals_group(self) -> str:
        """Return the consumer group in which the connector notes which signals it has read."""
        return f"tillstream-{self.client}-signals"


@dataclass(frozen=True)
class Login:
    """Say how an administrator reaches the database; holds a secret, so it is never printed.

    Attributes:
        host: of the server.
        port: of the server.
        database: its name.
        user: the role.
        password: its password, or None.
        sslmode: as of libpq.
    """

    host: str
    port: int
    database: str
    user: str
    password: str | None = field(repr=False)
    sslmode: str = "prefer"

    def as_role(self, user: str, password: str) -> Login:
        """Return the way in for another role."""
        return Login(self.host, self.port, self.database, user, password, self.sslmode)

    def arguments(self) -> dict[str, Any]:
        """Return psycopg's arguments."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
            "password": self.password,
            "sslmode": self.sslmode,
            "connect_timeout": 10,
            "application_name": "tillstream capture",
        }


@dataclass(frozen=True)
class Place:
    """Say where a capture is.

    Attributes:
        login: to the captured database.
        connect_url: of Kafka Connect's REST interface.
        connect_login: user and password for it, or None.
        kafka: librdkafka's settings of the cluster.
        connect_bootstrap: the brokers as Connect reaches them.
        password_file: holds the password of the capture's role.
        password_reference: to that file, as Connect resolves it.
        slot_alert_bytes: log kept for the slot that is an alert.
        slot_max_bytes: log kept for the slot at which it is given up.
        caps_server: whether a missing cap of the server is set.
    """

    login: Login
    connect_url: str
    connect_login: tuple[str, str] | None = field(repr=False)
    kafka: Mapping[str, Any] = field(repr=False)
    connect_bootstrap: str
    password_file: Path
    password_reference: str
    slot_alert_bytes: int = 1024 << 20
    slot_max_bytes: int = 8192 << 20
    caps_server: bool = False


def capture_of(config: ClientConfig) -> Capture:
    """Return what a client's config says of its capture.

    Raises:
        UserError: if it has no such section, or no table to capture.
    """
    from tillstream.configs.capture_checks import prefix_and_table

    model = config.capture
    if model is None:
        raise UserError(
            f"client {config.client}: found no 'capture' in its config, expected host, database and "
            "admin_user under it: see docs/capture.md"
        )
    found = [each for topic in config.topics if (each := prefix_and_table(topic)) is not None]
    if not found:
        raise UserError(
            f"client {config.client}: found no entity with a topic, expected <prefix>.<schema>.<table>: "
            "it tells the table"
        )
    tables = model.tables or [table for _, table in found]
    appended = [
        prefix_and_table(each.topic or "") for each in config.entities.values() if each.keyless == "append"
    ]
    return Capture(
        config.client,
        found[0][0],
        tuple(dict.fromkeys(tables)),
        partitions=model.partitions,
        schemas=model.schemas,
        # They tell equal rows of one COPY apart.
        transactions=model.transactions or any(each.keyless for each in config.entities.values()),
        role_name=model.role or "",
        replication_factor=model.replication_factor,
        heartbeat_interval_s=model.heartbeat_interval_s,
        chunk_rows=model.incremental_chunk_rows,
        insert_only=tuple(each[1] for each in appended if each is not None),
        replay_topic=config.replay_topic,
        settings=model.connector,
    )


def place_of(config: ClientConfig) -> Place:
    """Return where a client's capture is, with secrets resolved; raises UserError where one is missing."""
    from tillstream.configs.loader import default_environment
    from tillstream.configs.secrets import SECRETS_DIR_VARIABLE
    from tillstream.io.kafka_client import connection_settings

    model = config.capture
    if model is None:
        raise UserError(f"client {config.client}: found no 'capture' in its config")
    client = config.client
    password = None if model.admin_password is None else model.admin_password.resolve(client)
    connect_login = None
    if model.connect_user is not None:
        secret = "" if model.connect_password is None else model.connect_password.resolve(client)
        connect_login = (model.connect_user, secret)
    folder = default_environment().get(SECRETS_DIR_VARIABLE) or _SECRETS
    file = Path(model.role_password_file or f"{folder}/capture_{client}_password")
    return Place(
        Login(model.host, model.port, model.database, model.admin_user, password, model.sslmode),
        model.connect_url.rstrip("/"),
        connect_login,
        connection_settings(config.kafka, client),
        model.connect_bootstrap_servers or config.kafka.bootstrap_servers,
        file,
        f"${{{model.connect_secrets_provider}:{model.connect_secrets_dir or file.parent}:{file.name}}}",
        model.slot_lag_mb_alert << 20,
        model.slot_lag_mb_max << 20,
        model.cap_server_slots,
    )
