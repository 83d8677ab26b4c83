"""Write single messages, each of which must have arrived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tillstream.pipelines.errors import UnavailableError

__all__ = ["Sender"]

_TIMEOUT_S = 30.0


class Sender:
    """Send messages one by one.

    Args:
        settings: librdkafka's, of the cluster.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from confluent_kafka import Producer

        self._producer = Producer({**settings, "enable.idempotence": True, "log_level": 0})
        self._servers = settings["bootstrap.servers"]

    def send(self, topic: str, value: bytes, key: bytes) -> None:
        """Send a message into the first partition, and wait until the brokers have it.

        Raises:
            UnavailableError: if they do not take it in time.
        """
        failures: list[Any] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                failures.append(error)

        self._producer.produce(topic, value, key, 0, on_delivery=delivered)
        left = self._producer.flush(_TIMEOUT_S)
        if failures or left:
            said = failures[0].str() if failures else "no answer in time"
            raise UnavailableError(
                f"Kafka at {self._servers}: topic {topic}: {said}: check that the brokers run and that the "
                "client may write this topic"
            )
