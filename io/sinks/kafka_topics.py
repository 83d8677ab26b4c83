"""Create the topics of a Kafka sink, and ask what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from tillstream.pipelines.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Wanted", "end_offsets", "ensure_topics", "message_bytes_max", "partitions_of"]

_LIMIT_BYTES = 1_000_000
_COMPACT = {"cleanup.policy": "compact"}


class Wanted(NamedTuple):
    """Say what a topic must be.

    Attributes:
        name: of the topic.
        partitions: how many it gets where it is created.
        keeps_latest: whether it is a compacted topic, whose latest record of each key is never deleted.
    """

    name: str
    partitions: int
    keeps_latest: bool = False


def ensure_topics(
    admin: AdminClient, wanted: Sequence[Wanted], replication_factor: int | None, timeout_s: float
) -> None:
    """Create what is missing.

    Raises:
        KafkaException: if the cluster does not answer, or refuses.
        SinkError: if a topic that must keep the latest record of each key does not.
    """
    known = set(admin.list_topics(timeout=timeout_s).topics)
    # Many small segments: only those that are closed are compacted.
    compact = {**_COMPACT, "segment.bytes": str(16 << 20), "min.cleanable.dirty.ratio": "0.1"}
    new = [
        NewTopic(
            topic.name,
            topic.partitions,
            -1 if replication_factor is None else replication_factor,
            config=compact if topic.keeps_latest else {},
        )
        for topic in wanted
        if topic.name not in known
    ]
    for future in admin.create_topics(new, request_timeout=timeout_s).values() if new else ():
        try:
            future.result()
        except KafkaException as error:
            # Another writer of this job, opening beside this one.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    kept = [topic.name for topic in wanted if topic.keeps_latest]
    for name, config in _configs(admin, kept, timeout_s).items():
        policy = config["cleanup.policy"].value
        if policy != "compact":
            raise SinkError(
                f"topic {name}: found cleanup.policy {policy}, expected compact: what it holds must not be "
                "deleted by age; set it, or name another topic"
            )


def message_bytes_max(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> dict[str, int]:
    """Return the most bytes of a message by topic; the usual figure where the cluster does not tell.

    Raises:
        KafkaException: if the cluster does not answer.
    """
    try:
        found = _configs(admin, topics, timeout_s)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise
        return dict.fromkeys(topics, _LIMIT_BYTES)
    return {name: int(config["max.message.bytes"].value) for name, config in found.items()}


def partitions_of(admin: AdminClient, topic: str, timeout_s: float) -> int:
    """Return how many partitions a topic has; raises KafkaException if there is no such topic."""
    found = admin.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return len(found.partitions)


def end_offsets(
    admin: AdminClient, topic: str, partitions: Iterable[int], timeout_s: float
) -> Mapping[int, int]:
    """Return where partitions end, with what open transactions have written."""
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
    futures = admin.list_offsets(
        asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout_s
    )
    return {place.partition: future.result().offset for place, future in futures.items()}


def _configs(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> dict[str, Mapping[str, Any]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    if not resources:
        return {}
    futures = admin.describe_configs(resources, request_timeout=timeout_s)
    return {resource.name: future.result() for resource, future in futures.items()}
