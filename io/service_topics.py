"""Know the topics in which a connector speaks of itself, and pass over what they hold.

Source: Debezium documentation, PostgreSQL connector: "Heartbeat", "Transaction metadata", "Message events",
"Signalling", "Notifications"; MySQL connector: "Schema change topic".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig

__all__ = ["ServiceKind", "ServiceTopics"]

ServiceKind: TypeAlias = Literal[
    "heartbeat", "transaction", "schema_change", "message", "signal", "notification"
]

_HEARTBEAT = "__debezium-heartbeat"
# A table's topic is <prefix>.<schema>.<table>, of SQL Server with the database before the schema.
_TABLE_PARTS = 2
_AVRO = b"\0"
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ServiceTopics:
    """Count the messages of topics that are no table's, where a client's pattern reads them.

    They are told by their names: `__debezium-heartbeat...`; and with the prefix of an entity's topic
    `<prefix>` itself, which has schema changes, `<prefix>.transaction`, and `<prefix>.message`. A topic that
    an entity names is that entity's, whatever it is called. Metrics, in the namespace `tillstream`:
    `service_<kind>` for each message, and `service_malformed` for those that are none.

    Args:
        config: the client's.
    """

    def __init__(self, config: ClientConfig) -> None:
        prefixes = _prefixes(config.topics)
        self._kinds: dict[str, ServiceKind] = {
            f"tillstream.{config.client}.signals": "signal",
            f"tillstream.{config.client}.notifications": "notification",
        }
        for prefix in prefixes:
            self._kinds[prefix] = "schema_change"
            self._kinds[f"{prefix}.transaction"] = "transaction"
            self._kinds[f"{prefix}.message"] = "message"

    def kind_of(self, topic: str) -> ServiceKind | None:
        """Return what a topic tells that is no entity's; None where it may be a table's."""
        return "heartbeat" if topic.startswith(_HEARTBEAT) else self._kinds.get(topic)

    def take(self, topic: str, messages: Sequence[Any]) -> bool:
        """Count the messages of a topic that is no entity's; False where it may be a table's.

        Args:
            topic: where they were read from.
            messages: confluent_kafka Messages.
        """
        kind = self.kind_of(topic)
        if kind is None:
            return False
        Metrics.counter("tillstream", f"service_{kind}").inc(len(messages))
        malformed = sum(not _is_whole(message.value()) for message in messages)
        if malformed:
            Metrics.counter("tillstream", "service_malformed").inc(malformed)
        return True


def _prefixes(topics: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for topic in topics:
        parts = topic.split(".")
        found.update(".".join(parts[:count]) for count in range(1, len(parts) - _TABLE_PARTS + 1))
    return found


def _is_whole(value: bytes | None) -> bool:
    """Tell whether a message has the form that a converter gives it; tombstones have none."""
    if value is None or value.startswith(_AVRO):
        return True
    try:
        _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True
