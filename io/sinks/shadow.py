"""Keep what a shadow of a client's job would write, for a comparison; no sink of the client's is touched."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tillstream.configs import ClientConfig
from tillstream.io.sinks.base import Refuse, Sink, keeps_positions, sink_class
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter, DeadLetterBatch, MutationBatch

if TYPE_CHECKING:
    from tillstream.configs.launching import CanaryLaunch

__all__ = ["ShadowSink", "read_letters", "read_shard", "recorder_of", "shadow_sink", "shards_of"]

_SIZE = struct.Struct(">I")
_LETTERS = "_dead_letters"
_numbers = itertools.count()


def recorder_of(config: ClientConfig, entity: str) -> str:
    """Return which of an entity's sinks keeps its mutations: all are given the same.

    One that keeps a log of changes is more exact than one that keeps rows, because it cannot leave a
    change's value to be filled in.
    """
    sinks = config.entities[entity].sinks
    logs = [name for name in sinks if not keeps_positions(config.sinks[name].type)]
    return (logs or sinks)[0]


class ShadowSink(Sink):
    """Append every batch to a file of its entity and shard, `<folder>/<entity>/<shard>.<writer>`.

    A file holds frames (`tillstream.pipelines.framing`), each behind its length in four bytes. Folders are
    for their owner only.

    Delivery guarantees:
        At-least-once: what is replayed is appended again, so what a job wrote that was restarted is not
        compared. A frame is there whole after `write`, for readers of this machine, unless the machine fails.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it keeps.
        folder: of this side of the comparison.
        recorded: entities whose mutations it keeps; those of others another sink keeps.
    """

    def __init__(self, name: str, client: str, folder: Path, recorded: frozenset[str]) -> None:
        super().__init__(name, client, None, {})
        self._folder = folder
        self._recorded = recorded
        self._writer = f"{os.getpid()}-{next(_numbers)}"
        self._files: dict[Path, IO[bytes]] = {}

    def open(self) -> None:
        """Make the folder; raises SinkError where that cannot be."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise SinkError(
                f"sink {self.name}: cannot write under {self._folder}: {error}: a canary needs a folder that "
                "the TaskManagers and whoever starts it share"
            ) from error

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:  # noqa: ARG002
        """Append batches; a shard's are in order."""
        for batch in batches:
            if batch.records and batch.entity in self._recorded:
                self._append(f"{batch.entity}/{batch.shard}", batch.encode())
        self._flush()

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters."""
        self._append(f"{_LETTERS}/0", DeadLetterBatch(tuple(letters)).encode())
        self._flush()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _append(self, place: str, frame: bytes) -> None:
        path = self._folder / f"{place}.{self._writer}"
        file = self._files.get(path)
        if file is None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._files[path] = path.open("ab")
        file.write(_SIZE.pack(len(frame)) + frame)

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()


class _ShadowOfRows(ShadowSink):
    """Be the shadow of a sink that keeps a row's own values where a change does not bring them."""

    keeps_values = True


def shadow_sink(config: ClientConfig, name: str, launch: CanaryLaunch) -> Sink:
    """Return what takes the place of one of a client's sinks, open.

    Args:
        config: the client's.
        name: of the sink.
        launch: of the canary.

    Raises:
        SinkError: if its folder cannot be made.
    """
    recorded = frozenset(each for each in config.entities if recorder_of(config, each) == name)
    kind: Any = _ShadowOfRows if sink_class(config.sinks[name].type).keeps_values else ShadowSink
    sink: Sink = kind(name, config.client, Path(launch.folder), recorded)
    sink.open()
    return sink


def shards_of(folder: Path, entity: str) -> set[int]:
    """Return the shards of which a side has mutations of an entity."""
    return {int(path.name.partition(".")[0]) for path in folder.glob(f"{entity}/*.*")}


def read_shard(folder: Path, entity: str, shard: int) -> Iterator[MutationBatch]:
    """Yield what a side wrote of an entity and shard, in order.

    Raises:
        ValueError: if a file is damaged.
    """
    for path in sorted(folder.glob(f"{entity}/{shard}.*")):
        yield from map(MutationBatch.decode, _frames(path))


def read_letters(folder: Path) -> Iterator[DeadLetter]:
    """Yield the dead letters that a side wrote; raises ValueError if a file is damaged."""
    for path in sorted(folder.glob(f"{_LETTERS}/*.*")):
        for frame in _frames(path):
            yield from DeadLetterBatch.decode(frame).letters


def _frames(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := file.read(_SIZE.size):
            size = _SIZE.unpack(head)[0] if len(head) == _SIZE.size else 0
            frame = file.read(size)
            if not frame or len(frame) < size:
                raise ValueError(f"{path}: found a frame that ends too early, expected {size} bytes")
            yield frame
