"""Read how far a consumer group is behind the end of its topics, for display."""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

__all__ = ["Lag"]

_TIMEOUT_S = 5.0


class Lag:
    """Ask the broker for end offsets and committed offsets.

    A job's true offsets are in its checkpoints; the group's are published for tools such as this one.

    Args:
        settings: of librdkafka, for the cluster.
        group: consumer group that publishes offsets.
        topics: whose partitions count; those that do not exist yet do not.
    """

    def __init__(self, settings: Mapping[str, Any], group: str, topics: Collection[str]) -> None:
        self._topics = set(topics)
        # It never subscribes, so it does not become a member of the group that it asks about.
        ours = {"group.id": group, "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer({**settings, **ours})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()

    def read(self) -> int | None:
        """Return how many messages are not yet read; None while the broker does not answer."""
        try:
            known = self._consumer.list_topics(timeout=_TIMEOUT_S).topics
            partitions = [
                TopicPartition(name, partition)
                for name in self._topics & known.keys()
                for partition in known[name].partitions
            ]
            behind = 0
            for found in self._consumer.committed(partitions, timeout=_TIMEOUT_S) if partitions else ():
                low, high = self._consumer.get_watermark_offsets(found, timeout=_TIMEOUT_S)
                behind += max(high - (found.offset if found.offset >= 0 else low), 0)
        except KafkaException:
            return None
        return behind
