"""Say what all clients of a Kafka cluster have in common: settings, and what their errors mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillstream.configs.kafka import KafkaConnection

__all__ = ["connection_settings", "described", "is_refusal"]

# Retrying cures none of these.
_REFUSALS = (
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SASL_AUTHENTICATION_FAILED",
    "_AUTHENTICATION",
    "UNSUPPORTED_SASL_MECHANISM",
    "UNSUPPORTED_VERSION",
    "_UNSUPPORTED_FEATURE",
    "INVALID_TRANSACTION_TIMEOUT",
    "POLICY_VIOLATION",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_RECORD",
    "TOPIC_EXCEPTION",
    "_INVALID_ARG",
)


def connection_settings(connection: KafkaConnection, client: str) -> dict[str, Any]:
    """Return librdkafka's connection settings; secrets are resolved here, in the process that uses them."""
    settings: dict[str, Any] = {
        "bootstrap.servers": connection.bootstrap_servers,
        "client.id": f"tillstream-{client}",
        "security.protocol": connection.security_protocol,
    }
    if connection.ssl_ca_file is not None:
        settings["ssl.ca.location"] = str(connection.ssl_ca_file)
    if connection.sasl_mechanism is not None:
        settings["sasl.mechanism"] = connection.sasl_mechanism
        settings["sasl.username"] = connection.sasl_username
    if connection.sasl_password is not None:
        settings["sasl.password"] = connection.sasl_password.resolve(client)
    return settings


def is_refusal(error: Any) -> bool:
    """Tell whether a KafkaError is the cluster's last word."""
    return error.name() in _REFUSALS


def described(error: Any) -> str:
    """Return what a KafkaException says, in one line."""
    first: Any = error.args[0] if error.args else error
    text = f"{first.name()}: {first.str()}" if hasattr(first, "name") else str(first)
    return " ".join(text.split())
