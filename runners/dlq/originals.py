"""Read events again where they were read at first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tillstream.io.kafka_client import connection_settings, described
from tillstream.pipelines.errors import UnavailableError

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["Original", "Place", "read_again"]

_log = logging.getLogger(__name__)

# Topic, partition and offset.
Place: TypeAlias = tuple[str, int, int]


class Original(NamedTuple):
    """Hold an event as it was read at first."""

    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()


_TIMEOUT_S = 10.0
# Reading on is faster than going somewhere else by less than this.
_NEAR = 2000


def read_again(config: ClientConfig, places: Iterable[Place]) -> dict[Place, Original]:
    """Return key, value and headers of each event that its topic still holds.

    Args:
        config: the client's; its source is Kafka.
        places: where the events were.

    Raises:
        UnavailableError: if the brokers do not answer.
    """
    from confluent_kafka import Consumer, KafkaException

    wanted = sorted(set(places))
    if not wanted:
        return {}
    settings = {
        **connection_settings(config.kafka, config.client),
        # Asked for by the client library; nothing is committed.
        "group.id": config.group_id,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 50,
    }
    consumer = Consumer(settings, logger=_log)
    try:
        return _read(consumer, wanted)
    except KafkaException as error:
        raise UnavailableError(
            f"Kafka at {config.kafka.bootstrap_servers}: {described(error)}: check the address, the login "
            "and that the broker runs"
        ) from error
    finally:
        consumer.close()


def _read(consumer: Any, places: list[Place]) -> dict[Place, Original]:
    from confluent_kafka import TopicPartition

    found: dict[Place, Original] = {}
    known = consumer.list_topics(timeout=_TIMEOUT_S).topics
    at: Place | None = None
    for place in places:
        topic, partition, offset = place
        if topic not in known or partition not in known[topic].partitions:
            continue
        if at is None or at[:2] != place[:2] or not 0 <= offset - at[2] < _NEAR:
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT_S)
            if not low <= offset < high:
                continue
            consumer.assign([TopicPartition(topic, partition, offset)])
        message = _message_at(consumer, place)
        at = None if message is None else (topic, partition, message.offset() + 1)
        if message is not None and message.offset() == offset and message.value() is not None:
            found[place] = Original(message.key(), message.value(), tuple(message.headers() or ()))
    return found


def _message_at(consumer: Any, place: Place) -> Any:
    """Return the first message from an offset on; None at the end."""
    from confluent_kafka import KafkaError, KafkaException

    end_s = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < end_s:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error() is None:
            if message.offset() >= place[2]:
                return message
        elif message.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (the library's public name)
            return None
        else:
            raise KafkaException(message.error())
    raise UnavailableError(
        f"no answer for offset {place[2]} of {place[0]}[{place[1]}] within {_TIMEOUT_S:.0f} s"
    )
