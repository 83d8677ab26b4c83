"""Choose the partitions that a client's job reads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig, KafkaSource
    from tillstream.io.sources.kafka import Partition

__all__ = ["partitions_of", "wanted_topics"]


def wanted_topics(source: KafkaSource, entity_topics: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return which of the broker's topics a client reads, in order.

    Args:
        source: its `topics` are names, or regular expressions where they start with ^.
        entity_topics: topics that the entities name; what is read when the source names none.
        known: the broker's topics.
    """
    patterns = list(entity_topics if source.topics is None else source.topics)
    names = {pattern for pattern in patterns if not pattern.startswith("^")}
    expressions = [re.compile(pattern) for pattern in patterns if pattern.startswith("^")]
    return sorted(
        topic
        for topic in known
        if topic in names or any(expression.search(topic) for expression in expressions)
    )


def partitions_of(config: ClientConfig, counts: Mapping[str, int]) -> list[Partition]:
    """Return the partitions that a client's job reads, those of replays and transactions among them.

    Args:
        config: the client's.
        counts: number of partitions of each of the broker's topics.
    """
    wanted = set(wanted_topics(config.kafka, list(config.topics), list(counts)))
    if config.replay_topic in counts:
        wanted.add(config.replay_topic)
    if config.delivery.atomicity == "transaction":
        wanted |= counts.keys() & set(config.transaction_topics.values())
    return [(topic, partition) for topic in sorted(wanted) for partition in range(counts[topic])]
