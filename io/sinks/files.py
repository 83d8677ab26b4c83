"""Write every change into files, one folder an entity."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tillstream.configs import Entity
from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.files_jsonl import JsonLines, compress, suffix_of
from tillstream.io.sinks.letters import Encoder, letter_line, sift
from tillstream.io.sinks.part_files import part_name, remove_leftovers, write_part
from tillstream.pipelines.errors import SinkError, SinkUnavailableError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["FilesSink"]

_DEAD_LETTERS = "_dead_letters"
_RETRY_S_MAX = 30
# Retrying cures a full or failing disk and a network folder that went away, not these.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG}
)
_encode_lines = msgspec.json.Encoder().encode_lines


class FilesSink(Sink):
    """Write one file an entity and `write`, `<path>/<entity>/part-<time>-<digest>.<format>`.

    The files are a log of all changes in order of each key, not a table: nothing is collapsed. `<time>` is
    the first change's commit time in the source, in microseconds, and `<digest>` that of the content.
    Dead letters go to `<path>/_dead_letters/`.

    Delivery guarantees:
        At-least-once: a file is there whole, on disk, or not at all, and writing the same batches again gives
        the same file. A restart that cuts bundles otherwise writes some changes again in other files;
        (`_topic`, `_partition`, `_offset`, `_index`) tells them apart. Broken by a file system whose rename
        is not atomic, and by who removes files. Keeps no state of its own.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
    """

    model: FilesSinkModel

    def __init__(
        self,
        name: str,
        client: str,
        model: FilesSinkModel,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        self._path = Path(model.path)
        self._suffix = suffix_of(model)
        self._formats: dict[str, Encoder] = {}

    def open(self) -> None:
        """Make the folder, and tidy what a crashed writer left; raises as Sink.open does."""
        self._formats = {name: self._format(name, entity) for name, entity in self.entities.items()}
        self._insist(self._make_folders)

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write one file an entity; raises as Sink.write does."""
        by_entity: dict[str, list[MutationBatch]] = {}
        for batch in batches:
            if batch.records:
                by_entity.setdefault(batch.entity, []).append(batch)
        for entity, own in by_entity.items():
            self._write_entity(entity, own, refuse)

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Write one file of JSON lines; raises as Sink.write does."""
        if letters:
            content = _encode_lines([letter_line(letter) for letter in letters])
            name = part_name(letters[0].offset, content, ".jsonl")
            self._insist(lambda: write_part(self._path / _DEAD_LETTERS, name, content))

    def close(self) -> None:
        """Let go of the encoders: no file stays open between writes."""
        self._formats = {}

    def _format(self, name: str, entity: Entity) -> Encoder:
        if self.model.format == "jsonl":
            return JsonLines(entity)
        if entity.contract is None:
            raise SinkError(
                f"sink {self.name}, entity {name!r}: found no contract, expected one: "
                "Parquet needs the columns' types"
            )
        from tillstream.io.sinks.files_parquet import Parquet

        return Parquet(entity)

    def _make_folders(self) -> None:
        for folder in (*self._formats, _DEAD_LETTERS):
            remove_leftovers(self._path / folder)
        self._path.mkdir(parents=True, exist_ok=True)

    def _write_entity(self, entity: str, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        encoder = self._formats[entity]
        try:
            content = encoder.encode(batches)
        except (ValueError, TypeError):
            batches, letters = sift(self.name, encoder, batches)
            refuse(letters)
            if not batches:
                return
            content = encoder.encode(batches)
        name = part_name(batches[0].records[0].source_time_us, content, self._suffix)
        if self.model.format == "jsonl":
            content = compress(content, self.model.compression)
        self._insist(lambda: write_part(self._path / entity, name, content))

    def _insist(self, work: Callable[[], None]) -> None:
        attempts = Retrying(
            retry=retry_if_exception(_is_outage),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(_RETRY_S_MAX),
            reraise=True,
        )
        try:
            attempts(work)
        except OSError as error:
            if _is_outage(error):
                raise SinkUnavailableError(
                    f"sink {self.name}: cannot write under {self._path} for {_RETRY_S_MAX} s: {error}: check "
                    "that the disk is there and has room"
                ) from error
            raise SinkError(
                f"sink {self.name}: cannot write under {self._path}: {error}: check that it is a folder that "
                "the job's user may write to"
            ) from error


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno not in _REFUSALS
