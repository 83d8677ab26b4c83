"""Read a running stream up to given offsets, for launches that are compared over the same range of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.configs.launching import current_launch

if TYPE_CHECKING:
    from confluent_kafka import Message

    from tillstream.configs.launching import CanaryLaunch
    from tillstream.io.sources.kafka import Partition
    from tillstream.io.sources.session import KafkaSession

__all__ = ["ReadBound", "reached", "reached_folder"]


class ReadBound:
    """Take a session's messages up to the launch's offsets, and leave a mark for each partition that is done.

    A partition that has no bound is not read: it appeared after the bounds were chosen.

    Delivery guarantees:
        As of the reader: the position stays the caller's state. A mark is left when all messages below the
        bound were taken; they are in every checkpoint that begins after it.

    Args:
        launch: of the canary.
    """

    def __init__(self, launch: CanaryLaunch) -> None:
        self._until = {
            (topic, partition): offset
            for topic, offsets in launch.until.items()
            for partition, offset in enumerate(offsets)
        }
        self._folder = reached_folder(Path(launch.folder))
        self._first: dict[Partition, int] = {}
        self._over: set[Partition] = set()
        self._lock = threading.Lock()

    @classmethod
    def current(cls) -> ReadBound | None:
        """Return the bound of the launch that this process runs; None where it reads on."""
        launch = current_launch()
        return None if launch is None or launch.canary is None else cls(launch.canary)

    def take(self, session: KafkaSession, partition: Partition, offset: int) -> list[Message]:
        """Return the next messages below the bound; none when it is reached."""
        until = self._until.get(partition)
        if until is None or partition in self._over:
            return []
        with self._lock:
            first = self._first.setdefault(partition, offset)
        if offset >= until:
            self._end(session, partition, first, until)
            return []
        messages = session.take(partition, offset)
        wanted = [message for message in messages if message.offset() < until]
        if len(wanted) < len(messages) or session.reader.read_up_to(partition) >= until:
            self._end(session, partition, first, until)
        return wanted

    def _end(self, session: KafkaSession, partition: Partition, first: int, until: int) -> None:
        with self._lock:
            self._over.add(partition)
        # What goes on arriving would fill the room of those that are still read.
        session.reader.leave(partition)
        self._folder.mkdir(parents=True, exist_ok=True)
        mark = self._folder / f"{partition[0]}~{partition[1]}"
        # Elsewhere first: whoever looks must not find half a mark.
        part = mark.with_name(f".{mark.name}")
        part.write_text(f"{first} {max(first, until)}", encoding="ascii")
        part.replace(mark)


def reached_folder(folder: Path) -> Path:
    """Return where a launch leaves its marks."""
    return folder / "reached"


def reached(folder: Path) -> dict[Partition, tuple[int, int]]:
    """Return the first offset that was read of each partition that is done, and that behind the last."""
    found = {}
    for mark in reached_folder(folder).glob("[!.]*"):
        topic, _, partition = mark.name.rpartition("~")
        first, until = mark.read_text("ascii").split()
        found[topic, int(partition)] = int(first), int(until)
    return found
