"""Wait until a running job has read, and settled, what lies in its topics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.flink.rest import FlinkRest

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["JobFollower", "Partition"]

Partition = tuple[str, int]

_TIMEOUT_S = 10.0
_POLL_S = 0.1


class JobFollower:
    """Follow one client's running job.

    Offsets are published as they are read, so what was made of them is settled with the next checkpoint that
    begins after that.

    Args:
        config: the client's.
        settings: librdkafka's, of the cluster.

    Raises:
        UserError: if no job of the client runs.
    """

    def __init__(self, config: ClientConfig, settings: Mapping[str, Any]) -> None:
        from confluent_kafka import Consumer

        self._client = config.client
        self._rest = FlinkRest(config.flink.rest_url)
        self._job = self._running()
        # It never subscribes, so it does not become a member of the group that it asks about.
        group = {"group.id": config.group_id, "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer({**settings, **group})

    def ends(self, topic: str) -> dict[Partition, int]:
        """Return where a topic's partitions end."""
        from confluent_kafka import TopicPartition

        known = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        return {
            (topic, partition): self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=_TIMEOUT_S
            )[1]
            for partition in sorted(known.partitions)
        }

    def await_read(
        self,
        ends: Mapping[Partition, int],
        until_s: float,
        turn: Callable[[], None],
        generation: int | None = None,
    ) -> None:
        """Wait until the job has read up to these offsets.

        Args:
            ends: offsets, each the one behind the last that counts.
            until_s: when to give up, by the monotonic clock, in seconds.
            turn: called between looks.
            generation: the first whose offsets count: a job that reads something again finds those of the one
                before it. By default all do.

        Raises:
            StackError: if it has not in time, or ends.
        """
        from confluent_kafka import TopicPartition

        wanted = {partition: end for partition, end in ends.items() if end > 0}
        while wanted:
            asked = [TopicPartition(*partition) for partition in wanted]
            for found in self._consumer.committed(asked, timeout=_TIMEOUT_S):
                place = (found.topic, found.partition)
                is_its = generation is None or _generation(found.metadata) >= generation
                if found.error is None and is_its and found.offset >= wanted.get(place, found.offset):
                    wanted.pop(place, None)
            if wanted:
                self._pause(until_s, turn, f"read {', '.join(sorted({topic for topic, _ in wanted}))}")

    def await_checkpoint(self, until_s: float, turn: Callable[[], None]) -> None:
        """Wait for a checkpoint that begins from now on to be complete; raises as `await_read` does."""
        found = self._rest.checkpoints(self._job)
        newest = max((int(each["id"]) for each in found.get("history") or ()), default=0)
        while True:
            latest = (self._rest.checkpoints(self._job).get("latest") or {}).get("completed") or {}
            if int(latest.get("id") or 0) > newest:
                return
            self._pause(until_s, turn, "complete a checkpoint")

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()

    def _running(self) -> str:
        running = self._rest.running(self._client)
        if not running:
            raise UserError(
                f"client {self._client}: found no job of it at {self._rest.url}, expected one that runs: "
                "'tillstream run CONFIG --runner flink'"
            )
        return running[0]

    def _pause(self, until_s: float, turn: Callable[[], None], what: str) -> None:
        if time.monotonic() > until_s:
            raise StackError(
                f"client {self._client}: job {self._job} did not {what} in time: see {self._rest.url}/#/job/"
                f"{self._job}; run the command again, with a longer --wait"
            )
        self._job = self._running()
        turn()
        time.sleep(_POLL_S)


def _generation(metadata: str | None) -> int:
    """Return which launch has published an offset; those of older releases, and of others, do not say."""
    return int(metadata) if metadata is not None and metadata.isdecimal() else 0
