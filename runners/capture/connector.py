"""Configure the Debezium connector.

Settings: Debezium 3.3 documentation, "Debezium connector for PostgreSQL", "Connector configuration
properties", "Sending signals to a Debezium connector", "Receiving Debezium notifications", and Kafka 4.1
documentation, "Source Connector Configs" for topic creation.

Delivery guarantees: at-least-once. Debezium commits what it has sent of the log every second, so a worker
that is killed sends up to a second of changes again, with the same positions (`source.sequence`, `lsn`).
The slot keeps the log for as long as a connector is down: the source's disk is the bound, unless the server
caps it (`max_slot_wal_keep_size`).
"""

from __future__ import annotations

from tillstream.runners.capture.spec import Capture, Place

__all__ = ["HEARTBEAT_PREFIX", "connector_config"]

# Of messages in the log that nobody reads: they only move the slot on.
HEARTBEAT_PREFIX = "tillstream.heartbeat"
_JSON = "org.apache.kafka.connect.json.JsonConverter"
# The cluster's own default.
_ANY_REPLICATION = -1


def connector_config(capture: Capture, place: Place) -> dict[str, str]:
    """Return the connector's configuration.

    Args:
        capture: what is captured.
        place: where; of the password only the reference is used.
    """
    login = place.login
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": login.host,
        "database.port": str(login.port),
        "database.dbname": login.database,
        "database.sslmode": login.sslmode,
        "database.user": capture.role,
        "database.password": place.password_reference,
        "plugin.name": "pgoutput",
        "slot.name": capture.slot,
        # An administrator made the publication, so that the role need not own tables.
        "publication.name": capture.publication,
        "publication.autocreate.mode": "disabled",
        "topic.prefix": capture.topic_prefix,
        "table.include.list": ",".join(table.replace(".", r"\.") for table in sorted(capture.tables)),
        "snapshot.mode": "initial",
        "tombstones.on.delete": "true",
        # By default truncates are left out.
        "skipped.operations": "none",
        # Exact numbers and readable times; the defaults are bytes and counts of units.
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "interval.handling.mode": "string",
        # So that schemas say how many digits a decimal has.
        **({"column.propagate.source.type": ".*"} if capture.schemas else {}),
        "key.converter": _JSON,
        "key.converter.schemas.enable": str(capture.schemas).lower(),
        "value.converter": _JSON,
        "value.converter.schemas.enable": str(capture.schemas).lower(),
        # Else a null in a column that has a default comes as that default (KIP-581).
        "value.converter.replace.null.with.default": "false",
        "provide.transaction.metadata": str(capture.transactions).lower(),
        "topic.creation.default.replication.factor": str(capture.replication_factor or _ANY_REPLICATION),
        "topic.creation.default.partitions": str(capture.partitions),
        # A tenth of the default: how long a change may wait in the connector.
        "poll.interval.ms": "50",
        "status.update.interval.ms": "1000",
        # A killed connector holds its slot until Postgres notices.
        "slot.retry.delay.ms": "1000",
        "slot.max.retries": "120",
        "errors.max.retries": "-1",
        "retriable.restart.connector.wait.ms": "2000",
        **_moving_on(capture),
        **_signalled(capture, place),
        **capture.settings,
    }


def _moving_on(capture: Capture) -> dict[str, str]:
    """Move the slot on where none of the tables change, while the rest of the server writes.

    In a transaction: behind a message that is in none, Debezium 3.3 knows no transaction's number, and its
    next heartbeat in a read-only incremental snapshot ends the connector (NullPointerException).
    """
    return {
        "heartbeat.interval.ms": str(capture.heartbeat_interval_s * 1000),
        "heartbeat.action.query": f"select pg_logical_emit_message(true, '{HEARTBEAT_PREFIX}', '')",
        "message.prefix.exclude.list": HEARTBEAT_PREFIX.replace(".", r"\."),
    }


def _signalled(capture: Capture, place: Place) -> dict[str, str]:
    """Let snapshots be asked for while the connector streams, without a table to write signals to."""
    settings = {
        "read.only": "true",
        "incremental.snapshot.chunk.size": str(capture.chunk_rows),
        "signal.enabled.channels": "kafka",
        "signal.kafka.topic": capture.signals_topic,
        "signal.kafka.bootstrap.servers": place.connect_bootstrap,
        "signal.kafka.groupId": capture.signals_group,
        "signal.poll.interval.ms": "1000",
        "notification.enabled.channels": "sink",
        "notification.sink.topic.name": capture.notifications_topic,
    }
    protocol = str(place.kafka.get("security.protocol", "PLAINTEXT"))
    if protocol != "PLAINTEXT":
        settings["signal.consumer.security.protocol"] = protocol
    return settings
