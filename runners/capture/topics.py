"""Make and remove the topics of a capture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tillstream.io.kafka_client import described
from tillstream.pipelines.errors import UnavailableError
from tillstream.runners.capture.spec import Capture, Place

__all__ = ["create_topics", "delete_group", "delete_topics"]

_TIMEOUT_S = 15.0


def create_topics(capture: Capture, place: Place) -> list[str]:
    """Create the topics that are missing, so that a job finds also those of tables without a row.

    Returns:
        names of those that were created.

    Raises:
        UnavailableError: if the cluster does not answer, or refuses.
    """
    from confluent_kafka import KafkaException

    from tillstream.io.sinks.kafka_topics import Wanted, ensure_topics

    # Signals must come in order (Debezium, "Kafka signal channel"), and one partition is read soonest.
    ours = [Wanted(topic, 1) for topic in capture.own_topics]
    wanted = [Wanted(topic, capture.partitions) for topic in capture.topics] + ours
    try:
        admin = _admin(place)
        known = set(admin.list_topics(timeout=_TIMEOUT_S).topics)
        ensure_topics(admin, wanted, capture.replication_factor, _TIMEOUT_S)
    except KafkaException as error:
        raise _unavailable(place, error) from error
    return [topic.name for topic in wanted if topic.name not in known]


def delete_topics(place: Place, topics: Iterable[str]) -> list[str]:
    """Delete topics; returns those that there were."""
    from confluent_kafka import KafkaException

    try:
        admin = _admin(place)
        known = set(admin.list_topics(timeout=_TIMEOUT_S).topics)
        found = [topic for topic in topics if topic in known]
        for future in admin.delete_topics(found, operation_timeout=_TIMEOUT_S).values() if found else ():
            future.result()
    except KafkaException as error:
        raise _unavailable(place, error) from error
    return found


def delete_group(place: Place, group: str) -> None:
    """Delete a consumer group, as far as there is one that nobody is a member of."""
    from contextlib import suppress

    from confluent_kafka import KafkaException

    # Kept until all have answered: with the client go the answers.
    admin = _admin(place)
    for future in admin.delete_consumer_groups([group], request_timeout=_TIMEOUT_S).values():
        with suppress(KafkaException):
            future.result(2 * _TIMEOUT_S)


def _admin(place: Place) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({**place.kafka, "log_level": 0})


def _unavailable(place: Place, error: Exception) -> UnavailableError:
    servers = place.kafka["bootstrap.servers"]
    return UnavailableError(
        f"Kafka at {servers}: {described(error)}: check source.kafka, that the brokers run, and that the "
        "login may create and delete topics"
    )
